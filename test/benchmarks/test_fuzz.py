# Copyright 2026 ZegCLIP-ROS contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Some hundred hostile messages to a node in this process; ``make fuzz`` sends thousands."""

from collections.abc import Callable, Iterator

from benchmarks.fuzz import hostile_count, play_at_random
from benchmarks.fuzz_campaign import Campaign, made_rounds, TooManyFailuresError
from benchmarks.hostile_requests import parameter
import pytest
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import SetParameters
from ros_helpers import running_rig

pytestmark = [pytest.mark.ros, pytest.mark.timeout(300)]

ROUNDS = 40
"""Drawn rounds of three messages; every fifth of those made by hand comes before them."""


@pytest.fixture(params=['raw', 'compressed'])
def campaign(request: pytest.FixtureRequest) -> Iterator[Campaign]:
    options = ('-p', 'image_reliability:=reliable', '-p', f'image_transport:={request.param}')
    with running_rig(*options) as rig:

        def wait(condition: Callable[[], object]) -> bool:
            try:
                rig.until(condition)
            except pytest.fail.Exception:
                return False
            return True

        yield Campaign(rig.probe, wait, transport=request.param, most_failures=1)


def test_hostile_messages_change_nothing_and_every_good_frame_is_labelled(
    campaign: Campaign,
) -> None:
    campaign.begin()
    for one in made_rounds(campaign.transport)[::5]:
        campaign.play(one)
    play_at_random(campaign.transport, ROUNDS, 7, campaign.play)
    assert campaign.failures == []
    assert hostile_count({'counts': campaign.counts}) > 3 * ROUNDS
    looked_at = campaign.looked_at()
    assert looked_at['arrived'] > 0.95 * looked_at['sent']
    assert looked_at['bad'] > 10


def send_frames(campaign: Campaign, count: int) -> None:
    for _ in range(count):
        campaign.good_frame()


@pytest.mark.parametrize('campaign', ['raw'], indirect=True)
def test_a_wrong_answer_is_noticed(campaign: Campaign) -> None:
    campaign.begin()
    # Words behind the campaign's back: it has to see that the numbers do not fit.
    one = parameter('class_names', ParameterType.PARAMETER_STRING_ARRAY, ['dog', 'cow'])
    request = SetParameters.Request(parameters=[one])
    answer = campaign.call('set_parameters', SetParameters, request)
    assert answer.results[0].successful
    with pytest.raises(TooManyFailuresError):
        send_frames(campaign, 1000)  # The first ones may overtake the announcement.
    what = campaign.failures[0]['what']
    assert 'expected the state' in what or 'wrong labels' in what

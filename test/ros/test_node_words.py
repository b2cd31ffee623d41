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
"""Words as users type them, over real topics: what is refused leaves the words that there were."""

from collections.abc import Iterator

import pytest
from ros_helpers import FakeSegmenter, Rig, running_rig
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_ros.conversions import image_to_labels

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]


class Recorder(FakeSegmenter):
    """A segmenter that keeps what it was asked to encode."""

    last: Vocabulary

    def encode(self, vocabulary: Vocabulary, **settings: object) -> Vocabulary:
        self.last = vocabulary
        return super().encode(vocabulary, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope='module')
def rig() -> Iterator[Rig]:
    with running_rig('-p', 'class_names:=["person", "cat"]', segmenter=Recorder()) as made:
        made.start_camera()
        made.until_active('person', 'cat')
        yield made


def assert_in_use(rig: Rig, *names: str) -> None:
    """Check that frames are labelled with these words."""
    labels = rig.listen('zegclip/label_image')
    rig.until_labelled(labels)
    assert (image_to_labels(labels.last) == 1).all()
    assert tuple(entry['name'] for entry in rig.state['classes']) == names


@pytest.mark.parametrize('text', ['not a car', 'dog, no person', '["...", "dog"]'])
def test_words_that_no_model_understands_leave_those_that_there_were(rig: Rig, text: str) -> None:
    state = rig.say(text)
    assert state['refused'] == text
    assert state['error'].startswith('Expected')
    assert_in_use(rig, 'person', 'cat')


def test_words_of_the_parameter_are_as_typed_as_those_of_the_topic(rig: Rig) -> None:
    for refused in (['not a car'], ['dog', '?']):
        assert rig.set_to('class_names', refused).startswith('Expected')
    assert_in_use(rig, 'person', 'cat')
    assert rig.set_to('class_names', ['The Dogs', 'hens']) == ''
    rig.until_active('The Dogs', 'hens')
    assert rig.segmenter.last.encoded_phrases() == (('dog',), ('hen',))

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
"""Hostile messages to the real node over DDS: each gets its right answer, and no more changes.

The node is a process of its own with a stand-in for its model. ``make fuzz`` runs this file with
the hypothesis profile ``fuzz``, which sends ten thousand messages; ``make test`` sends some.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
import json
import os
from pathlib import Path
import sys
import time
from typing import Any

from benchmarks.hostile_messages import (
    CAMERAS,
    CLOUDS,
    DEPTHS,
    images,
    made_clouds,
    made_compressed,
    made_depths,
    made_images,
)
from benchmarks.hostile_requests import (
    LIVE,
    made_requests,
    parameter,
    REQUESTS,
    TYPES,
)
from benchmarks.hostile_words import made_words, WORDS
from benchmarks.reports import faults_in, setting, write_docs, write_json
from fuzz_campaign import Campaign
from fuzz_frames import SIZE
from hypothesis import given, HealthCheck, Phase, settings
from hypothesis import strategies as st
import numpy as np
import psutil
import pytest
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter
from ros_helpers import running_ros
from tabulate import tabulate
from zegclip_ros.runtime.child_processes import Processes

pytestmark = [pytest.mark.ros, pytest.mark.timeout(3600)]

LONG = settings.get_current_profile_name() == 'fuzz'
ROUNDS = settings.default.max_examples if LONG else 40
OUT = Path('runs/fuzz')


@contextmanager
def running_node(
    transport: str, logs: Path, *arguments: str, cameras: Sequence[str] = ('',)
) -> Iterator[tuple[Campaign, Processes]]:
    """Run the node in a process, and have a campaign that has begun."""
    command = [sys.executable, '-m', 'benchmarks.stand_in', '--cost', '0', '--ros-args']
    command += ['-p', 'image_reliability:=reliable', '-p', f'image_transport:={transport}']
    command += arguments
    with running_ros(), Processes(logs, {**os.environ, 'PYTHONUNBUFFERED': '1'}) as processes:
        processes.start('node', command)
        probe = Node('probe', use_global_arguments=False)
        try:
            campaign = Campaign(probe, transport, processes, cameras)
            campaign.begin()
            yield campaign, processes
        finally:
            probe.destroy_node()


@contextmanager
def campaign_of(
    name: str,
    tmp_path: Path,
    transport: str,
    *arguments: str,
    cameras: Sequence[str] = ('',),
    write: bool,
) -> Iterator[Campaign]:
    """Have a campaign, check how the node ended, and note its figures in the long profile."""
    began = time.monotonic()
    logs = OUT / name if LONG else tmp_path
    with running_node(transport, logs, *arguments, cameras=cameras) as (campaign, processes):
        yield campaign
        memory = max(child.memory_info().rss for child in psutil.Process().children())
    assert processes.exit_codes() == {'node': 0}
    assert faults_in(processes.log_of('node')) == []
    if LONG:
        figures = {
            **campaign.counts,
            'memory at the end [MB]': round(memory / 1e6, 1),
            'time [s]': round(time.monotonic() - began),
        }
        write_json(OUT / f'{name}.json', figures)
        report(write)


def draw(rounds: st.SearchStrategy[tuple[Any, ...]], play: Callable[..., None]) -> None:
    """Have hypothesis draw rounds of hostile messages, and play them."""
    # Nothing is replayed or shrunk: a node that went wrong has changed.

    @settings(
        max_examples=ROUNDS,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(rounds)
    def drawn(one: tuple[Any, ...]) -> None:
        play(*one)

    drawn()


@pytest.fixture
def write(request: pytest.FixtureRequest) -> bool:
    """Whether the figures go into the docs."""
    return bool(request.config.getoption('--write-docs'))


@pytest.mark.parametrize('transport', ['raw', 'compressed'])
def test_hostile_messages_change_nothing_and_every_good_frame_is_labelled(
    transport: str, tmp_path: Path, write: bool
) -> None:
    some = made_images() if transport == 'raw' else made_compressed()
    words, requests = made_words(), made_requests()
    with campaign_of(f'{transport} images', tmp_path, transport, write=write) as campaign:
        # Those made by hand, in ``make test`` every fifth of them; the shorter lists repeat.
        for place in range(0, max(map(len, (some, words, requests))), 1 if LONG else 5):
            chosen = (entries[place % len(entries)] for entries in (some, words, requests))
            campaign.play(*chosen)
        draw(st.tuples(images(transport), WORDS, REQUESTS), campaign.play)
        assert campaign.images_refused() > 10


def test_hostile_images_of_one_camera_spoil_no_label_image_of_another(
    tmp_path: Path, write: bool
) -> None:
    cameras = ['front', 'rear', 'side']
    given = ('-p', f'cameras:={json.dumps(cameras)}')
    some, words, requests = made_images(), made_words(), made_requests()
    named = campaign_of('three cameras', tmp_path, 'raw', *given, cameras=cameras, write=write)
    with named as campaign:
        # Each camera in turn sends the hostile ones.
        for place in range(0, len(some), 1 if LONG else 7):
            chosen = (entries[place % len(entries)] for entries in (some, words, requests))
            campaign.play(*chosen)
        draw(st.tuples(images('raw'), WORDS, REQUESTS), campaign.play)
        assert campaign.images_refused() > 10


@pytest.mark.parametrize('stable', [False, True])
def test_hostile_clouds_and_words_with_ids_spoil_no_label_image(
    stable: bool, tmp_path: Path, write: bool
) -> None:
    given = ('-p', 'output_size:=cloud', '-p', f'stable_ids:={str(stable).lower()}')
    name = f'clouds{", ids that stay" if stable else ""}'
    with campaign_of(name, tmp_path, 'raw', *given, write=write) as campaign:
        words = [text for text in made_words() if len(text) < 20_000]
        clouds = made_clouds()
        for place in range(len(words) if LONG else max(len(clouds), len(words) // 3)):
            campaign.play_cloud(clouds[place % len(clouds)], words[place % len(words)])
        draw(st.tuples(CLOUDS, WORDS), campaign.play_cloud)


def test_hostile_depth_and_cameras_spoil_no_label_image(tmp_path: Path, write: bool) -> None:
    with campaign_of('depth', tmp_path, 'raw', write=write) as campaign:
        campaign.listen_to_points()
        made = made_depths(SIZE)
        for depth, camera in made[:: 1 if LONG else 3]:
            campaign.play_depth(depth, camera, camera)
        draw(st.tuples(DEPTHS, CAMERAS, CAMERAS), campaign.play_depth)
    assert campaign.points
    for cloud in campaign.points:
        assert len(cloud.data) == cloud.height * cloud.row_step
        assert cloud.row_step == cloud.width * cloud.point_step
        places = np.frombuffer(cloud.data, np.float32).reshape(-1, cloud.point_step // 4)[:, :3]
        assert np.isfinite(places).all()


def report(write: bool) -> None:
    """Print the figures of the campaigns so far, into the docs if that is wanted."""
    found = {path.stem: json.loads(path.read_text('utf-8')) for path in sorted(OUT.glob('*.json'))}
    given = dict.fromkeys(kind for figures in found.values() for kind in figures)
    kinds = sorted(given, key=lambda kind: kind.endswith(']'))  # What a campaign cost comes last.
    rows = [[kind, *(figures.get(kind, 0) for figures in found.values())] for kind in kinds]
    text = f'{setting()}.\n\n{tabulate(rows, ["", *found], tablefmt="github")}'
    print(f'\n{text}')
    if write:
        write_docs('fuzz', text)


def test_a_wrong_answer_is_noticed(tmp_path: Path) -> None:
    with running_node('raw', tmp_path) as (campaign, _):
        # Words behind the campaign's back: it has to see that the numbers do not fit.
        kind = Parameter.Type.STRING_ARRAY.value
        one = parameter('class_names', kind, ['dog', 'cow'])
        answer = campaign.call(
            'set_parameters', SetParameters, SetParameters.Request(parameters=[one])
        )
        assert answer.results[0].successful
        for _ in range(1000):  # The first ones may overtake the announcement.
            try:
                campaign.send_good_frame()
            except AssertionError:
                return
        pytest.fail('other words were not noticed')


def test_a_traceback_in_the_log_is_found(tmp_path: Path) -> None:
    log = tmp_path / 'node.log'
    wrong = ['Traceback (most recent call last):', 'Rejected the frame: AttributeError: x']
    log.write_text('\n'.join(['[INFO] fine', *wrong, 'Rejected the image: fine as well']))
    assert faults_in(log) == wrong


def test_parameters_that_may_change_are_among_the_known_ones() -> None:
    assert set(LIVE) < set(TYPES)

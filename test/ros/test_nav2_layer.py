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
"""Nav2's semantic layer, as ``helpers/nav2_layer.py`` has it, on the topics of the real node.

The names of the ids come by ``LabelInfo`` where ``vision_msgs`` is installed; in any case by
``~/active_vocabulary``, which tells the same in JSON and stands in for it.
"""

from array import array
from collections.abc import Iterator
from importlib.util import find_spec
import json
import random

from fake_segmenter import FakeSegmenter
from nav2_layer import ClassCost, SemanticLayer
import numpy as np
import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_helpers import Rig, running_rig
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header, String
from zegclip_core.images.checks import RgbImage
from zegclip_core.segmentation import Segmentation
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_ros.conversions import rgb_to_image

pytestmark = [pytest.mark.ros, pytest.mark.timeout(300)]

WORLD = ('person', 'car', 'grass', 'road', 'chair', 'cat', 'cup', 'book', 'sky', 'door')
"""What each tile shows, whatever the node is asked for."""
COSTS = {
    name: ClassCost(20 * (at + 1), 20 * (at + 1) + 5, samples_to_max_cost=3)
    for at, name in enumerate(WORLD)
}
NAV2 = ('-p', 'confidence_encoding:=mono8', '-p', 'output_size:=cloud', '-p', 'use_sim_time:=true')
SENSOR = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=5, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class WorldSegmenter(FakeSegmenter):
    """Labels a pixel with what the world shows there, if that is asked for."""

    def _labelled(self, image: RgbImage, vocabulary: Vocabulary, scores: bool) -> Segmentation:
        names = vocabulary.names
        places = [names.index(name) if name in names else 255 for name in WORLD]
        labels = np.array(places, np.uint8)[image[:, :, 0]]
        return Segmentation(labels, np.full(labels.shape, 0.9, np.float32), vocabulary)


class Robot:
    """A robot on simulated time, with a camera, a depth camera and the layer."""

    def __init__(self, rig: Rig, names_by: str) -> None:
        self.rig, self.now = rig, 100.0
        self.layer = SemanticLayer(COSTS)
        probe = rig.probe
        self._clock = probe.create_publisher(Clock, '/clock', 10)
        self._camera = probe.create_publisher(Image, 'image', SENSOR)
        self._depth = probe.create_publisher(PointCloud2, 'cloud', SENSOR)
        listen = probe.create_subscription
        listen(Image, 'zegclip/label_image', self.layer.on_image, SENSOR)
        listen(Image, 'zegclip/confidence', self.layer.on_confidence, SENSOR)
        listen(PointCloud2, 'cloud', self.layer.on_cloud, SENSOR)
        if names_by == 'label_info':
            from vision_msgs.msg import LabelInfo

            listen(LabelInfo, 'zegclip/label_info', self._on_info, LATCHED)
        else:
            listen(String, 'zegclip/active_vocabulary', self._on_state, LATCHED)
        rig.until(lambda: self.layer.names, 'the first names')

    def _on_info(self, message: object) -> None:
        self.layer.on_labels((one.class_id, one.class_name) for one in message.class_map)

    def _on_state(self, message: String) -> None:
        classes = json.loads(message.data)['classes']
        if classes:
            self.layer.on_labels((one['id'], one['name']) for one in classes)

    def tick(self, seconds: float) -> None:
        """Let simulated time pass, for the node as well."""
        self.now += seconds
        message = Clock()
        message.clock.sec, message.clock.nanosec = divmod(round(self.now * 1e9), 10**9)

        def passed() -> bool:
            self._clock.publish(message)
            return self.rig.node.get_clock().now().nanoseconds >= round(self.now * 1e9)

        self.rig.until(passed, 'the time')

    def look(self) -> None:
        """Send an image and a cloud of this moment until the layer has taken them."""

        def taken() -> bool:
            if self.layer.buffered and self.layer.buffered[-1] >= start:
                return True
            self.tick(0.01)
            self._camera.publish(self._image())
            self._depth.publish(self._cloud())
            return False

        start = self.now
        self.rig.until(taken, f'an observation; {self.layer.complaints[-3:]}')

    def _header(self) -> Header:
        header = Header(frame_id='camera')
        header.stamp.sec, header.stamp.nanosec = divmod(round(self.now * 1e9), 10**9)
        return header

    def _image(self) -> Image:
        """Return an image of two rows for each that the cloud has, a word in each two columns."""
        words = np.arange(len(WORLD), dtype=np.uint8).repeat(4)
        return rgb_to_image(np.broadcast_to(words[:, None], (4, words.size, 3)), self._header())

    def _cloud(self) -> PointCloud2:
        width, height = 2 * len(WORLD), 2
        points = np.zeros((height, width, 3), np.float32)
        points[:, :, 0] = np.arange(width) // 2 + 0.5
        made = PointCloud2(header=self._header(), height=height, width=width)
        made.point_step, made.row_step = 12, 12 * width
        made.data = array('B', points.tobytes())
        return made

    def wrong(self) -> list[str]:
        """Return the tiles that have the cost of something else than what is there."""
        return [
            f'{WORLD[tile]} costs {cost}'
            for (tile, _), cost in self.layer.costs(self.now).items()
            if cost not in {0, COSTS[WORLD[tile]].base_cost, COSTS[WORLD[tile]].max_cost}
        ]


BY = ['active_vocabulary'] + ['label_info'] * bool(find_spec('vision_msgs'))


@pytest.fixture(params=BY)
def names_by(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def robots(names_by: str, *arguments: str) -> Iterator[Robot]:
    words = ('-p', f'class_names:={json.dumps(WORLD[:4])}')
    with running_rig(*NAV2, *words, *arguments, segmenter=WorldSegmenter()) as rig:
        yield Robot(rig, names_by)


@pytest.fixture
def robot(names_by: str) -> Iterator[Robot]:
    yield from robots(names_by, '-p', 'stable_ids:=true')


@pytest.fixture
def careless(names_by: str) -> Iterator[Robot]:
    """Robot whose node numbers words by their places."""
    yield from robots(names_by)


def test_tiles_get_the_costs_of_what_is_there(robot: Robot) -> None:
    robot.look()
    seen = {tile: cost for (tile, _), cost in robot.layer.costs(robot.now).items()}
    assert set(seen) == set(range(4))  # The other words are not asked for.
    for tile, cost in seen.items():
        assert cost in {COSTS[WORLD[tile]].base_cost, COSTS[WORLD[tile]].max_cost}
    for _ in range(3):
        robot.look()
    seen = {tile: cost for (tile, _), cost in robot.layer.costs(robot.now).items()}
    assert seen == {tile: COSTS[WORLD[tile]].max_cost for tile in range(4)}


def test_no_tile_gets_another_class_s_cost_however_words_change(robot: Robot) -> None:
    chance = random.Random(3)
    changes = 0
    while changes < 40:
        robot.tick(chance.choice([0.02, 0.2, 1.0, 4.0, 11.0]))
        robot.look()
        assert robot.wrong() == [], f'after {changes} changes'
        if chance.random() < 0.7:
            some = chance.sample(WORLD, chance.randint(1, 6))
            if chance.random() < 0.5:
                robot.rig.words.publish(String(data=', '.join(some)))
            else:
                assert robot.rig.set_to('class_names', some) == ''
            changes += 1
            assert robot.wrong() == []
    assert robot.layer.complaints == []


def test_ids_by_place_do_give_tiles_another_class_s_cost(careless: Robot) -> None:
    # What the test above looks for happens without the ids that stay, as soon as words change.
    careless.look()
    assert careless.wrong() == []
    careless.rig.say('cup, book, sky, door')
    careless.rig.until(lambda: 'cup' in careless.layer.names.values())
    assert len(careless.wrong()) == 4

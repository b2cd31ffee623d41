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
"""The launch files as they are started on a robot: processes, DDS and SIGINT at the end.

The executables are stand-ins, so that no package has to be installed and no model is loaded:
the nodes are the real ones. Skipped where ``launch_testing`` is not, which comes from apt.
"""

from collections.abc import Callable
from contextlib import ExitStack
import os
from pathlib import Path
import sys
import tempfile
import time
from typing import Any
import unittest

import cv2
from lifecycle_msgs.srv import GetState
import numpy as np
import pytest
from rcl_interfaces.srv import GetParameters
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import parameter_value_to_python
from rclpy.publisher import Publisher
from rclpy.signals import SignalHandlerOptions
from ros_helpers import own_domain, qos, solid, TRANSIENT
from sensor_msgs.msg import Image
from std_msgs.msg import String

pytest.importorskip('launch_ros')
launch_testing = pytest.importorskip('launch_testing')
actions = pytest.importorskip('launch.actions')
sources = pytest.importorskip('launch.launch_description_sources')

# This word has the conftest leave the file out where there is no rclpy: pytest.mark.ros.
ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 60.0
HELD = ExitStack()
FILES = {
    'zegclip': ('zegclip', 1),
    'cameras': ('zegclip', 1),
    'demo': ('demo', 2),
    'multi_camera': ('multi_camera', 2),
}
"""The launch file of each case, and the number of processes that it starts."""

STAND_INS = {
    'camera_node': 'from zegclip_ros.nodes.camera import main\nsys.exit(main())\n',
    'segmentation_node': """from fake_segmenter import FakeSegmenter
from zegclip_ros.runtime.runner import run_node
from zegclip_ros.nodes.segmentation import SegmentationNode
sys.exit(run_node(lambda: SegmentationNode(lambda parameters: FakeSegmenter())))
""",
}


def provide_executables(prefix: Path) -> None:
    """Make a prefix that holds the package as far as launch looks for it."""
    (prefix / 'share/ament_index/resource_index/packages').mkdir(parents=True)
    (prefix / 'share/ament_index/resource_index/packages/zegclip_ros').touch()
    (prefix / 'lib/zegclip_ros').mkdir(parents=True)
    for name, code in STAND_INS.items():
        path = prefix / 'lib/zegclip_ros' / name
        begin = (
            f'#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT / "test/helpers")!r})\n'
        )
        path.write_text(begin + code, encoding='utf-8')
        path.chmod(0o755)
    os.environ['AMENT_PREFIX_PATH'] = f'{prefix}:{os.environ.get("AMENT_PREFIX_PATH", "")}'


def provide_files(folder: Path) -> dict[str, str]:
    """Return the paths of a parameter file and of an image."""
    config = (ROOT / 'config' / 'zegclip.yaml').read_text(encoding='utf-8')
    changed = config.replace('overlay_alpha: 0.5', 'overlay_alpha: 0.25')
    (folder / 'changed.yaml').write_text(changed, encoding='utf-8')
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, :32, 2] = 1  # Red of 1 is the second class of the stand-in, which reads RGB.
    cv2.imwrite(str(folder / 'image.png'), image)
    return {'params_file': f'{folder}/changed.yaml', 'source': f'{folder}/image.png'}


def given(case: str, files: dict[str, str]) -> dict[str, str]:
    """Return the arguments of a launch file for a case."""
    return {
        'zegclip': {
            'namespace': 'robot',
            'image_topic': '/front/image_raw',
            'vocabulary_topic': '/words',
            'params_file': files['params_file'],
            'class_names': 'cat, 42, traffic light',
            'device': 'cpu',
        },
        'cameras': {'cameras': 'front,on', 'image_topic': '/{camera}/raw'},
        'demo': {'rviz': 'false', 'namespace': 'robot', 'source': files['source']},
        'multi_camera': {
            'cameras': 'front,rear',
            'autostart': 'false',
            'image_topic': '/{camera}/raw',
        },
    }[case]


@pytest.mark.launch_test
@launch_testing.parametrize('case', list(FILES))
def generate_test_description(case: str) -> Any:  # noqa: ANN401
    """Return the launch file of a case, in a DDS domain of its own."""
    HELD.enter_context(own_domain())
    folder = Path(HELD.enter_context(tempfile.TemporaryDirectory()))
    os.environ['ROS_LOG_DIR'] = str(folder / 'log')
    provide_executables(folder / 'prefix')
    path = ROOT / 'launch' / f'{FILES[case][0]}.launch.py'
    include = actions.IncludeLaunchDescription(
        sources.PythonLaunchDescriptionSource(str(path)),
        launch_arguments=given(case, provide_files(folder)).items(),
    )
    # SIGINT alone has to end the nodes: what comes after it must not come.
    patience = actions.SetLaunchConfiguration('sigterm_timeout', '3600')
    ready = launch_testing.actions.ReadyToTest()
    return pytest.importorskip('launch').LaunchDescription([patience, include, ready])


class Surroundings:
    """A node beside those that were launched; closes itself at the end of a test."""

    def __init__(self, test: unittest.TestCase) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        test.addCleanup(lambda: rclpy.shutdown(context=self.context))
        self.node = rclpy.create_node('surroundings', context=self.context)
        test.addCleanup(self.node.destroy_node)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Let messages flow until a condition holds."""
        end = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < end, f'{what} did not come true'
            self.executor.spin_once(timeout_sec=0.05)

    def ask(self, kind: Any, name: str, request: Any) -> Any:  # noqa: ANN401
        """Call a service as soon as it is there."""
        client = self.node.create_client(kind, name)
        self.until(client.service_is_ready, f'the service {name}')
        answer = client.call_async(request)
        self.until(answer.done, f'an answer of {name}')
        return answer.result()

    def state(self, node: str) -> str:
        return self.ask(GetState, f'{node}/get_state', GetState.Request()).current_state.label

    def parameters(self, node: str, *names: str) -> list[Any]:
        request = GetParameters.Request(names=names)
        values = self.ask(GetParameters, f'{node}/get_parameters', request).values
        return [parameter_value_to_python(value) for value in values]

    def inbox(self, kind: Any, topic: str, profile: Any) -> list[Any]:  # noqa: ANN401
        """Return a list that the messages of a topic come to."""
        messages: list[Any] = []
        self.node.create_subscription(kind, topic, messages.append, profile)
        return messages

    def send(self, camera: Publisher, image: Image, labels: list[Any]) -> None:
        """Publish an image again and again until labels have come."""

        def labelled() -> bool:
            camera.publish(image)
            return bool(labels)

        self.until(labelled, f'labels for {camera.topic_name}')

    def say(self, topic: str, words: str, readers: int) -> None:
        """Publish words once all readers are there."""
        publisher = self.node.create_publisher(String, topic, qos())
        self.until(lambda: publisher.get_subscription_count() == readers, f'readers of {topic}')
        publisher.publish(String(data=words))


class WhileItRuns(unittest.TestCase):
    """What holds before the end."""

    def test_it_does_what_its_arguments_say(self, case: str) -> None:
        getattr(self, case)(Surroundings(self))

    def zegclip(self, around: Surroundings) -> None:
        """Look for the arguments in parameters and topics of the node, which started itself."""
        node = '/robot/zegclip'
        around.until(lambda: around.state(node) == 'active', 'the node starting itself')
        names = ('class_names', 'device', 'overlay_alpha', 'model')
        assert around.parameters(node, *names) == [
            ['cat', '42', 'traffic light'],
            'cpu',
            0.25,  # The params_file's.
            'everyday-s',
        ]
        labels = around.inbox(Image, f'{node}/label_image', qos())
        camera = around.node.create_publisher(Image, '/front/image_raw', qos())
        around.send(camera, solid(red=2), labels)
        assert set(labels[0].data) == {2}
        announced = around.inbox(String, f'{node}/active_vocabulary', TRANSIENT)
        around.say('/words', 'fire extinguisher', readers=1)
        around.until(lambda: any('fire ext' in one.data for one in announced), 'the new words')

    def cameras(self, around: Surroundings) -> None:
        """Look for labels of each camera of the one node."""
        node = '/zegclip'
        around.until(lambda: around.state(node) == 'active', 'the node starting itself')
        # YAML takes the second name for a truth value.
        assert around.parameters(node, 'cameras') == [['front', 'on']]
        for name, red in (('front', 1), ('on', 2)):
            labels = around.inbox(Image, f'{node}/{name}/label_image', qos())
            camera = around.node.create_publisher(Image, f'/{name}/raw', qos())
            around.send(camera, solid(red=red), labels)
            assert set(labels[0].data) == {red}

    def demo(self, around: Surroundings) -> None:
        """Look for labels of the image that the camera plays."""
        labels = around.inbox(Image, '/robot/zegclip/label_image', qos())
        around.until(lambda: labels, 'a label image')
        image = np.frombuffer(labels[0].data, np.uint8).reshape(labels[0].height, -1)
        assert labels[0].header.frame_id == 'camera'
        assert (image[0, 0], image[0, -1]) == (1, 0)

    def multi_camera(self, around: Surroundings) -> None:
        """Look for two nodes that wait to be configured, and hear the same words."""
        for camera in ('front', 'rear'):
            assert around.state(f'/{camera}/zegclip') == 'unconfigured'
        boxes = [
            around.inbox(String, f'/{camera}/zegclip/active_vocabulary', TRANSIENT)
            for camera in ('front', 'rear')
        ]
        around.say('/vocabulary', 'never, never', readers=2)
        for box in boxes:
            around.until(lambda box=box: any('never' in one.data for one in box), 'an answer')


@launch_testing.post_shutdown_test()
class AfterTheEnd(unittest.TestCase):
    """What holds once SIGINT has ended all processes."""

    @classmethod
    def tearDownClass(cls) -> None:
        HELD.close()

    def test_all_processes_end_well(self, proc_info: Any, case: str) -> None:  # noqa: ANN401
        assert len(list(proc_info)) == FILES[case][1]
        launch_testing.asserts.assertExitCodes(proc_info, allowable_exit_codes=[0])

    def test_nothing_went_wrong(self, proc_output: Any) -> None:  # noqa: ANN401
        said = ''.join(line.text.decode() for line in proc_output)
        assert 'Traceback' not in said
        assert '[ERROR]' not in said

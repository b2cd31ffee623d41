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
"""Parameters of the segmentation node: what each does at once, and what is refused and why."""

from collections.abc import Callable, Iterator
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
import numpy as np
import pytest
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.parameter import Parameter
from ros_helpers import Inbox, node_parameters, qos, Rig, running_rig, solid
from sensor_msgs.msg import CompressedImage
from zegclip_core.errors import VocabularyError
from zegclip_ros.conversions import image_to_rgb, packed_rgb
from zegclip_ros.parameters import BY_NAME, DECLARATIONS, NodeParameters

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]


@pytest.fixture
def rig() -> Iterator[Rig]:
    with running_rig('-p', 'class_names:=["person", "cat"]') as made:
        made.until_state('active')
        made.start_camera()
        made.until_active('person', 'cat')
        yield made


@pytest.fixture
def idle() -> Iterator[Rig]:
    """Rig whose node stays unconfigured."""
    with running_rig('-p', 'autostart:=false') as made:
        yield made


OTHER: dict[str, Any] = {
    'autostart': False,
    'model': 'other',
    'backend': 'torch',
    'device': 'cpu',
    'precision': 'fp32',
    'short_side': 224,
    'attention': 'sclip',
    'templates': 'imagenet',
    'candidates': 20,
    'threads': 1,
    'class_names': ['dog', 'cow'],
    'vocabulary_file': 'other.txt',
    'threshold': 0.5,
    'negatives': ['wall', 'floor'],
    'cameras': ['front', 'rear'],
    'image_transport': 'compressed',
    'image_reliability': 'reliable',
    'output_size': '12x8',
    'confidence_encoding': 'mono8',
    'stable_ids': True,
    'label_info_every_image': True,
    'min_area': 5,
    'lazy': False,
    'overlay_alpha': 0.25,
    'overlay_palette': 'color_blind',
    'overlay_regions': True,
    'jpeg_quality': 10,
    'max_mask_topics': 1,
    'min_rate': 5.0,
    'smoothing': 0.5,
    'sharp_edges': 8,
    'depth_tolerance': 0.1,
    'points_organised': True,
    'points_color': 'overlay',
}
"""A value of each parameter that is allowed and not its default."""

WRONG: dict[str, list[tuple[Any, str]]] = {
    'autostart': [(1, 'read-only')],
    'model': [(3, 'type')],
    'backend': [('tensorflow', 'auto, torch, openvino, onnxruntime')],
    'device': [(3, 'type')],
    'precision': [('int4', 'auto, fp32, bf16, fp16, int8')],
    'short_side': [(-1, 'range'), (2049, 'range')],
    'attention': [('attentive', 'auto, naclip, key_key, sclip, maskclip, clip')],
    'templates': [('none of these', 'imagenet')],
    'candidates': [(-1, 'range'), (1025, 'range')],
    'threads': [(2, 'read-only'), (257, 'read-only')],
    'class_names': [
        ([], 'type'),
        ([''], 'a class name to have 1 to 200'),
        (['cat', 'CAT'], 'twice'),
        (['cat', 'not a car'], "'not a car'"),
        (['a b', 'a-b'], 'both become'),
        ('cat', 'type'),
    ],
    'vocabulary_file': [(3, 'read-only')],
    'threshold': [(-1.5, 'range'), (1.5, 'range'), (float('nan'), 'range')],
    'negatives': [
        (['x' * 201], 'a negative word'),
        ([str(number) for number in range(1025)], 'at most 1024 negative words, but got 1025'),
        (['auto', 'wall'], 'auto or none alone'),
        (['none', 'wall'], 'auto or none alone'),
        ('wall', 'type'),
    ],
    'cameras': [
        (['a' * 65], 'at most 64 letters'),
        (['3d'], 'letters, digits'),
        (['a', 'a'], 'once'),
        ([f'c{number}' for number in range(33)], 'at most 32 cameras, but got 33'),
        ('front', 'type'),
    ],
    'image_transport': [('theora', 'raw, compressed')],
    'image_reliability': [('perhaps', 'auto, system_default, reliable, best_effort')],
    'output_size': [('cloudy', 'camera, cloud, or a width and height'), ('0x4', 'at most 8192')],
    'confidence_encoding': [('16UC1', '32FC1, mono8')],
    'stable_ids': [(1, 'type')],
    'label_info_every_image': [('yes', 'type')],
    'min_area': [(0, 'range'), (100_001, 'range')],
    'lazy': [(1, 'type')],
    'overlay_alpha': [
        (-0.1, 'range'),
        (1.1, 'range'),
        (1.000000001, 'in [0, 1], but got 1.0'),
        (float('nan'), 'range'),
    ],
    'overlay_palette': [('rainbow', 'by_name, color_blind, pascal_voc')],
    'overlay_regions': [(1, 'type')],
    'jpeg_quality': [(0, 'range'), (101, 'range')],
    'max_mask_topics': [(-1, 'range'), (1025, 'range')],
    'min_rate': [(-1.0, 'range'), (float('inf'), 'range'), (float('nan'), 'range')],
    'smoothing': [(-0.1, 'range'), (1.5, 'range'), (float('nan'), 'range')],
    'sharp_edges': [(-1, 'range'), (65, 'range')],
    'depth_tolerance': [(-0.1, 'range'), (1.5, 'range'), (float('inf'), 'range')],
    'points_organised': [(1, 'type')],
    'points_color': [('label', 'image, overlay')],
}


def test_the_tables_of_this_test_are_whole() -> None:
    assert set(OTHER) == set(WRONG) == set(BY_NAME)
    assert all(OTHER[one.name] != one.default for one in DECLARATIONS)


@pytest.mark.parametrize('name', WRONG)
def test_wrong_values_are_refused_with_the_reason_and_change_nothing(idle: Rig, name: str) -> None:
    before = idle.node.get_parameter(name).value
    for value, said in WRONG[name]:
        assert said in idle.set_to(name, value)
        assert idle.node.get_parameter(name).value == before


@pytest.mark.parametrize('name', [one.name for one in DECLARATIONS if one.change == 'never'])
def test_what_is_read_once_is_read_only(idle: Rig, name: str) -> None:
    assert idle.node.describe_parameter(name).read_only
    assert 'read-only' in idle.set_to(name, OTHER[name])


CONFIGURED = [one.name for one in DECLARATIONS if one.change == 'unconfigured']


@pytest.mark.parametrize('name', CONFIGURED)
def test_what_configure_reads_is_refused_later_and_says_what_to_do(rig: Rig, name: str) -> None:
    reason = rig.set_to(name, OTHER[name])
    assert reason == (
        f'Expected the node to be unconfigured for a change of {name}, but it is active: '
        'deactivate it and clean it up first.'
    )


def test_what_configure_reads_reaches_the_next_model() -> None:
    seen: list[NodeParameters] = []
    with running_rig('-p', 'autostart:=false') as rig:
        rig.node._load = lambda parameters: seen.append(parameters) or rig.segmenter
        for name in CONFIGURED:
            assert rig.set_to(name, OTHER[name]) == ''
        rig.node.trigger_configure()
        changed = {name: OTHER[name] for name in CONFIGURED}
        assert seen[0] == node_parameters(**changed, autostart=False)
        assert seen[0].options.short_side == 224
        assert seen[0].options.attention == 'sclip'
        assert rig.node._pipeline.cameras['front'].topic == '/front/image/compressed'
        rig.until(lambda: rig.state['version'] == 1)
        topics = [entry['topics'] for entry in rig.state['classes']]
        assert topics[:2] == [
            {camera: f'/zegclip/{camera}/masks/person' for camera in ('front', 'rear')},
            {'front': None, 'rear': None},
        ]


def frame_until(rig: Rig, condition: Callable[[], object]) -> None:
    rig.send_until(lambda stamp: solid(1, 8, 8, stamp=stamp), condition)


def test_class_names_change_the_words_at_once_and_refusals_are_acknowledged(rig: Rig) -> None:
    version = rig.state['requested']
    assert rig.set_to('class_names', ['dog', 'traffic light']) == ''
    assert rig.until_active('dog', 'traffic light')['version'] == version + 1
    reason = rig.set_to('class_names', ['dog', 'Dog'])
    rig.until(lambda: rig.state['error'] is not None)
    assert rig.state['error'] == reason
    assert rig.state['refused'] == 'dog, Dog'
    assert rig.node.get_parameter('class_names').value == ['dog', 'traffic light']
    assert rig.set_to('class_names', ['person', 'cat']) == ''
    rig.until_active('person', 'cat')


def test_alpha_and_palette_change_the_overlay_at_once(rig: Rig) -> None:
    overlay = rig.listen('zegclip/overlay')
    assert rig.set_to('overlay_alpha', 1.0) == ''
    assert rig.set_to('overlay_palette', 'pascal_voc') == ''
    cat = [0, 128, 0]
    frame_until(rig, lambda: overlay.messages and image_to_rgb(overlay.last)[4, 4].tolist() == cat)
    assert [entry['color'] for entry in rig.state['classes']] == [[128, 0, 0], cat]
    assert rig.set_to('overlay_palette', 'by_name') == ''
    rig.until(lambda: rig.state['classes'][1]['color'] != cat)
    assert rig.set_to('overlay_alpha', 0.0) == ''
    frame_until(rig, lambda: (image_to_rgb(overlay.last) == 1).all())
    rig.probe.destroy_subscription(overlay.subscription)


def test_jpeg_quality_changes_the_compressed_overlay_at_once(rig: Rig) -> None:
    rig.set_to('overlay_alpha', 0.5)
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)

    def noisy(stamp: int) -> Any:  # noqa: ANN401
        message = solid(1, 64, 64, stamp=stamp)
        pixels = np.full((64, 64, 3), 1, np.uint8)
        pixels[:, :, 1] = noise
        message.data = bytes(pixels.tobytes())
        return message

    jpeg = rig.listen('zegclip/overlay/compressed', CompressedImage)
    rig.send_until(noisy, lambda: jpeg.messages)
    assert jpeg.last.format == 'rgb8; jpeg compressed bgr8'
    assert packed_rgb(jpeg.last).shape == (64, 64, 3)
    fine = len(jpeg.last.data)
    assert rig.set_to('jpeg_quality', 5) == ''
    rig.send_until(noisy, lambda: len(jpeg.last.data) < fine / 2)
    rig.probe.destroy_subscription(jpeg.subscription)


def asked_of_the_camera(rig: Rig) -> list[str]:
    ends = rig.probe.get_subscriptions_info_by_topic('/image')
    return [end.qos_profile.reliability.name.lower() for end in ends]


def test_lazy_and_reliability_change_the_subscription_at_once(rig: Rig) -> None:
    rig.until(lambda: rig.camera.get_subscription_count() == 0)
    assert rig.set_to('lazy', False) == ''
    rig.until(lambda: rig.camera.get_subscription_count() == 1)
    # What system_default is depends on the middleware.
    assert rig.set_to('image_reliability', 'system_default') == ''
    assert rig.node._pipeline.cameras[''].reliability.name == 'SYSTEM_DEFAULT'
    for reliability in ('best_effort', 'reliable', 'best_effort', 'auto'):
        assert rig.set_to('image_reliability', reliability) == ''
        wanted = 'best_effort' if reliability == 'best_effort' else 'reliable'
        rig.until(lambda wanted=wanted: asked_of_the_camera(rig) == [wanted], reliability)
    assert rig.set_to('lazy', True) == ''
    rig.until(lambda: rig.camera.get_subscription_count() == 0)


@pytest.mark.parametrize('kind', [VocabularyError, RuntimeError])
def test_what_the_model_cannot_encode_leaves_the_last_words(
    rig: Rig, kind: type[Exception]
) -> None:
    labels = rig.listen('zegclip/label_image')
    rig.segmenter.encode_fault = kind('Expected fewer tokens.')
    assert rig.set_to('negatives', ['wall']) == ''
    rig.until(lambda: rig.state['error'] == 'Expected fewer tokens.', 'the refusal')
    assert (rig.state['version'], rig.state['requested']) == (1, 2)
    frame_until(rig, lambda: labels.messages)
    rig.segmenter.encode_fault = None
    assert rig.set_to('negatives', ['auto']) == ''
    rig.until(lambda: rig.state['version'] == 3, 'the mended words')
    assert rig.state['error'] is None


def test_threshold_and_negatives_take_effect_with_the_same_words_at_once(rig: Rig) -> None:
    settings = rig.segmenter.settings
    assert settings == [(0.25, ('wall',))]
    changes: list[tuple[str, Any, float, tuple[str, ...]]] = [
        ('threshold', 0.5, 0.5, ('wall',)),
        ('negatives', ['wall', 'floor'], 0.5, ('wall', 'floor')),
        ('threshold', 0.0, 0.0, ('wall', 'floor')),
        ('negatives', ['none'], 0.0, ()),
        ('threshold', -1.0, 0.25, ()),
        ('negatives', ['auto'], 0.25, ('wall',)),
    ]
    for place, (name, value, *expected) in enumerate(changes):
        assert rig.set_to(name, value) == ''
        rig.until(lambda place=place: rig.state['version'] == place + 2, f'{name} {value}')
        assert settings[-1] == tuple(expected)
    assert rig.segmenter.encoded == [('person', 'cat')] * 7


def test_values_that_are_set_together_make_one_request(rig: Rig) -> None:
    values = {'class_names': ['dog'], 'threshold': 0.5, 'negatives': ['floor']}
    together = [Parameter(name, value=value) for name, value in values.items()]
    assert rig.node.set_parameters_atomically(together).successful
    assert rig.until_active('dog')['requested'] == 2
    assert rig.segmenter.settings[1:] == [(0.5, ('floor',))]


def test_words_and_ids_that_stay_are_judged_together(rig: Rig) -> None:
    many = [f'thing {number}' for number in range(255)]
    values = {'class_names': many, 'stable_ids': True}
    for order in (list(values), list(values)[::-1]):
        together = [Parameter(name, value=values[name]) for name in order]
        answer = rig.node.set_parameters_atomically(together)
        assert 'at most 254 classes while stable_ids is on' in answer.reason
    assert rig.node.get_parameter('stable_ids').value is False
    assert rig.state['version'] == 1


def test_min_rate_warns_at_once(rig: Rig) -> None:
    heard = Inbox(rig.probe, DiagnosticArray, '/diagnostics', qos())
    labels = rig.listen('zegclip/label_image')
    assert rig.set_to('min_rate', 999.0) == ''
    frame_until(rig, lambda: heard.messages and '999.0 Hz' in heard.last.status[0].message)
    assert heard.last.status[0].level == DiagnosticStatus.WARN
    assert rig.set_to('min_rate', 0.0) == ''
    frame_until(rig, lambda: 'Hz' not in heard.last.status[0].message)
    assert labels.messages


@pytest.mark.parametrize('service', [SetParameters, SetParametersAtomically])
def test_types_that_ros_does_not_have_are_refused_and_the_node_lives(
    rig: Rig, service: type
) -> None:
    atomically = service is SetParametersAtomically
    name = 'set_parameters_atomically' if atomically else 'set_parameters'
    client = rig.probe.create_client(service, f'zegclip/{name}')
    rig.until(client.service_is_ready)
    good = Parameter('min_rate', value=2.5).to_parameter_msg()
    bad = Parameter('overlay_alpha', value=0.1).to_parameter_msg()
    bad.value.type = 42
    future = client.call_async(service.Request(parameters=[bad, good]))
    rig.until(future.done)
    answer = future.result()
    results = [answer.result] if atomically else answer.results
    assert 'to be 0 to 9, but got 42' in results[0].reason
    expected = [False] if atomically else [False, True]
    assert [result.successful for result in results] == expected
    assert rig.node.get_parameter('min_rate').value == (0.0 if atomically else 2.5)
    assert rig.node.get_parameter('overlay_alpha').value == 0.5

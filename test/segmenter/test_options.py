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
"""Options stand in one place: one entry is a flag, an argument of ``load`` and a ROS parameter."""

from pathlib import Path
import subprocess
import sys
from typing import Any

import pytest
import torch
from zegclip_core.devices import DTYPES
from zegclip_core.errors import ModelError
from zegclip_core.options import OPTIONS, PRECISIONS, SegmenterOptions, TEMPLATES
from zegclip_core.text.templates import resolve_templates

ROOT = Path(__file__).resolve().parents[2]


def output_of(source: str, *arguments: str) -> str:
    """Return what a program prints in an interpreter of its own."""
    command = [sys.executable, '-c', source, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


WITH_ANOTHER_OPTION = """\
from dataclasses import dataclass
import sys

from zegclip_core import options


@dataclass(frozen=True)
class More(options.SegmenterOptions):
    blur_radius: float | None = options.option(
        None,
        'how far labels are blurred',
        unset='as they are',
        bounds=(0.0, 2.0),
        ros_unset=-1.0,
        ros_note='; below 0 as they are',
    )


options.SegmenterOptions = More
options.OPTIONS.update(options.options_of(More))
"""
"""What an entry more does, before anything else reads the options."""

IN_CORE = """
import argparse
from zegclip_core.cli._model import add_model_options, load_segmenter
from zegclip_core.segmenter import Segmenter

parser = argparse.ArgumentParser()
add_model_options(parser)
print('--blur-radius' in parser.format_help(), '(0 to 2; default: as they are)')
model = ['--model', sys.argv[1], '--device', 'cpu']
print(load_segmenter(parser.parse_args([*model, '--blur-radius', '1.5'])).options.blur_radius)
print(load_segmenter(parser.parse_args(model)).options.blur_radius)
print(Segmenter.load(sys.argv[1], device='cpu', blur_radius=0.5).options.blur_radius)
try:
    Segmenter.load(sys.argv[1], blur_radius=3.0)
except ValueError as error:
    print(error)
"""


def test_one_entry_more_is_a_flag_and_an_argument_of_load(tiny: str) -> None:
    assert output_of(WITH_ANOTHER_OPTION + IN_CORE, tiny).splitlines() == [
        'True (0 to 2; default: as they are)',
        '1.5',
        'None',
        '0.5',
        'Expected the blur radius to be in [0, 2], but got 3.0.',
    ]


IN_THE_NODE = """
import rclpy
from rclpy.node import Node
from zegclip_ros.parameters import NodeParameters

rclpy.init(args=['--ros-args', '-p', f'blur_radius:={sys.argv[1]}'])
node = Node('zegclip')
print(NodeParameters.declare(node).options.blur_radius)
descriptor = node.describe_parameter('blur_radius')
(bounds,) = descriptor.floating_point_range
print(bounds.from_value, bounds.to_value, descriptor.description)
rclpy.shutdown()
"""


@pytest.mark.ros
@pytest.mark.parametrize(('given', 'expected'), [('1.5', '1.5'), ('-1.0', 'None')])
def test_one_entry_more_is_a_parameter_of_the_node(given: str, expected: str) -> None:
    assert output_of(WITH_ANOTHER_OPTION + IN_THE_NODE, given).splitlines() == [
        expected,
        '-1.0 2.0 How far labels are blurred; below 0 as they are.',
    ]


HEAVY = "print([name for name in ('torch', 'numpy', 'cv2') if name in sys.modules])\n"


def test_the_help_of_a_command_imports_neither_torch_nor_numpy() -> None:
    source = f"""\
import sys
from zegclip_core.cli.main import main
try:
    main(['segment', '--help'])
except SystemExit:
    {HEAVY}"""
    assert output_of(source).endswith('[]\n')


@pytest.mark.ros
def test_declaring_the_parameters_of_the_node_imports_no_torch() -> None:
    source = f"""\
import sys
import rclpy
from rclpy.node import Node
from zegclip_ros.nodes import segmentation
from zegclip_ros.parameters import NodeParameters
rclpy.init()
NodeParameters.declare(Node('zegclip'))
{HEAVY}rclpy.shutdown()
"""
    assert 'torch' not in output_of(source)


def test_the_names_of_the_options_are_those_of_what_they_stand_for() -> None:
    assert ('auto', *DTYPES, 'int8') == PRECISIONS  # The last is OpenVINO's alone.
    assert all(isinstance(dtype, torch.dtype) for dtype in DTYPES.values())
    assert all(resolve_templates(name) for name in TEMPLATES)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            {'backend': 'tf'},
            'Expected a backend of auto, torch, openvino, onnxruntime, but ',
        ),
        (
            {'precision': 'int4'},
            'Expected a precision of auto, fp32, bf16, fp16, int8, but got ',
        ),
        ({'attention': 'x'}, 'Expected an attention of naclip, key_key, sclip, maskclip, clip, '),
        ({'mode': 'half'}, "Expected a mode of whole, slide, but got 'half'."),
        ({'engine': 'fast'}, "Expected an engine of lean, plain, but got 'fast'."),
        ({'threshold': 1.5}, 'Expected the threshold to be in [0, 1], but got 1.5.'),
        ({'threshold': float('nan')}, 'Expected the threshold to be in [0, 1], but got nan.'),
        ({'threshold': '0.5'}, 'Expected the threshold to be in [0, 1], but got 0.5.'),
        ({'short_side': 2049}, 'Expected the short side to be in [1, 2048], but got 2049.'),
        ({'threads': 257}, 'Expected the threads to be in [1, 256], but got 257.'),
        ({'candidates': -1}, 'Expected the candidates to be in [0, 1024], but got -1.'),
        ({'candidates': 2, 'engine': 'plain'}, 'Expected no candidates with the plain engine'),
        ({'precision': None}, 'Expected a precision of auto'),
        ({'device': None}, 'Expected the device to be a word, but got None.'),
        (
            {'candidates': 2.5},
            'Expected the candidates to be an integer in [0, 1024], but got 2.5.',
        ),
        ({'candidates': True}, 'Expected the candidates to be an integer in [0, 1024]'),
        ({'threshold': True}, 'Expected the threshold to be in [0, 1], but got True.'),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError) as caught:
        SegmenterOptions(**changes)
    assert str(caught.value).startswith(message)
    assert '\n' not in str(caught.value)


def test_an_exported_model_follows_some_options_only() -> None:
    follows = {
        *('backend', 'device', 'precision', 'threads', 'threshold', 'negatives'),
        *('smoothing', 'sharp_edges'),
    }
    assert {name for name, option in OPTIONS.items() if option.exported} == follows
    SegmenterOptions(device='cuda', threads=2, threshold=0.5, negatives=('wall',)).check_exported()
    with pytest.raises(ModelError, match=r'at its own size .* but got the short side 224\.'):
        SegmenterOptions(short_side=224).check_exported()

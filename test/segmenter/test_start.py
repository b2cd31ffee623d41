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
"""What a start loads: no more modules than it needs, and weights without made-up values."""

import json
from pathlib import Path
import subprocess
import sys

import pytest
import torch
from zegclip_core.loading import open_checkpoint
from zegclip_core.model.vit import VisionTransformer
from zegclip_core.weights.checkpoint import load_checkpoint, save_checkpoint
from zegclip_core.weights.families import unfilled

ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    *('torch._dynamo', 'torch._inductor', 'torch.onnx', 'torchvision', 'triton', 'sympy'),
    *('onnx', 'onnxruntime', 'transformers', 'open_clip', 'timm', 'lightning', 'sklearn'),
    *('scipy', 'pandas', 'matplotlib', 'skimage', 'pydantic', 'rosbags', 'lemminflect', 'av'),
)
"""Modules that take long to import or much memory, none of which labels a frame."""
SEGMENTER = """
import numpy as np
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary
words = Vocabulary.parse('person, cat, "traffic light"')
Segmenter.load(device='cpu', short_side=56).segment(np.zeros((48, 64, 3), np.uint8), words)
"""
COMMAND = """
from zegclip_core.cli.main import main
assert main(sys.argv[2:]) == 0
"""
NODE = """
from zegclip_ros.parameters import NodeParameters
import zegclip_ros.nodes.segmentation
"""
END = """
print('\\n' + json.dumps([name for name in json.loads(sys.argv[1]) if name in sys.modules]))
"""


def _heavy_modules(code: str, *arguments: str) -> list[str]:
    """Run code in a fresh process; return which of the heavy modules it has imported."""
    command = [sys.executable, '-c', f'import json, sys{code}{END}', json.dumps(HEAVY)]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_heavy_module_would_be_found() -> None:
    assert _heavy_modules('\nimport sympy\n') == ['sympy']


def test_a_segmenter_labels_a_frame_without_heavy_modules() -> None:
    assert _heavy_modules(SEGMENTER) == []


def test_zegclip_segment_needs_no_heavy_modules(tmp_path: Path) -> None:
    picture = min((ROOT / 'docs' / 'images').glob('*.png'))
    arguments = ['segment', str(picture), '--classes', 'cat, dog', '--short-side', '56']
    assert _heavy_modules(COMMAND, *arguments, '--out', str(tmp_path)) == []


def test_the_node_needs_no_heavy_modules_of_its_own() -> None:
    pytest.importorskip('rclpy')
    assert _heavy_modules(NODE) == []


def test_modules_are_built_without_random_numbers() -> None:
    _, checkpoint = open_checkpoint('everyday-s')
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with unfilled():
        tower = VisionTransformer(checkpoint.config.vision)
    assert torch.rand(3).equal(expected)
    torch.manual_seed(5)
    filled = VisionTransformer(checkpoint.config.vision)
    found = {name: (value.shape, value.dtype) for name, value in tower.state_dict().items()}
    assert found == {name: (each.shape, each.dtype) for name, each in filled.state_dict().items()}
    assert not torch.rand(3).equal(expected)


def test_writing_to_a_checkpoint_changes_no_loaded_weights(tmp_path: Path) -> None:
    _, checkpoint = open_checkpoint('everyday-s')
    own = tmp_path / 'own.safetensors'
    save_checkpoint(checkpoint, own)  # As float32, which needs no conversion when it is read.
    loaded = load_checkpoint(own)
    before = {name: value.clone() for name, value in loaded.state_dict.items()}
    with own.open('r+b') as file:
        size = own.stat().st_size
        file.seek(size // 2)
        file.write(bytes(size - size // 2))
    assert all(loaded.state_dict[name].equal(value) for name, value in before.items())

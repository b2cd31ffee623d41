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
"""A small seeded CLIP that open_clip knows by name, in a file or on a hub."""

import json
from pathlib import Path
import tempfile

import open_clip
from safetensors.torch import save_file
import torch

NAME = 'tiny-clip'
CONFIG = {
    'embed_dim': 64,
    'vision_cfg': {
        'image_size': 64,
        'patch_size': 16,
        'width': 96,
        'layers': 2,
        'head_width': 32,
    },
    'text_cfg': {
        'context_length': 77,
        'vocab_size': 49408,
        'width': 64,
        'heads': 2,
        'layers': 1,
    },
}


def register() -> str:
    """Make the model known to open_clip, also with QuickGELU, and return its name."""
    if NAME not in open_clip.list_models():
        folder = Path(tempfile.mkdtemp())  # open_clip reads its folders again and again.
        for ending, more in (('', {}), ('-quickgelu', {'quick_gelu': True})):
            (folder / f'{NAME}{ending}.json').write_text(json.dumps({**CONFIG, **more}))
        open_clip.add_model_config(folder)
    return NAME


def tiny_clip(seed: int = 3, *, quick_gelu: bool = False) -> open_clip.CLIP:
    """Return the model with seeded weights, its biases not zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.CLIP(**open_clip.get_model_config(register()), quick_gelu=quick_gelu)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.eval()


def write_tiny_clip(path: Path, model: open_clip.CLIP | None = None) -> Path:
    """Write the weights as open_clip's safetensors."""
    save_file((model or tiny_clip()).state_dict(), path)
    return path

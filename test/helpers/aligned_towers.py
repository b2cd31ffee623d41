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
"""Small aligned towers with seeded weights, in memory and as files."""

from pathlib import Path

import torch
from zegclip_core.model.alignment import AlignedTowers, AlignmentConfig
from zegclip_core.model.vit import IMAGENET_MEAN, IMAGENET_STD, VisionConfig
from zegclip_core.weights.checkpoint import Checkpoint, ModelSettings, save_checkpoint

VISION = VisionConfig(
    patch_size=14,
    width=48,
    layers=3,
    heads=3,
    mlp_width=96,
    grid=(4, 5),
    pre_norm=False,
    patch_bias=True,
    layer_scale=True,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    num_prefix_tokens=5,
)
"""DINOv2's kind with registers."""
SHAPE = AlignmentConfig(VISION, text_dim=40, dim=128, text_hidden=24, image_blocks=1)


def aligned_towers(config: AlignmentConfig = SHAPE, seed: int = 4) -> AlignedTowers:
    """Return towers all of whose parameters act, updates included."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = AlignedTowers(config).eval()
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if name != 'log_scale':
                    parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def write_alignment(
    path: Path,
    network: AlignedTowers,
    settings: ModelSettings,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write what was trained of towers, as a file that names them."""
    state = network.state_dict()
    kept = {name: state[name] for name in network.trained_names()}
    save_checkpoint(Checkpoint(network.config, settings, kept), path, dtype=dtype)
    return path

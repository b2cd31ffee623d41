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
"""Small models of both kinds, exported, for tests."""

from dataclasses import dataclass
from pathlib import Path

from tiny_models import published_state, WIDTH, write_published
import torch
from zegclip_core.cli.main import main
from zegclip_core.model.vit import VisionConfig
from zegclip_core.model.zegclip import ZegCLIP, ZegCLIPConfig
from zegclip_core.weights.checkpoint import Checkpoint, ModelSettings, save_checkpoint


@dataclass(frozen=True)
class Exported:
    """A model and what was exported from it at ``size``, ``(H, W)``."""

    model: Path
    file: Path
    size: tuple[int, int]


def write_dinov2(path: Path) -> Path:
    """Write a model like ``everyday-s``: a DINOv2-kind tower, several layers, a detail branch."""
    vision = VisionConfig(
        patch_size=14,
        width=WIDTH,
        layers=4,
        heads=2,
        mlp_width=2 * WIDTH,
        grid=(5, 5),
        pre_norm=False,
        patch_bias=True,
        layer_scale=True,
        feature_layers=(1, 3),
    )
    config = ZegCLIPConfig(
        vision,
        text_dim=WIDTH,
        dim=32,
        decoder_heads=4,
        decoder_mlp_dim=64,
        projections=True,
        detail_width=16,
        logit_scale=True,
    )
    generator = torch.Generator().manual_seed(0)
    # Large ones, so that scores differ from pixel to pixel as those of a trained model do.
    weights = {
        key: 0.12 * torch.randn(value.shape, generator=generator) if value.ndim > 1 else value
        for key, value in ZegCLIP(config).state_dict().items()
    }
    weights['logit_scale.log_scale'] = torch.tensor(3.0)
    text = {k: v for k, v in published_state().items() if k.startswith('text_encoder.')}
    settings = ModelSettings(short_side=56, seen_classes=('cat', 'tree'), seen_bias=0.02)
    save_checkpoint(Checkpoint(config, settings, weights | text), path)
    return path


def export(kind: str, folder: Path) -> Exported:
    """Make a model of a kind, ``published`` or ``dinov2``, and export it by the command."""
    if kind == 'published':
        model, size = write_published(folder / 'tiny.pth'), (32, 48)
    else:
        model, size = write_dinov2(folder / 'tiny.safetensors'), (70, 42)
    out = folder / 'out' / f'{kind}.onnx'
    arguments = ['export', '--model', str(model), '--format', 'onnx', '--out', str(out)]
    assert main([*arguments, '--size', f'{size[0]}x{size[1]}']) == 0
    return Exported(model, out, size)

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
"""A small dataset, a small CLIP and a short run, for tests of training."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import open_clip
from safetensors.torch import load_file
from tiny_models import GRID, PATCH, published_state, WIDTH
import torch
from torch import Tensor
from zegclip_core.cli.main import main
from zegclip_core.training.checkpoints import read_run_checkpoint, trained_weights
from zegclip_core.weights.checkpoint import load_checkpoint

COLORS = {'red square': (200, 30, 30), 'blue square': (30, 30, 200)}

CLIP = {
    'embed_dim': WIDTH,
    'quick_gelu': True,
    'vision_cfg': {'image_size': GRID * PATCH, 'layers': 2, 'width': WIDTH, 'patch_size': PATCH},
    'text_cfg': {
        'context_length': 77,
        'vocab_size': 49408,
        'width': WIDTH,
        'heads': 1,
        'layers': 2,
    },
}
"""The small CLIP as open_clip configures it."""

LIVE = (
    'keep_features=false',
    'loss.cross_entropy_weight=0',
    'loss.window=[]',
    'loss.stride=1',
    'model.decoder_dropout=0',
    'train.0.unlabelled=none_of_these',
    'train.0.wording=name',
    'validate=[]',
)
"""What makes a step depend on its views alone, however they are shared out."""

ALIGNED = (
    *('schedule.steps=3', 'schedule.validate_every=3', 'views.size=[32,32]', 'loss.window=[]'),
    *('model.detail_width=0', 'model.decoder_heads=4'),
)
"""A short training that may start from aligned towers."""


def write_squares(root: Path) -> Path:
    """Write pictures of coloured halves."""
    rng = np.random.default_rng(0)
    (root / 'classes.txt').write_text('\n'.join(COLORS) + '\n')
    for split, count in (('train', 6), ('val', 3)):
        for kind in ('images', 'labels'):
            (root / kind / split).mkdir(parents=True)
        for index in range(count):
            labels = np.zeros((48, 64), np.uint8)
            edge = rng.integers(16, 48)
            labels[:, edge:] = 1
            labels[:4] = 255
            image = np.array(list(COLORS.values()), np.uint8)[np.minimum(labels, 1)]
            image = np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
            cv2.imwrite(str(root / f'images/{split}/{index}.png'), image[:, :, ::-1])
            cv2.imwrite(str(root / f'labels/{split}/{index}.png'), labels)
    return root


def clip_state() -> dict[str, Tensor]:
    """Return the seeded weights of a small CLIP under OpenAI's names."""
    state = {}
    for key, value in published_state().items():
        if key.startswith('backbone.') and 'prompt' not in key:
            state[key.replace('backbone.', 'visual.')] = value
        elif key.startswith('text_encoder.'):
            state[key.removeprefix('text_encoder.')] = value
    return state


def write_clip(folder: Path) -> str:
    """Write a small CLIP in OpenAI's layout, make it known, and return its reference."""
    (folder / 'training-clip.json').write_text(json.dumps(CLIP))
    open_clip.add_model_config(folder / 'training-clip.json')
    torch.save(clip_state(), folder / 'clip.pt')
    return f'open_clip:training-clip/file:{folder / "clip.pt"}'


def run_arguments(squares: Path, clip: str, out: Path, *settings: str) -> list[str]:
    """Write a configuration and return the arguments of `zegclip` that train by it."""
    config = out / 'squares.yaml'
    out.mkdir(parents=True, exist_ok=True)
    config.write_text(
        f"""
name: squares
output: {out}
towers: {{image: "{clip}", text: "{clip}"}}
model: {{dim: 32, decoder_layers: 2, decoder_heads: 4, decoder_mlp_dim: 32, detail_width: 8}}
views: {{size: [48, 64], scale: [0.5, 1.0], jitter: 0.0}}
train: [{{root: "{squares}", split: train, views: 3, unlabelled: unknown}}]
validate: [{{root: "{squares}", split: val}}]
schedule: {{steps: 60, batch_size: 4, learning_rate: 0.003, validate_every: 30}}
loss: {{mask_weight: 20.0, cross_entropy_weight: 1.0, window: [4, 5]}}
settings: {{short_side: 48}}
"""
    )
    return ['train', '--config', str(config), *settings]


class Runs:
    """Trains by the configuration of ``run_arguments``, each run in a folder below ``out``."""

    def __init__(self, squares: Path, clip: str, out: Path) -> None:
        self.squares, self.clip, self.out = squares, clip, out

    def train(self, *settings: str) -> int:
        """Return the exit code of ``zegclip train`` with some settings, perhaps ``--resume``."""
        return main(run_arguments(self.squares, self.clip, self.out, *settings))

    def model(self, name: str = 'squares', which: str = '') -> Path:
        """Return the model of a run, the best one with ``-best``."""
        return self.out / name / f'{name}{which}.safetensors'

    def record(self, name: str = 'squares', which: str = '') -> dict[str, Any]:
        """Return what a model says of its training."""
        return dict(load_checkpoint(self.model(name, which)).settings.training)

    def last_step(self, name: str = 'squares') -> int:
        """Return the step of a run's last checkpoint, which must be whole."""
        checkpoint = read_run_checkpoint(self.out / name / 'last.ckpt')
        assert checkpoint['zegclip']['versions']['python']
        assert trained_weights(checkpoint)
        return int(checkpoint['global_step'])

    def assert_same(self, one: str, other: str) -> None:
        """Compare the weights of two runs' models bit for bit."""
        first, second = load_file(self.model(one)), load_file(self.model(other))
        assert first.keys() == second.keys()
        for key, value in first.items():
            assert torch.equal(value, second[key]), key

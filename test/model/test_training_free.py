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
"""Training-free CLIP against stored outputs of NACLIP's release and against formulas of our own.

The file is the one named by ``ZEGCLIP_CLIP_PARITY_FILE``; its metadata has all sizes.
"""

from dataclasses import replace
from itertools import combinations
import math

import pytest
from reference_files import clip_parity, ReferenceFile
from tiny_clips import seeded
import torch
from torch import Tensor
import torch.nn.functional as F
from zegclip_core.engines.lean.engine import LeanEngine
from zegclip_core.engines.lean.pixels import CENTRE
from zegclip_core.errors import ModelError
from zegclip_core.model.scoring import resize_maps
from zegclip_core.model.training_free import neighbourhood, TrainingFreeCLIP, TrainingFreeConfig
from zegclip_core.model.vit import CLIP_MEAN, CLIP_STD
from zegclip_core.options import Attention, ATTENTIONS
from zegclip_core.weights.image_towers import image_tower

CLOSE = {'rtol': 0.0, 'atol': 1e-4}
STORED: dict[Attention, str] = {
    'clip': 'vanilla_vanilla',
    'sclip': 'vanilla_csa',
    'key_key': 'reduced_kk',
    'naclip': 'reduced_naclip',
}


@pytest.fixture(scope='module')
def reference() -> ReferenceFile:
    return clip_parity()


def from_reference(
    reference: ReferenceFile, attention: Attention, **changes: float
) -> TrainingFreeCLIP:
    """Return the model of the file."""
    sizes = reference.config
    weights = reference.under('state_dict.visual')
    vision = image_tower(
        weights, where='the file', heads=sizes['vision_heads'], activation='quick_gelu'
    ).config
    constants = {'gaussian_std': sizes['gaussian_std'], 'scale': sizes['logit_scale']} | changes
    network = TrainingFreeCLIP(TrainingFreeConfig(vision, attention, **constants)).eval()
    network.load_state_dict({f'visual.{key}': value for key, value in weights.items()})
    return network


@pytest.mark.parametrize('attention', STORED)
def test_patch_tokens_equal_the_published_ones(
    reference: ReferenceFile, attention: Attention
) -> None:
    found = from_reference(reference, attention).patch_tokens(reference.tensors['input.image'])
    expected = reference.tensors[f'expected.patch_tokens.{STORED[attention]}']
    torch.testing.assert_close(found.flatten(2).transpose(1, 2), expected, **CLOSE)


@pytest.mark.parametrize('attention', STORED)
@torch.inference_mode()
def test_the_lean_tower_s_tokens_equal_the_published_ones(
    reference: ReferenceFile, attention: Attention
) -> None:
    model = LeanEngine(
        from_reference(reference, attention),
        dtype=torch.float32,
        device=torch.device('cpu'),
    ).model
    # The lean engine takes pixels, which it normalises in its first convolution.
    vision = model.tower.visual.config
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (vision.mean, vision.std))
    found, _ = model.tower(reference.tensors['input.image'] * std + mean - CENTRE)
    expected = reference.tensors[f'expected.patch_tokens.{STORED[attention]}']
    torch.testing.assert_close(found.flatten(2).transpose(1, 2), expected, **CLOSE)


def test_every_stored_attention_is_compared(reference: ReferenceFile) -> None:
    assert set(STORED.values()) == set(reference.under('expected.patch_tokens'))


def test_scores_equal_the_published_ones(reference: ReferenceFile) -> None:
    images = reference.tensors['input.image']
    text = reference.tensors['expected.text_embedding_ensemble']
    network = from_reference(reference, 'naclip')
    logits = network(images, text)
    scores = resize_maps(logits, (images.shape[2], images.shape[3])).softmax(dim=1)
    torch.testing.assert_close(scores, reference.tensors['expected.naclip_scores'], **CLOSE)


def tokens_before_the_last_block(network: TrainingFreeCLIP, images: Tensor) -> Tensor:
    x, _ = network.visual.embed(images)
    for block in network.visual.blocks[:-1]:
        x = block(x, None)
    return x


def by_hand(network: TrainingFreeCLIP, images: Tensor) -> Tensor:
    """Return patch tokens ``(B, N, C)``, each head and each pair of patches on its own."""
    attention, block = network.config.attention, network.visual.blocks[-1]
    x = tokens_before_the_last_block(network, images)
    width, heads = x.shape[-1], network.config.vision.heads
    side = width // heads
    grid = (images.shape[2] // 8, images.shape[3] // 8)
    qkv = block.ln_1(x) @ block.attn.in_proj_weight.T + block.attn.in_proj_bias
    parts = []
    for head in range(heads):
        query, key, value = (
            part.narrow(-1, head * side, side) for part in qkv.split(width, dim=-1)
        )
        parts.append(weights_by_hand(network, query, key, grid) @ value)
    mixed = torch.cat(parts, dim=-1) @ block.attn.out_proj.weight.T + block.attn.out_proj.bias
    if attention not in {'key_key', 'naclip'}:
        mixed = x + mixed
        mixed = mixed + block.mlp(block.ln_2(mixed))
    normal = F.layer_norm(
        mixed, (width,), network.visual.ln_post.weight, network.visual.ln_post.bias
    )
    prefix = network.config.vision.num_prefix_tokens
    return (normal @ network.visual.proj)[:, prefix:]


def weights_by_hand(
    network: TrainingFreeCLIP, query: Tensor, key: Tensor, grid: tuple[int, int]
) -> Tensor:
    """Return one head's attention weights, ``(B, P + N, P + N)``."""
    config, prefix = network.config, network.config.vision.num_prefix_tokens
    scale = query.shape[-1] ** -0.5

    def softmax(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.transpose(1, 2) * scale).softmax(dim=-1)

    if config.attention == 'clip':
        return softmax(query, key)
    if config.attention == 'maskclip':
        return torch.eye(query.shape[1]).expand(len(query), -1, -1)
    if config.attention == 'sclip':
        return softmax(query, query) + softmax(key, key)
    scores = key @ key.transpose(1, 2) * scale
    if config.attention == 'naclip':
        cells = [(row, column) for row in range(grid[0]) for column in range(grid[1])]
        for i, (row, column) in enumerate(cells):
            for j, (other_row, other_column) in enumerate(cells):
                distance = (row - other_row) ** 2 + (column - other_column) ** 2
                near = math.exp(-distance / (2 * config.gaussian_std**2))
                scores[:, prefix + i, prefix + j] += near
    return scores.softmax(dim=-1)


@pytest.mark.parametrize('prefix', [0, 1, 4])
@pytest.mark.parametrize('attention', ATTENTIONS)
def test_patch_tokens_follow_the_formula_on_a_wide_grid(attention: Attention, prefix: int) -> None:
    network = seeded(attention, gaussian_std=1.7, prefix=prefix)
    images = torch.randn(2, 3, 29, 52, generator=torch.Generator().manual_seed(2))
    found = network.patch_tokens(images)
    assert found.shape == (2, 20, 3, 6)
    expected = by_hand(network, images)
    torch.testing.assert_close(found.flatten(2).transpose(1, 2), expected, **CLOSE)
    model = LeanEngine(network, dtype=torch.float32, device=torch.device('cpu')).model
    # The lean path takes pixels, which it normalises in its first convolution.
    mean, std = (torch.tensor(part).view(1, 3, 1, 1) for part in (CLIP_MEAN, CLIP_STD))
    lean, _ = model.tower(images * std + mean - CENTRE)
    torch.testing.assert_close(lean.flatten(2).transpose(1, 2), expected, **CLOSE)


def test_the_attentions_differ_in_the_last_block_only() -> None:
    images = torch.randn(1, 3, 24, 40, generator=torch.Generator().manual_seed(2))
    networks = [seeded(attention) for attention in ATTENTIONS]
    states = [tokens_before_the_last_block(network, images) for network in networks]
    assert all(torch.equal(states[0], state) for state in states)
    tokens = [network.patch_tokens(images) for network in networks]
    for first, second in combinations(tokens, 2):
        assert (first - second).abs().max() > 0.01


def test_a_class_has_the_same_logits_whichever_others_are_asked_for() -> None:
    network = seeded('naclip', scale=13.0)
    generator = torch.Generator().manual_seed(4)
    images, text = torch.randn(1, 3, 24, 40, generator=generator), torch.randn(6, 20)
    logits = network(images, text)
    torch.testing.assert_close(network(images, text[2:4]), logits[:, 2:4])
    tokens = network.patch_tokens(images)
    cosine = F.cosine_similarity(tokens[0, :, 1, 2], 7 * text[3], dim=0)
    torch.testing.assert_close(logits[0, 3, 1, 2], 13.0 * cosine)


@pytest.mark.parametrize('prefix', [0, 1, 4])
def test_patches_look_at_near_ones_most(prefix: int) -> None:
    table = neighbourhood((2, 3), 1.5, prefix)
    assert table.shape == (prefix + 6, prefix + 6)
    assert not table[:prefix].any()
    assert not table[:, :prefix].any()
    patches = table[prefix:, prefix:]
    assert torch.equal(patches.diagonal(), torch.ones(6))
    # From row 0, column 0 to row 1, column 2.
    assert patches[0, 5].item() == pytest.approx(math.exp(-5 / (2 * 1.5**2)))


def test_position_tables_are_resized_as_naclip_does() -> None:
    network = seeded('clip')
    table = network.visual.positional_embedding
    found = network.visual.positions((4, 7))
    grid = table[1:].reshape(1, 3, 5, 48).permute(0, 3, 1, 2)
    scale = (4.1 / 3, 7.1 / 5)
    expected = F.interpolate(grid, scale_factor=scale, mode='bicubic')
    assert torch.equal(found[0], table[0])
    torch.testing.assert_close(found[1:].T.reshape(1, 48, 4, 7), expected)
    plain = F.interpolate(grid, size=(4, 7), mode='bicubic')
    assert (plain - expected).abs().max() > 1e-3


def test_nothing_is_trained_and_pixels_are_normalised_as_clip_does() -> None:
    network = seeded('naclip')
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert network.config.vision.mean == CLIP_MEAN
    assert network.config.vision.std == CLIP_STD
    assert network.scoring == 'softmax'


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'attention': 'sharp'}, r'of naclip, key_key, sclip, maskclip, clip, but got .sharp'),
        ({'gaussian_std': 0.0}, 'gaussian_std.* greater than 0, but got 0.0'),
        ({'scale': math.nan}, 'scale.* greater than 0, but got nan'),
    ],
)
def test_a_setting_out_of_its_range_is_refused(changes: dict, message: str) -> None:
    config = seeded('clip').config
    with pytest.raises(ModelError, match=message):
        replace(config, **changes)


@pytest.mark.parametrize(
    'changes',
    [
        {'prompt_tokens': 3},
        {'prompt_norm': True},
        {'class_embedding_twice': True},
        {'feature_layers': (0, 1)},
        {'embed_dim': 0},
    ],
)
def test_a_tower_that_is_not_clips_own_is_refused(changes: dict) -> None:
    with pytest.raises(ModelError, match="Expected CLIP's own image tower"):
        TrainingFreeConfig(replace(seeded('clip').config.vision, **changes))

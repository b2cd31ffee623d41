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
"""Towers that are not CLIP's: any number of prefix tokens, any pooling, any grid."""

from itertools import product

from made_vocabularies import made_vocabulary
import pytest
import torch
from torch import nn, Tensor
import torch.nn.functional as F
from zegclip_core.engines.lean.engine import LeanEngine
from zegclip_core.engines.lean.pixels import PatchProjection
from zegclip_core.engines.lean.rows import RowKernels
from zegclip_core.engines.lean.tower import LeanTower
from zegclip_core.errors import ModelError
from zegclip_core.model.blocks import AttentionPooling, Pooling, POOLINGS, PYTORCH
from zegclip_core.model.vit import VisionConfig, VisionTransformer
from zegclip_core.model.zegclip import ZegCLIP, ZegCLIPConfig

CLOSE = {'rtol': 1e-4, 'atol': 1e-5}  # float32 sums in another order
TOWERS = [each for each in product((0, 1, 4), POOLINGS) if each != (0, 'token')]
SIZES = [(24, 40), (40, 40), (32, 71)]  # the grid of the table; a square; another, and a rest


def seeded_tower(prefix: int, pooling: Pooling, prompts: int, projected: bool) -> VisionConfig:
    return VisionConfig(
        patch_size=8,
        width=48,
        layers=3,
        heads=3,
        mlp_width=96,
        grid=(3, 5),
        embed_dim=20 if projected else 0,
        num_prefix_tokens=prefix,
        pooling=pooling,
        patch_bias=True,
        prompt_tokens=prompts,
        feature_layers=(0, 2) if prompts else (),
    )


def randomised(network: nn.Module) -> nn.Module:
    """Draw every parameter, so that no bias is 0 and no factor 1."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return network.eval()


def tower_of(prefix: int, pooling: Pooling, prompts: int, projected: bool) -> VisionTransformer:
    torch.manual_seed(5)
    tower = randomised(VisionTransformer(seeded_tower(prefix, pooling, prompts, projected)))
    assert isinstance(tower, VisionTransformer)
    return tower


def literally(tower: VisionTransformer, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return patch tokens and image embedding, with prompts in the sequence, step by step."""
    config, own = tower.config, tower.state_dict()
    prefix, (rows, columns) = config.num_prefix_tokens, (n // 8 for n in images.shape[2:])
    cells = images[:, :, : 8 * rows, : 8 * columns].unflatten(3, (columns, 8))
    patches = torch.einsum('bcirjs,dcrs->bijd', cells.unflatten(2, (rows, 8)), own['conv1.weight'])
    patches = (patches + own['conv1.bias']).flatten(1, 2)
    table = own['positional_embedding']
    grid = table[prefix:].T.reshape(1, 48, 3, 5)
    if (rows, columns) != (3, 5):
        grid = F.interpolate(grid, size=(rows, columns), mode='bicubic')
    x = patches + grid.flatten(2).mT
    first = [own['class_embedding'][None]] if prefix else []
    registers = [own['register_embedding']] if prefix > 1 else []
    if prefix:
        before = torch.cat([*first, *registers]) + table[:prefix]
        x = torch.cat([before.expand(len(x), -1, -1), x], dim=1)
    x = normalised(x, own, 'ln_pre')
    features = []
    for index in range(config.layers):
        x = block_by_hand(tower, x, index)
        if index in (config.feature_layers or (2,)):
            features.append(head_by_hand(tower, x))
    tokens, embedding = (torch.cat(parts, dim=-1) for parts in zip(*features, strict=True))
    return tokens.mT.reshape(len(images), -1, rows, columns), embedding


def normalised(x: Tensor, own: dict[str, Tensor], name: str) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], own[f'{name}.weight'], own[f'{name}.bias'])


def block_by_hand(tower: VisionTransformer, x: Tensor, index: int) -> Tensor:
    """Run a block, its prompt tokens behind all others, by PyTorch's own attention."""
    config, own, block = tower.config, tower.state_dict(), tower.blocks[index]
    sequence = x
    if config.prompt_tokens:
        table = torch.cat([own['prompt_embeddings'], own['deep_prompt_embeddings']])
        prompts = F.linear(table[index], own['prompt_proj.weight'], own['prompt_proj.bias'])
        sequence = torch.cat([x, prompts.expand(len(x), -1, -1)], dim=1)
    attention = nn.MultiheadAttention(48, 3, batch_first=True)
    attention.load_state_dict(block.attn.state_dict(), strict=True)
    normal = block.ln_1(sequence)
    x = (sequence + attention(normal, normal, normal)[0])[:, : x.shape[1]]
    hidden = F.gelu(F.linear(block.ln_2(x), block.mlp.c_fc.weight, block.mlp.c_fc.bias))
    return x + F.linear(hidden, block.mlp.c_proj.weight, block.mlp.c_proj.bias)


def head_by_hand(tower: VisionTransformer, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return patch tokens ``(B, N, C)`` and the image embedding ``(B, C)``."""
    config, own = tower.config, tower.state_dict()
    prefix = config.num_prefix_tokens
    x = normalised(x, own, 'ln_post')
    patches = x[:, prefix:]
    if config.pooling == 'token':
        pooled = x[:, 0]
    elif config.pooling == 'avg':
        pooled = torch.einsum('bnd->bd', patches) / patches.shape[1]
    else:
        pooled = attention_pooling_by_hand(tower.pool, x, heads=3)
    proj = own['proj'] if config.embed_dim else torch.eye(48)
    return patches @ proj, pooled @ proj


def attention_pooling_by_hand(pool: AttentionPooling, x: Tensor, heads: int) -> Tensor:
    """Return the pooled tokens ``(B, D)``, each head on its own."""
    own = pool.state_dict()
    weights = own['attention.in_proj_weight'].view(3, heads, -1, x.shape[-1])  # (3, h, d, D)
    biases = own['attention.in_proj_bias'].view(3, heads, 1, -1)
    query = torch.einsum('d,hed->he', own['probe'][0, 0], weights[0]) + biases[0, :, 0]
    key = torch.einsum('bnd,hed->bhne', x, weights[1]) + biases[1]
    value = torch.einsum('bnd,hed->bhne', x, weights[2]) + biases[2]
    shares = (torch.einsum('he,bhne->bhn', query, key) * query.shape[-1] ** -0.5).softmax(dim=-1)
    mixed = torch.einsum('bhn,bhne->bhe', shares, value).flatten(1)
    mixed = F.linear(mixed, own['attention.out_proj.weight'], own['attention.out_proj.bias'])
    hidden = F.linear(normalised(mixed, own, 'layernorm'), own['mlp.fc1.weight'])
    hidden = F.gelu(hidden + own['mlp.fc1.bias'])
    return mixed + F.linear(hidden, own['mlp.fc2.weight'], own['mlp.fc2.bias'])


@torch.inference_mode()
@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('prompts', [0, 3])
@pytest.mark.parametrize(('prefix', 'pooling'), TOWERS)
def test_a_tower_follows_the_formula_in_plain_and_lean_form(
    prefix: int, pooling: Pooling, prompts: int, size: tuple[int, int]
) -> None:
    for projected in (True, False):
        tower = tower_of(prefix, pooling, prompts, projected)
        images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(2))
        expected = literally(tower, images)
        projection = PatchProjection(tower.config, tower.conv1.weight, tower.conv1.bias)
        for prompts_made in (tower.normalised_prompts(), tower.prompt_keys_and_values()):
            lean = LeanTower(
                tower,
                projection,
                prompts_made,
                torch.float32,
                kernels=PYTORCH,
                rows=RowKernels(),
            )
            for run in (tower, lean):
                for found, by_hand in zip(run(images), expected, strict=True):
                    torch.testing.assert_close(found, by_hand, **CLOSE)


@torch.inference_mode()
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(('prefix', 'pooling'), TOWERS)
def test_a_whole_model_gives_the_same_logits_in_lean_form(
    prefix: int, pooling: Pooling, dtype: torch.dtype
) -> None:
    torch.manual_seed(6)
    vision = seeded_tower(prefix, pooling, 3, False)
    config = ZegCLIPConfig(vision, text_dim=16, dim=16, decoder_heads=2, projections=True)
    network = ZegCLIP(config).eval()
    generator = torch.Generator().manual_seed(2)
    pixels = torch.randint(0, 256, (2, 3, 40, 48), generator=generator).float()
    text = torch.randn(5, 16, generator=generator)
    mean, std = (torch.tensor(part).view(1, 3, 1, 1) for part in (vision.mean, vision.std))
    expected = network((pixels - mean) / std, text)
    engine = LeanEngine(network, dtype=dtype, device=torch.device('cpu'))
    words = engine.prepare(made_vocabulary(text, torch.zeros(5), torch.zeros(5)))
    found = engine.model.logits(pixels - 128.0, words)
    tolerance = CLOSE if dtype == torch.float32 else {'rtol': 0.05, 'atol': 0.05}
    torch.testing.assert_close(found.float(), expected, **tolerance)


@torch.inference_mode()
@pytest.mark.parametrize('projections', [True, False])
def test_an_averaging_descriptor_sees_the_mean_of_the_patches_and_no_class_token(
    projections: bool,
) -> None:
    torch.manual_seed(6)
    vision = seeded_tower(1, 'token', 3, False)
    dim = 16 if projections else vision.output_dim
    shape = {'text_dim': dim, 'dim': dim, 'decoder_heads': 2, 'projections': projections}
    network = randomised(ZegCLIP(ZegCLIPConfig(vision, average_pooling=True, **shape)))
    images, text = torch.randn(2, 3, 40, 48), torch.randn(5, dim)
    tokens, class_token = network.visual(images)
    patches, words = tokens.flatten(2).mT, text
    if projections:
        patches, words = network.image_projection(patches), network.text_projection(text)
    mean = F.normalize(sum(patches.unbind(1)), dim=1)
    joint = F.normalize(patches.mT.unflatten(2, (5, 6)), dim=1)
    expected = network.decoder(joint, mean, F.normalize(words, dim=1))
    found = network.decode(tokens, torch.randn_like(class_token), text, images)
    torch.testing.assert_close(found, expected, **CLOSE)
    torch.testing.assert_close(network(images, text), expected, **CLOSE)


@pytest.mark.parametrize('pooling', POOLINGS)
def test_the_image_embedding_reaches_every_part_of_its_pooling(pooling: Pooling) -> None:
    tower = tower_of(2, pooling, 0, True)
    _, embedding = tower(torch.randn(1, 3, 24, 40))
    embedding.sum().backward()
    without = {name for name, part in tower.named_parameters() if part.grad is None}
    assert not without


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'num_prefix_tokens': 0}, "at least 1 prefix tokens with the pooling 'token', but got 0"),
        (
            {'num_prefix_tokens': 0, 'pooling': 'avg', 'class_embedding_twice': True},
            "at least 1 prefix tokens with the pooling 'avg', but got 0",
        ),
        ({'num_prefix_tokens': -1, 'pooling': 'map'}, 'at least 0 prefix tokens.*but got -1'),
        ({'pooling': 'max'}, "pooling to be one of token, avg, map, but got 'max'"),
    ],
)
def test_a_pooling_that_cannot_be_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        VisionConfig(8, 48, 3, 3, 96, (3, 5), **changes)

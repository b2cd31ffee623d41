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
"""Tables of names: what they do, and that a tower of another kind is one table."""

import pytest
import timm
import torch
from torch import nn, Tensor
from zegclip_core.errors import TowerError
from zegclip_core.model.vit import VisionTransformer
from zegclip_core.weights.families import rename_weights, square_grid
from zegclip_core.weights.image_towers import image_tower

CLOSE = {'rtol': 1e-4, 'atol': 1e-5}  # float32 sums in another order


def seeded(name: str, **sizes: object) -> nn.Module:
    """Return a small model of timm whose parameters are all drawn."""
    model = timm.create_model(name, depth=2, embed_dim=64, num_heads=2, num_classes=0, **sizes)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def built(weights: dict[str, Tensor], **facts: object) -> VisionTransformer:
    tower = image_tower(weights, where='the test', **facts)
    network = VisionTransformer(tower.config)
    network.load_state_dict(tower.state_dict, strict=True)
    return network.eval()


@torch.inference_mode()
def test_a_siglip_tower_is_one_table() -> None:
    model = seeded('vit_base_patch16_siglip_224', img_size=(48, 80))
    network = built(model.state_dict(), heads=2, grid=(3, 5))
    assert network.config.num_prefix_tokens == 0
    image = torch.randn(2, 3, 48, 80)
    tokens, embedding = network(image)
    expected = model.forward_features(image)
    torch.testing.assert_close(tokens.flatten(2).mT, expected, **CLOSE)
    torch.testing.assert_close(embedding, model.forward_head(expected), **CLOSE)


@torch.inference_mode()
def test_a_tower_with_registers_is_one_name_more() -> None:
    model = seeded('vit_small_patch14_reg4_dinov2', img_size=(42, 70))
    network = built(model.state_dict(), heads=2, grid=(3, 5))
    assert network.config.num_prefix_tokens == 5
    image = torch.randn(2, 3, 42, 70)
    tokens, embedding = network(image)
    expected = model.forward_features(image)
    torch.testing.assert_close(tokens.flatten(2).mT, expected[:, 5:], **CLOSE)
    torch.testing.assert_close(embedding, expected[:, 0], **CLOSE)


def test_parts_are_stacked_in_the_order_of_the_table_and_the_first_rule_counts() -> None:
    table = {
        'blocks.0.x': None,
        ('*.q.*', '*.k.*', '*.v.*'): '*.qkv_*',
        'blocks.**': 'layers.**',
    }
    weights = {
        'a.v.w': torch.tensor([3.0]),
        'blocks.0.x': torch.zeros(1),
        'blocks.1.x.y': torch.tensor([7.0]),
        'a.q.w': torch.tensor([1.0]),
        'a.k.w': torch.tensor([2.0]),
    }
    renamed = rename_weights(weights, table, expected='a test')
    assert {key: value.tolist() for key, value in renamed.items()} == {
        'a.qkv_w': [1.0, 2.0, 3.0],
        'layers.1.x.y': [7.0],
    }
    with pytest.raises(TowerError, match=r'Expected a test, but it has odd\.w\.'):
        rename_weights({**weights, 'odd.w': torch.zeros(1)}, table, expected='a test')
    del weights['a.k.w']
    with pytest.raises(TowerError, match=r'lacks a part of a\.qkv_w'):
        rename_weights(weights, table, expected='a test')


def test_a_grid_is_the_source_s_and_else_the_family_s() -> None:
    weights = seeded('vit_tiny_patch16_224', img_size=(48, 192)).state_dict()
    assert image_tower(weights, where='the test', grid=(3, 12)).config.grid == (3, 12)
    # The source may say another size than that of the file: the family says that it is a square.
    assert image_tower(weights, where='the test', grid=(14, 14)).config.grid == (6, 6)
    with pytest.raises(TowerError, match='square grid, but got 35 patches'):
        square_grid(35)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'odd_token': torch.zeros(1, 4, 64)}, 'with a class token, but it has odd_token'),
        ({'cls_token': None}, 'with a class token, but it lacks class_embedding'),
    ],
)
def test_a_tower_of_no_known_family_says_what_is_odd(
    change: dict[str, Tensor | None], message: str
) -> None:
    weights = {**seeded('vit_tiny_patch16_224').state_dict(), **change}
    given = {key: value for key, value in weights.items() if value is not None}
    with pytest.raises(TowerError, match=message):
        image_tower(given, where='the test')

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
"""Updates run beside a tower equal those merged into it, and nothing else is trained."""

from aligned_towers import aligned_towers, VISION
import pytest
import torch
from torch import Tensor
from zegclip_core.model.alignment import AlignedTowers, AlignmentConfig
from zegclip_core.model.low_rank import LowRankUpdates, merge
from zegclip_core.model.vit import VisionTransformer

SHAPE = AlignmentConfig(VISION, text_dim=40, dim=64, text_hidden=24, rank=3, adapted_blocks=2)


@pytest.fixture
def towers() -> AlignedTowers:
    return aligned_towers(SHAPE)


def images(seed: int = 0) -> Tensor:
    return torch.randn(2, 3, 42, 56, generator=torch.Generator().manual_seed(seed))


def test_updates_beside_a_tower_equal_merged_ones(towers: AlignedTowers) -> None:
    merged = VisionTransformer(VISION).eval()
    merged.load_state_dict(merge(towers.visual.state_dict(), towers.low_rank.state_dict()))
    with torch.no_grad():
        found, expected = towers.encode_image(images()), merged(images())
        plain = towers.visual(images())
    for one, other, before in zip(found, expected, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
        assert (one - before).abs().max() > 0.01


def test_new_updates_change_nothing() -> None:
    towers = AlignedTowers(SHAPE).eval()
    with torch.no_grad():
        for one, other in zip(towers.encode_image(images()), towers.visual(images()), strict=True):
            assert torch.equal(one, other)


def test_only_the_last_blocks_have_updates() -> None:
    visual = VisionTransformer(VISION)
    assert [name for name, _ in LowRankUpdates(visual, 2, 2).named_children()] == ['1', '2']
    updates = LowRankUpdates(visual, 2, 9)
    assert [name for name, _ in updates.named_children()] == ['0', '1', '2']
    assert not list(LowRankUpdates(visual, 2, 0).parameters())
    for index in range(3):
        shapes = {tuple(value.shape) for value in updates.get_submodule(str(index)).parameters()}
        assert {(48, 2), (144, 2), (96, 2), (2, 48), (2, 96)} == shapes


def test_gradients_reach_updates_and_projections_alone(towers: AlignedTowers) -> None:
    text = torch.randn(3, 40, generator=torch.Generator().manual_seed(1))
    towers(images(), text).square().mean().backward()
    trained = set(towers.trained_names())
    assert any(name.startswith('low_rank.') for name in trained)
    for name, parameter in towers.named_parameters():
        if name in trained and not name.startswith('global_projection.'):
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name
        else:
            assert parameter.grad is None, name


def test_their_gradients_are_those_of_merged_weights(towers: AlignedTowers) -> None:
    towers.encode_image(images())[0].square().sum().backward()
    merged = VisionTransformer(VISION).eval()
    merged.load_state_dict(merge(towers.visual.state_dict(), towers.low_rank.state_dict()))
    merged(images())[0].square().sum().backward()
    gradient = merged.get_parameter('transformer.resblocks.1.mlp.c_fc.weight').grad
    assert gradient is not None
    update = towers.low_rank.get_submodule('1.c_fc')
    for own, expected in (
        (update.up.grad, gradient @ update.down.detach().T),
        (update.down.grad, update.up.detach().T @ gradient),
    ):
        torch.testing.assert_close(own, expected, rtol=1e-3, atol=1e-3 * float(expected.std()))


def test_merging_leaves_the_rest_and_refuses_what_does_not_fit(towers: AlignedTowers) -> None:
    tower, updates = towers.visual.state_dict(), towers.low_rank.state_dict()
    merged = merge(tower, updates)
    assert merged.keys() == tower.keys()
    changed = [name for name in tower if not torch.equal(merged[name], tower[name])]
    assert len(changed) == 2 * 4
    name = 'transformer.resblocks.2.attn.in_proj_weight'
    product = updates['2.in_proj.up'] @ updates['2.in_proj.down']
    torch.testing.assert_close(merged[name] - tower[name], product, rtol=1e-4, atol=1e-5)
    half = {key: value.half() for key, value in tower.items()}
    assert merge(half, updates)[name].dtype == torch.float32
    for odd, message in (
        ({'7.c_fc.up': torch.zeros(1, 1)}, 'no weight for the update 7.c_fc'),
        ({'1.c_fc.up': torch.zeros(96, 3)}, '1.c_fc has no down'),
        ({**updates, '1.c_fc.up': torch.zeros(48, 3)}, r'\(96, 48\) is a product of \(48, 3\)'),
        ({**updates, '1.c_fc.middle': torch.zeros(3, 3)}, 'no such part .* 1.c_fc.middle'),
    ):
        with pytest.raises(ValueError, match=message):
            merge(tower, odd)

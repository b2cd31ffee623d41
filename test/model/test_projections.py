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
"""Projections into the joint space: what a new one computes, and the blocks behind it."""

import pytest
import torch
from torch import nn
import torch.nn.functional as F
from zegclip_core.model.projections import PatchProjection, Projection


def tokens() -> torch.Tensor:
    return 3.0 + torch.randn(2, 3, 4, 16, generator=torch.Generator().manual_seed(0))


def test_a_projection_is_a_norm_and_a_linear_map_or_an_mlp() -> None:
    torch.manual_seed(0)
    x = tokens()
    normalised = (x - x.mean(dim=-1, keepdim=True)) / x.std(dim=-1, unbiased=False, keepdim=True)
    linear, mlp = Projection(16, 24), Projection(16, 24, hidden=12)
    expected = normalised @ linear.linear.weight.T + linear.linear.bias
    torch.testing.assert_close(linear(x), expected, rtol=1e-4, atol=1e-4)
    hidden = F.gelu(normalised @ mlp.hidden.weight.T + mlp.hidden.bias)
    expected = hidden @ mlp.linear.weight.T + mlp.linear.bias
    torch.testing.assert_close(mlp(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('dim', [24, 128, 200])
def test_new_blocks_add_nothing_and_then_let_patches_see_each_other(dim: int) -> None:
    """Whatever the width: heads are as many as divide it."""
    torch.manual_seed(0)
    projection, x = PatchProjection(16, dim, blocks=2).eval(), tokens()
    linear = projection.linear(projection.norm(x))
    torch.testing.assert_close(projection(x), linear)
    nn.init.normal_(projection.blocks[0].attn.out_proj.weight, std=0.1)
    changed = x.clone()
    changed[:, 0, 0] += torch.arange(16.0)
    with torch.no_grad():
        moved = (projection(changed) - projection(x)).abs().amax(dim=-1)
    assert (moved > 1e-4).all()


def test_without_blocks_each_patch_stands_alone() -> None:
    torch.manual_seed(0)
    projection, x = PatchProjection(16, 24).eval(), tokens()
    changed = x.clone()
    changed[0, 1, 2] += torch.arange(16.0)
    moved = (projection(changed) - projection(x)).abs().amax(dim=-1) > 0
    assert moved.nonzero().tolist() == [[0, 1, 2]]

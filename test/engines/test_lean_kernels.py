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
"""What the blocks of the lean engine are computed by."""

import pytest
import torch
from torch import Tensor
import torch.nn.functional as F
from zegclip_core.engines.lean.model import (
    attend_in_bfloat16,
    convolve,
    fold_quick_gelu,
    kernels_for,
    ROWS,
)
from zegclip_core.model.blocks import MLP, PYTORCH, QuickGELU
from zegclip_core.model.vit import VisionConfig, VisionTransformer

CPU = torch.device('cpu')


def seeded(*shape: int) -> Tensor:
    """Return normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize('tokens', [1, ROWS, 2 * ROWS + 3])
def test_attention_in_bfloat16_is_attention(tokens: int) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn((2, count, 3, 16), generator=generator).transpose(1, 2)
        for count in (tokens, tokens + 5, tokens + 5)
    )
    exact = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    found = attend_in_bfloat16(*(part.bfloat16() for part in (query, key, value)))
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), exact, rtol=0.05, atol=0.03)


@pytest.mark.parametrize('bias', [None, seeded(7)])
@pytest.mark.parametrize('shape', [(2, 5, 3), (1, 1, 3)])
def test_a_convolution_of_one_pixel_is_a_linear_layer(
    shape: tuple[int, ...], bias: Tensor | None
) -> None:
    x, weight = seeded(*shape), seeded(7, 3)
    found = convolve(x, weight, bias)
    torch.testing.assert_close(found, F.linear(x, weight, bias), rtol=1e-5, atol=1e-6)
    assert found.is_contiguous()  # Else the next layer would copy it.


def test_every_device_and_type_has_kernels_of_its_own() -> None:
    gpu = torch.device('cuda')
    assert kernels_for(CPU, torch.float32).linear is convolve
    assert kernels_for(CPU, torch.bfloat16).attend is attend_in_bfloat16
    assert kernels_for(gpu, torch.float32) == PYTORCH
    assert kernels_for(gpu, torch.bfloat16) == PYTORCH


def test_without_onednn_linear_layers_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, 'is_available', lambda: False)
    assert kernels_for(CPU, torch.float32) == PYTORCH


def tower(activation: str) -> VisionTransformer:
    """Return an image tower of two blocks."""
    config = VisionConfig(
        patch_size=8,
        width=16,
        layers=2,
        heads=2,
        mlp_width=32,
        grid=(2, 2),
        activation='quick_gelu' if activation == 'quick_gelu' else 'gelu',
    )
    return VisionTransformer(config).eval()


@torch.no_grad()
def test_the_folded_activation_is_one_kernel_and_gives_the_same() -> None:
    visual, images = tower('quick_gelu'), seeded(1, 3, 16, 16)
    expected = visual(images)
    for _ in range(2):  # What is folded already stays.
        fold_quick_gelu(visual)
        for found, same in zip(visual(images), expected, strict=True):
            torch.testing.assert_close(found, same, rtol=1e-5, atol=1e-5)
    assert not any(isinstance(part, QuickGELU) for part in visual.modules())


def test_other_activations_are_not_folded() -> None:
    visual = tower('gelu')
    before = [parameter.clone() for parameter in visual.parameters()]
    fold_quick_gelu(visual)
    assert all(map(torch.equal, before, visual.parameters()))
    assert all(
        isinstance(part.act, torch.nn.GELU) for part in visual.modules() if isinstance(part, MLP)
    )

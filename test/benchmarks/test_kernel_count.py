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
"""How many kernels a frame launches on CUDA, counted without one."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

pytest.importorskip('triton')
kernels = pytest.importorskip('benchmarks.kernels')

MOST = {'ViT-B/16, 10 prompts': 132, 'everyday-s': 166}
"""Kernels of a frame; fewer are welcome, and then belong here and on the page."""


def test_what_computes_counts_and_what_looks_does_not() -> None:
    launches = kernels.Launches()
    with FakeTensorMode(), torch.inference_mode():
        x = torch.empty(2, 3, 4, 4, device='cuda')
        weight = torch.empty(5, 3, 1, 1, device='cuda')
        with launches:
            x.transpose(1, 2).unflatten(3, (2, 2))[:, :1].to(x.dtype)
            torch.nn.functional.dropout(x, training=False)
            x.new_empty(3)
            assert launches.counts.total() == 0
            x.add_(1)
            x.bfloat16()
            x.transpose(1, 2).contiguous()
            torch.nn.functional.conv2d(x, weight, x.new_empty(5))
            attended = torch.nn.functional.scaled_dot_product_attention(x, x, x)
            attended.transpose(1, 2).flatten(2)
    assert launches.counts.total() == 6


@pytest.mark.parametrize('name', MOST)
def test_a_frame_launches_no_more_kernels_than_the_page_says(name: str) -> None:
    config = kernels.configs()[name]
    counts = kernels.launches_of_frame(config, kernels.SIZES[name], kernels.CLASSES)
    assert counts.total() <= MOST[name]
    assert f'{MOST[name]}' in kernels.PAGE.read_text(encoding='utf-8')
    layers = config.vision.layers
    assert 2 * layers <= counts['Triton _norm_kernel']
    # Each layer's products, attention and activation are there: nothing went uncounted.
    assert counts['aten.linear.default'] >= 4 * layers
    assert counts['aten.scaled_dot_product_attention.default'] >= layers
    assert counts['Triton _label_kernel'] == 1
    # Prompts never are, only prefix tokens with patches, and the features of several layers.
    assert counts['aten.cat.default'] == (3 if config.vision.feature_layers else 1)
    assert not [each for each in counts if each.startswith('aten.mul') and counts[each] > 1]


def test_without_triton_a_frame_launches_more() -> None:
    name = 'ViT-B/16, 10 prompts'
    counts = kernels.launches_of_frame(
        kernels.configs()[name], kernels.SIZES[name], kernels.CLASSES, fused=False
    )
    assert not [each for each in counts if each.startswith('Triton')]
    assert MOST[name] < counts.total() <= 220
    assert counts['aten.cat.default'] == 1

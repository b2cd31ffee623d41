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
"""Norms of rows of channels: by PyTorch, as Triton's interpreter runs them, and compiled."""

import pytest
import torch
from triton_interpreter import interpreted
from zegclip_core.engines.lean.rows import RowKernels

triton = pytest.importorskip('triton')
backends = pytest.importorskip('triton.backends.compiler')
kernels = pytest.importorskip('zegclip_core.engines.lean.rows_cuda')

GPUS = (75, 80, 87, 90)
"""Compute capabilities: T4, A100, Jetson Orin, H100."""

NORMS = """
import torch
from torch import nn
import torch.nn.functional as F
from zegclip_core.engines.lean.rows import RowKernels

rows = RowKernels()
rows.fused = True
torch.manual_seed(0)
f32, bf16, f16 = torch.float32, torch.bfloat16, torch.float16
# batch, tokens, channels, extra rows, types of tokens, branch, weights and result
cases = [
    (1, 5, 16, 0, f32, f32, f32, f32),
    (3, 4, 20, 2, f32, bf16, f32, bf16),
    (2, 1, 1, 1, f32, f16, f32, f16),
    (2, 3, 1030, 4, f32, None, f32, bf16),
    (1, 7, 48, 0, bf16, bf16, bf16, bf16),
]
for batch, count, width, more, kind, added, weights, result in cases:
    layer = nn.LayerNorm(width, eps=1e-3)
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -1, 1)
    layer.to(weights)
    tokens = (50 + torch.randn(batch, count, width)).to(kind)
    branch = None if added is None else torch.randn(batch, count, width).to(added)
    extra = torch.randn(more, width).to(result) if more else None
    total = tokens.double() + (0 if branch is None else branch.double())
    own = tokens.clone()
    found = rows.norm(own, layer, result, branch=branch, extra=extra)
    assert found.dtype == result and found.shape == (batch, count + more, width)
    exact = F.layer_norm(
        total, (width,), layer.weight.double(), layer.bias.double(), layer.eps
    )
    near = {'rtol': 1e-4, 'atol': 1e-4} if result == f32 else {'rtol': 0.01, 'atol': 0.01}
    torch.testing.assert_close(found[:, :count].double(), exact, **near)
    torch.testing.assert_close(own, total.to(kind), rtol=0.01 if kind == bf16 else 1e-6, atol=0)
    if more:
        assert all(torch.equal(image, extra) for image in found[:, count:])
    if branch is not None:
        kept = tokens.clone()
        alone = rows.norm_of_sum(kept, branch, layer)
        torch.testing.assert_close(alone.double(), exact, rtol=0.01, atol=0.01)
        assert torch.equal(kept, tokens)

for kind in (f32, bf16):
    whole = torch.randn(2, 9, 24).to(kind)
    whole[0, 3] = 0
    for values in (whole, whole[:, 1:], whole.transpose(1, 2)):
        unit = rows.unit(values, f32)
        assert unit.is_contiguous()
        torch.testing.assert_close(unit, F.normalize(values.float(), dim=-1))
assert rows.fused  # PyTorch did not stand in.
"""

MODELS = """
import test_lean
import test_lean_clip

class Fused(test_lean.LeanEngine):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.model.rows.fused = True
        engines.append(self)

engines = []
test_lean.LeanEngine = test_lean_clip.LeanEngine = Fused
assert test_lean.lean(test_lean.detailed()).model.rows.fused
for model in test_lean.MODELS:
    test_lean.test_logits_are_those_of_the_model(model)
test_lean.test_bfloat16_mostly_agrees('detailed')
test_lean.test_decoders_of_any_shape_are_those_of_the_model(
    4, {'relationship_descriptor': False, 'detail_width': 8}
)
test_lean_clip.test_every_attention_mostly_agrees_in_bfloat16('naclip')
assert all(engine.model.rows.fused for engine in engines)
"""


def test_norms_in_one_kernel_are_those_of_pytorch() -> None:
    interpreted(NORMS)


def test_models_with_fused_norms_give_what_they_do_without() -> None:
    interpreted(MODELS)


def test_norms_by_pytorch_are_those_of_pytorch() -> None:
    tokens, branch, extra = torch.randn(2, 3, 8), torch.randn(2, 3, 8), torch.randn(4, 8)
    layer, total = torch.nn.LayerNorm(8), tokens + branch
    own = tokens.clone()
    with torch.no_grad():
        found = RowKernels().norm(own, layer, torch.float32, branch=branch, extra=extra)
        expected = torch.cat([layer(total), extra.expand(2, -1, -1)], dim=1)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(own, total)


@pytest.mark.parametrize('gpu', GPUS)
@pytest.mark.parametrize(
    ('half', 'branch', 'width'), [('bf16', True, 768), ('fp16', False, 384), ('fp32', True, 1280)]
)
def test_the_norm_compiles_for_a_gpu_without_one(
    half: str, branch: bool, width: int, gpu: int
) -> None:
    names = ('width', 'adds', 'keeps', 'block')
    types = {
        **dict.fromkeys(('branch', 'extra', 'out'), f'*{half}'),
        **dict.fromkeys(('tokens', 'weight', 'bias'), '*fp32'),
        **{'count': 'i32', 'epsilon': 'fp32'},
        **dict.fromkeys(names, 'constexpr'),
    }
    block = triton.next_power_of_2(width)
    constants = dict(zip(names, (width, branch, branch, block), strict=True))
    source = triton.compiler.ASTSource(kernels._norm_kernel, types, constants)
    compiled = triton.compile(source, target=backends.GPUTarget('cuda', gpu, 32))
    assert '.entry _norm_kernel' in compiled.asm['ptx']


@pytest.mark.parametrize('gpu', GPUS)
def test_the_unit_length_compiles_for_a_gpu_without_one(gpu: int) -> None:
    types = {
        **{'values': '*bf16', 'out': '*bf16', 'stride': 'i32', 'epsilon': 'fp32'},
        **dict.fromkeys(('width', 'block'), 'constexpr'),
    }
    constants = {'width': 512, 'block': 512}
    source = triton.compiler.ASTSource(kernels._unit_kernel, types, constants)
    compiled = triton.compile(source, target=backends.GPUTarget('cuda', gpu, 32))
    assert '.entry _unit_kernel' in compiled.asm['ptx']

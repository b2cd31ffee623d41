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
"""Buckets of classes, and the CUDA kernel's arithmetic as Triton's interpreter runs it."""

from dataclasses import replace
from typing import Any

import pytest
from test_lean import detailed, lean, words
import torch
from triton_interpreter import interpreted
from zegclip_core.engines.lean.postprocess_cpu import label_logits
from zegclip_core.engines.lean.vocabulary import bucket_of, LeanVocabulary, padded, penalties_of

triton = pytest.importorskip('triton')
backends = pytest.importorskip('triton.backends.compiler')
kernels = pytest.importorskip('zegclip_core.engines.lean.postprocess_cuda')

INTERPRETED = """
from itertools import product
import torch
from made_vocabularies import made_vocabulary
from zegclip_core.engines.contract import EngineVocabulary
from zegclip_core.engines.plain import label_maps
from zegclip_core.engines.lean.postprocess_cuda import label_logits_in_one_kernel
from zegclip_core.engines.lean.vocabulary import bucket_of, LeanVocabulary, padded, penalties_of

torch.manual_seed(0)
cases = [
    (5, True, 'sigmoid', (4, 6), (37, 50)),
    (20, False, 'sigmoid', (8, 8), (33, 20)),
    (255, True, 'sigmoid', (5, 4), (21, 30)),
    (1, False, 'sigmoid', (1, 1), (5, 9)),
    (20, False, 'softmax', (8, 8), (33, 20)),
    (1, False, 'softmax', (2, 1), (5, 9)),
]
for (classes, biased, scoring, grid, size), counted in product(cases, (True, False)):
    bias = 0.2 * (torch.arange(classes) % 2) if biased else torch.full((classes,), 0.1)
    thresholds = torch.rand(classes)
    room = bucket_of(classes)
    logits = 3 * torch.randn(2, room, *grid)
    logits[:, classes:] = 50.0  # What stands for no class must not win, whatever its logits.
    used = torch.tensor([classes], dtype=torch.int32) if counted else None
    rows = padded(torch.zeros(classes, 1), bias, thresholds, room)
    penalties, calibrated = penalties_of(rows[1], classes)
    assert calibrated == biased
    kind = torch.uint8 if classes <= 254 else torch.uint16
    encoded = made_vocabulary(torch.zeros(classes, 1), bias, thresholds)
    full = LeanVocabulary(
        encoded.vocabulary, (), *rows, rows[0], rows[0], penalties, calibrated, used
    )
    if counted:  # Nothing behind the words is read.
        for part in (full.penalties, full.bias, full.thresholds, logits.movedim(1, 0)):
            part[classes:] = torch.nan
    labels, scores = label_logits_in_one_kernel(logits, size, full, scoring)
    words = EngineVocabulary(encoded.vocabulary, (), encoded.embeddings, bias, thresholds)
    expected, exact = label_maps(logits[:, :classes], size, words, scoring=scoring)
    if scoring == 'softmax':
        full = torch.nn.functional.interpolate(logits[:, :classes], size=size, mode='bilinear')
        torch.testing.assert_close(exact, full.softmax(dim=1).amax(dim=1), rtol=1e-5, atol=1e-5)
    assert labels.dtype == expected.dtype == kind
    assert (labels.long() == expected.long()).float().mean() > 0.999, classes
    torch.testing.assert_close(scores, exact, rtol=1e-5, atol=1e-5)
"""


def test_the_kernel_computes_what_the_plain_engine_does() -> None:
    interpreted(INTERPRETED)


def signature(
    kernel: Any,  # noqa: ANN401 - Triton names no type for it
    logits: str,
    labels: str,
) -> dict[str, str]:
    """Return the types of the kernel's arguments on a device."""
    constants = dict.fromkeys(('counted', 'calibrated', 'softmax', 'block'), 'constexpr')
    floats = dict.fromkeys(('penalties', 'bias', 'thresholds', 'scores'), '*fp32')
    scales = dict.fromkeys(('row_scale', 'column_scale'), 'fp32')
    pointers = {'logits': f'*{logits}', 'labels': f'*{labels}', 'used': '*i32'}
    known = {**floats, **scales, **constants, **pointers}
    return {name: known.get(name, 'i32') for name in kernel.arg_names}


@pytest.mark.parametrize('counted', [True, False])
@pytest.mark.parametrize('gpu', [75, 80, 87, 90])
@pytest.mark.parametrize(
    ('logits', 'labels', 'calibrated', 'softmax'),
    [('bf16', 'u8', True, False), ('fp32', 'i16', False, False), ('fp16', 'u8', False, True)],
)
def test_the_kernel_compiles_for_a_gpu_without_one(
    logits: str, labels: str, calibrated: bool, softmax: bool, gpu: int, counted: bool
) -> None:
    kernel = kernels._label_kernel
    types = signature(kernel, logits, labels)
    constants = {
        'counted': counted,
        'calibrated': calibrated,
        'softmax': softmax,
        'block': kernels.BLOCK,
    }
    source = triton.compiler.ASTSource(kernel, types, constants)
    compiled = triton.compile(source, target=backends.GPUTarget('cuda', gpu, 32))
    assert '.entry _label_kernel' in compiled.asm['ptx']


@pytest.mark.parametrize('bias', [0.0, 0.1])
@torch.inference_mode()
def test_what_fills_a_bucket_never_wins(bias: float) -> None:
    network = detailed()
    engine = lean(network)
    plain = words(engine, network, 5, bias)
    assert isinstance(plain, LeanVocabulary)
    parts = padded(plain.embeddings, plain.bias, plain.thresholds, bucket_of(5))
    queries = engine.model.queries(parts[0])
    full = LeanVocabulary(plain.vocabulary, (), *parts, *queries, *penalties_of(parts[1], 5))
    assert full.classes == 5
    assert full.calibrated == plain.calibrated == bool(bias)
    images = torch.rand(1, 3, 42, 42) * 255 - 128
    found = label_logits(engine.model.logits(images, full), (50, 40), full)
    expected = label_logits(engine.model.logits(images, plain), (50, 40), plain)
    assert torch.equal(found[0], expected[0])
    torch.testing.assert_close(found[1], expected[1])
    assert full.shape_key != plain.shape_key
    counted = replace(full, used=torch.tensor([5], dtype=torch.int32))
    assert counted.shape_key != full.shape_key
    cut = counted.unpadded()
    assert cut.used is None
    # Products of more rows may be rounded in another order.
    torch.testing.assert_close(cut.tensors(), plain.tensors())
    assert plain.unpadded() is plain


def test_a_copy_of_words_has_tensors_of_its_own() -> None:
    network = detailed()
    asked = words(lean(network), network, 3)
    assert isinstance(asked, LeanVocabulary)
    asked = replace(asked, used=torch.tensor([3], dtype=torch.int32))
    copied = asked.with_tensors(torch.clone)
    pairs = list(zip(asked.tensors(), copied.tensors(), strict=True))
    assert len(pairs) == 7
    assert all(torch.equal(a, b) and a.data_ptr() != b.data_ptr() for a, b in pairs)

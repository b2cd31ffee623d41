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
"""Mask logits to labels on CUDA in one kernel, each pixel comparing all classes in registers."""

import numpy as np
import torch
from torch import Tensor
import triton
import triton.language as tl
from zegclip_core.engines.lean.vocabulary import LeanVocabulary
from zegclip_core.model.scoring import Scoring
from zegclip_core.segmentation import label_type, unlabelled_id

BLOCK = 256
"""Pixels of one program."""


# Sizes change with the frames and the words: no kernel of their own for each.
# Triton reads annotations as code of the kernel, so that only what it knows may stand there.
_INTEGERS = ('classes', 'rows', 'columns', 'height', 'width', 'unlabelled')


# Compiled once for all sizes, and not anew in the middle of frames: Triton would have variants of
# its own for an integer that is 1 or a multiple of 16.
@triton.jit(do_not_specialize=_INTEGERS)  # type: ignore[untyped-decorator]
def _label_kernel(  # type: ignore[no-untyped-def]
    logits,  # noqa: ANN001
    penalties,  # noqa: ANN001
    bias,  # noqa: ANN001
    thresholds,  # noqa: ANN001
    labels,  # noqa: ANN001
    scores,  # noqa: ANN001
    used,  # noqa: ANN001
    classes,  # noqa: ANN001
    rows,  # noqa: ANN001
    columns,  # noqa: ANN001
    height,  # noqa: ANN001
    width,  # noqa: ANN001
    row_scale,  # noqa: ANN001
    column_scale,  # noqa: ANN001
    unlabelled,  # noqa: ANN001
    counted: tl.constexpr,
    calibrated: tl.constexpr,
    softmax: tl.constexpr,
    block: tl.constexpr,
) -> None:
    pixel = tl.program_id(0) * block + tl.arange(0, block)
    image = tl.program_id(1).to(tl.int64)
    inside = pixel < height * width
    # Where the pixel's centre lies among those of the map's values, as interpolate has it.
    down = tl.maximum((pixel // width + 0.5) * row_scale - 0.5, 0.0)
    right = tl.maximum((pixel % width + 0.5) * column_scale - 0.5, 0.0)
    top = tl.minimum(down.to(tl.int32), rows - 1)
    left = tl.minimum(right.to(tl.int32), columns - 1)
    below = tl.minimum(top + 1, rows - 1)
    beside = tl.minimum(left + 1, columns - 1)
    down = down - top
    right = right - left
    plane = logits + image * classes * rows * columns
    best = tl.full((block,), float('-inf'), tl.float32)
    index = tl.zeros((block,), tl.int32)
    total = tl.zeros((block,), tl.float32)
    count = classes
    if counted:
        count = tl.minimum(tl.load(used), classes)
    for number in range(count):
        a = tl.load(plane + top * columns + left, mask=inside, other=0.0).to(tl.float32)
        b = tl.load(plane + top * columns + beside, mask=inside, other=0.0).to(tl.float32)
        c = tl.load(plane + below * columns + left, mask=inside, other=0.0).to(tl.float32)
        d = tl.load(plane + below * columns + beside, mask=inside, other=0.0).to(tl.float32)
        upper = a * (1.0 - right) + b * right
        lower = c * (1.0 - right) + d * right
        value = upper * (1.0 - down) + lower * down
        if calibrated:
            value = tl.sigmoid(value)
        value = value - tl.load(penalties + number)
        better = value > best
        if softmax:
            greater = tl.where(better, value, best)
            total = total * tl.exp(best - greater) + tl.exp(value - greater)
        best = tl.where(better, value, best)
        index = tl.where(better, number, index)
        plane += rows * columns
    if softmax:
        score = 1.0 / total
    elif calibrated:
        score = best + tl.load(bias + index)
    else:
        # No logit was greater than nothing: each is NaN, which is no class.
        score = tl.where(best == float('-inf'), float('nan'), tl.sigmoid(best))
    label = tl.where(score >= tl.load(thresholds + index), index, unlabelled)
    place = image * height * width + pixel
    tl.store(labels + place, label.to(labels.dtype.element_ty), mask=inside)
    tl.store(scores + place, score, mask=inside)


def label_logits_in_one_kernel(
    logits: Tensor, size: tuple[int, int], vocabulary: LeanVocabulary, scoring: Scoring = 'sigmoid'
) -> tuple[Tensor, Tensor]:
    """Choose the class of every pixel of mask logits, float ``(B, R, h, w)``, on a CUDA device.

    Of a padded vocabulary only the rows that are words are read, how many these are on the
    device. A softmax is only for classes that have one bias.

    Returns:
        Labels, uint8 or uint16 ``(B, H, W)`` with thresholds applied, and the best class's score
        without its bias, float32 ``(B, H, W)``.
    """
    logits = logits.contiguous()
    batch, classes, rows, columns = logits.shape
    height, width = size
    kind = label_type(vocabulary.classes)
    # Stored as bytes of the same width: Triton knows no unsigned type of torch but the narrowest.
    stored = torch.uint8 if kind is np.uint8 else torch.int16
    labels = torch.empty((batch, *size), dtype=stored, device=logits.device)
    scores = torch.empty((batch, *size), dtype=torch.float32, device=logits.device)
    _label_kernel[(triton.cdiv(height * width, BLOCK), batch)](
        logits,
        vocabulary.penalties,
        vocabulary.bias,
        vocabulary.thresholds,
        labels,
        scores,
        vocabulary.bias if vocabulary.used is None else vocabulary.used,
        classes,
        rows,
        columns,
        height,
        width,
        rows / height,
        columns / width,
        unlabelled_id(kind),
        vocabulary.used is not None,
        vocabulary.calibrated,
        scoring == 'softmax',
        BLOCK,
    )
    return labels.view(getattr(torch, kind.__name__)), scores

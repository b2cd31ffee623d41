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
"""Smoothing and sharp edges for whoever asks for them: not every machine has OpenCV."""

from collections.abc import Sequence
from typing import Any, TYPE_CHECKING

import numpy.typing as npt
from zegclip_core.images.checks import RgbImage
from zegclip_core.model.scoring import Scoring
from zegclip_core.text.encoder import EncodedVocabulary

if TYPE_CHECKING:
    from zegclip_core.refinement.edges import Array
    from zegclip_core.refinement.smoothing import TemporalSmoother


def smoother_of(share: float) -> 'TemporalSmoother | None':
    """Return what smooths by a share of the frames before, in [0, 1]; ``None`` for 0."""
    if not share:
        return None
    from zegclip_core.refinement.smoothing import TemporalSmoother

    return TemporalSmoother(share)


def sharpened(
    images: Sequence[RgbImage],
    found: Sequence[npt.NDArray[Any]],
    encoded: EncodedVocabulary,
    scoring: Scoring,
    most: int,
) -> 'tuple[npt.NDArray[Any], Array]':
    """Return labels and scores as ``zegclip_core.refinement.edges.sharpened_batch`` does."""
    from zegclip_core.refinement.edges import sharpened_batch

    return sharpened_batch(images, found, encoded, scoring, most)

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
"""Calm masks: the mask logits of a stream of frames, averaged along what moves.

Labels of single frames flicker where two classes are nearly as good. Here each frame's mask logits
are mixed with those of the frames before, moved by the optical flow between them. Where the flow
does not explain the image, as where something comes into sight, the frame's own logits stand.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
import torch.nn.functional as F
from zegclip_core.engines.contract import EngineVocabulary
from zegclip_core.segmentation import Moment

LONGEST_GAP = 3.0
"""Seconds between two frames from which on the older one says nothing about the newer one."""
MISFIT = 20.0
"""Difference of brightness, 0 to 255, from which on the flow does not explain a place."""
CUT = 0.8
"""Correlation of brightness with what the flow expects, under which it is another scene."""
CONTRAST = 4.0
"""Spread of brightness, 0 to 255, under which an image shows nothing to compare."""
GAINS = (0.5, 2.0)
"""Factors of contrast from frame to frame that a camera's exposure may bring."""
FLOW_SIDE = 64
"""Least side of what the flow is computed on: coarser grids of logits hold too little for it."""
BLUR = (5, 5)
"""Places over which brightness is compared, so that noise is no misfit."""
MOST_STREAMS = 64
"""Streams that are remembered; of more, those are forgotten that were last seen longest ago."""

Gray = npt.NDArray[np.uint8]
Field = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _State:
    """What is remembered of a stream.

    Attributes:
        gray: Brightness of the last frame, uint8, on the grid of the flow.
        logits: Its mask logits after smoothing, float32 ``(R, h, w)``.
        frames: Over how many frames they are a mean, float32 ``(h, w)``.
    """

    moment: Moment
    vocabulary: EngineVocabulary
    gray: Gray
    logits: Tensor
    frames: Field


class TemporalSmoother:
    """A step that mixes the mask logits of each frame with those of the frames before it.

    What it knows of a stream is forgotten at a cut, when the words or the size change, after a gap
    of more than ``LONGEST_GAP``, and when time goes backwards.

    Args:
        share: Share of the frames before in the mean, in [0, 1]. The first frames of a stream
            weigh alike; with 1 all do.

    Attributes:
        moments: Of each image of the next call, where it belongs; images without one stand alone.
    """

    def __init__(self, share: float) -> None:
        """Remember nothing yet."""
        self.share = share
        self.moments: Sequence[Moment] = ()
        self._states: dict[tuple[Hashable, int], _State] = {}
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._flow.setFinestScale(1)

    def forget(self) -> None:
        """Begin all streams anew."""
        self._states.clear()

    def __call__(
        self, mask_logits: Tensor, vocabulary: EngineVocabulary, images: Tensor
    ) -> Tensor:
        """Return the mask logits after smoothing; arguments as in ``PostprocessStep``."""
        images_at_once = len(self.moments)
        if not images_at_once:
            return mask_logits
        grays = _brightness(images, _flow_size(mask_logits.shape[-2:]))
        smoothed = torch.empty_like(mask_logits)
        for index, (logits, gray) in enumerate(zip(mask_logits, grays, strict=True)):
            # Of sliding windows, the first ones of all images come first.
            window, image = divmod(index, images_at_once)
            moment = self.moments[image]
            key = moment.stream, window
            state = self._next(self._states.pop(key, None), moment, vocabulary, gray, logits)
            smoothed[index] = state.logits
            if bool(state.logits.isfinite().all()):  # Else it would never become finite again.
                self._states[key] = state
        self._forget_old_streams()
        return smoothed

    def _next(
        self,
        last: _State | None,
        moment: Moment,
        vocabulary: EngineVocabulary,
        gray: Gray,
        logits: Tensor,
    ) -> _State:
        """Return what is known after a frame with logits ``(R, h, w)``."""
        size = logits.shape[-2], logits.shape[-1]
        moved = None
        if last is not None and _goes_on(last, moment, vocabulary, gray, logits):
            moved = self._moved(last, gray, size)
        if moved is None:
            return _State(moment, vocabulary, gray, logits.clone(), np.ones(size, np.float32))
        before, frames = moved
        weight = np.minimum(np.float32(self.share), frames / (frames + 1))
        mixed = torch.lerp(logits, before, torch.from_numpy(weight).to(logits.device))
        return _State(moment, vocabulary, gray, mixed, frames + 1)

    def _moved(
        self, last: _State, gray: Gray, size: tuple[int, int]
    ) -> tuple[Tensor, Field] | None:
        """Return the last logits and numbers of frames where what they show is now.

        The number is 0 where the flow does not explain the image; ``None`` at a cut.
        """
        still = np.zeros((*gray.shape, 2), np.float32)
        flow = np.asarray(self._flow.calc(gray, last.gray, still), np.float32)  # Now to before.
        x, y, sight = _sources(flow)
        seen = _remapped(last.gray, x, y)
        expected = _exposed_alike(seen, gray, sight)
        if expected is None:
            return None
        explained = sight & (np.abs(cv2.blur(gray - expected, BLUR)) < MISFIT)
        height, width = size
        finer = np.array([gray.shape[1] / width, gray.shape[0] / height], np.float32)
        if gray.shape != size:
            flow = cv2.resize(flow, (width, height), interpolation=cv2.INTER_AREA) / finer
            explained = cv2.resize(
                explained.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST
            ).astype(bool)
            x, y, _ = _sources(flow)
        frames = _remapped(last.frames, x, y)
        return _sampled(last.logits, x, y), np.where(explained, frames, np.float32(0))

    def _forget_old_streams(self) -> None:
        """Keep the streams that were seen last; each lies behind those seen before it."""
        streams = list(dict.fromkeys(stream for stream, _ in self._states))
        for old in streams[:-MOST_STREAMS]:
            self._states = {key: one for key, one in self._states.items() if key[0] != old}


def _goes_on(
    last: _State, moment: Moment, vocabulary: EngineVocabulary, gray: Gray, logits: Tensor
) -> bool:
    """Return whether a frame belongs to what was seen before."""
    return (
        0.0 <= moment.seconds - last.moment.seconds <= LONGEST_GAP
        and last.logits.shape == logits.shape
        and last.gray.shape == gray.shape
        and last.vocabulary.vocabulary == vocabulary.vocabulary
        and last.vocabulary.negatives == vocabulary.negatives
    )


def _flow_size(grid: Sequence[int]) -> tuple[int, int]:
    """Return the ``(H, W)`` that the flow is computed on for a grid of logits."""
    finer = math.ceil(FLOW_SIDE / min(grid))
    return grid[0] * finer, grid[1] * finer


def _brightness(images: Tensor, size: tuple[int, int]) -> Gray:
    """Return the brightness of RGB images, float ``(B, 3, H, W)``, uint8 ``(B, *size)``."""
    gray = F.interpolate(images.mean(dim=1, keepdim=True), size=size, mode='area')
    return gray[:, 0].clamp(0, 255).to(torch.uint8).cpu().numpy()


def _exposed_alike(seen: Gray, gray: Gray, sight: npt.NDArray[np.bool_]) -> Field | None:
    """Return what was seen with the exposure of ``gray``; ``None`` if that is another scene."""
    if not sight.any():
        return None
    before, now = seen[sight].astype(np.float32), gray[sight].astype(np.float32)
    spreads = before.std(), now.std()
    gain = 1.0
    if max(spreads) >= CONTRAST:
        together = np.mean((before - before.mean()) * (now - now.mean()))
        if together < CUT * max(spreads[0], 1.0) * max(spreads[1], 1.0):
            return None
        least, most = GAINS
        gain = min(max(float(together / spreads[0] ** 2), least), most)
    return np.asarray(gain * (seen - before.mean()) + now.mean(), np.float32)


def _sources(flow: Field) -> tuple[Field, Field, npt.NDArray[np.bool_]]:
    """Return where each place was, column and row, and whether that was in sight."""
    height, width = flow.shape[:2]
    x = flow[..., 0] + np.arange(width, dtype=np.float32)
    y = flow[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    sight = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    return x, y, sight


def _remapped(image: npt.NDArray[Any], x: Field, y: Field) -> npt.NDArray[Any]:
    """Return an image ``(h, w)`` at places, as ``_sampled`` does with maps on a device."""
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _sampled(maps: Tensor, x: Field, y: Field) -> Tensor:
    """Return maps ``(R, h, w)`` at places, float32 ``(h, w)`` each, mixed of four neighbours."""
    height, width = maps.shape[-2:]
    places = np.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], axis=-1)
    grid = torch.from_numpy(places).to(maps.device)
    return F.grid_sample(
        maps[None], grid[None], mode='bilinear', padding_mode='border', align_corners=False
    )[0]

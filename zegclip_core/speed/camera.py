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
"""The bundled model behind a camera: how many frames a second."""

from copy import deepcopy
from dataclasses import replace
from importlib.util import find_spec
import time

import cv2
import numpy as np
import torch
from zegclip_core.devices import DTYPES, pick_precision
from zegclip_core.images.working_size import working_size
from zegclip_core.loading import load_model
from zegclip_core.options import EngineName, SegmenterOptions
from zegclip_core.segmenter import Segmenter
from zegclip_core.speed.models import Frame, seeded_frames
from zegclip_core.speed.rows import CameraRow
from zegclip_core.speed.sides import Labels, Timed
from zegclip_core.speed.watch import Watch
from zegclip_core.text.vocabulary import Vocabulary

SIZE = (480, 640)
"""Of the camera's frames, ``(H, W)``."""
SHORT_SIDES = (None, 308, 252)
"""Working sizes to measure, in pixels; ``None`` is the model's own."""
WORDS = ('cup', 'spoon', 'dining table', 'bowl', 'person', 'bottle', 'book', 'knife')


def measure_camera(device: torch.device, repeats: int, seconds: float) -> list[CameraRow]:
    """Measure the bundled model at its own size and at smaller ones, frame by frame in turn.

    Args:
        device: Where.
        repeats: Frames of each size.
        seconds: After so long no further frame of each size begins, unless there is none yet.

    """
    dtype = pick_precision('auto', device)
    precision = next(name for name, kind in DTYPES.items() if kind == dtype)
    segmenters = _segmenters(device, precision, 'lean')
    frame = camera_frame()
    labels = [_label(segmenter, frame) for segmenter in segmenters]  # Not timed, the first ones.
    exact = [_label(plain, frame) for plain in _segmenters(device, 'fp32', 'plain')]
    times: list[list[Timed]] = [[] for _ in segmenters]
    began = time.perf_counter()
    for number in range(repeats):
        if number and time.perf_counter() - began > seconds:
            break
        for segmenter, found in zip(segmenters, times, strict=True):
            found.append(_timed(segmenter, frame))
    return [
        CameraRow(
            short_side=segmenter.short_side,
            is_default=wanted is None,
            precision=precision,
            times=tuple(found),
            agreement=float(np.mean(own == plain)),
            agreement_default=float(np.mean(own == labels[0])),
        )
        for segmenter, wanted, found, own, plain in zip(
            segmenters, SHORT_SIDES, times, labels, exact, strict=True
        )
    ]


def camera_frame() -> Frame:
    """Return a photo of a table, uint8 ``(480, 640, 3)``; without scikit-image a seeded frame."""
    if find_spec('skimage') is None:
        return seeded_frames(*SIZE, 1)[0]
    from skimage import data

    photo: Frame = data.coffee()  # type: ignore[no-untyped-call]
    return np.asarray(cv2.resize(photo, SIZE[::-1], interpolation=cv2.INTER_AREA), np.uint8)


def _segmenters(device: torch.device, precision: str, engine: EngineName) -> list[Segmenter]:
    """Return the bundled model for every working size, each with weights of its own."""
    loaded = load_model()
    return [
        Segmenter(
            replace(loaded, network=deepcopy(loaded.network)),
            SegmenterOptions(
                device=str(device),
                precision=precision,
                short_side=side,
                threshold=0.0,
                engine=engine,
            ),
        )
        for side in SHORT_SIDES
    ]


def _label(segmenter: Segmenter, frame: Frame) -> Labels:
    """Return the labels of a frame."""
    return segmenter.segment(frame, Vocabulary.from_names(WORDS)).labels


def _timed(segmenter: Segmenter, frame: Frame) -> Timed:
    """Time ``segment``, and the engine on pixels in the working size with labels of patches."""
    watch = Watch(segmenter.device)
    words = segmenter.encode(Vocabulary.from_names(WORDS))
    watch.start()
    segmenter.segment(frame, words)
    total = watch.seconds()
    patch, side = segmenter.network.config.vision.patch_size, segmenter.short_side
    size = working_size(*SIZE, short_side=side, patch_size=patch)
    pixels = torch.zeros((1, *size, 3), dtype=torch.uint8, device=segmenter.device)
    prepared = segmenter.engine.prepare(words.embeddings, words.bias, words.thresholds)
    watch.start()
    segmenter.engine.run(pixels, size, prepared, (size[0] // patch, size[1] // patch))
    return Timed(watch.seconds(), total)

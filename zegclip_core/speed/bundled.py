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
"""The bundled model: how many frames a second, and what a change of the words costs."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
import statistics
import time

import cv2
import numpy as np
import torch
from zegclip_core.devices import pick_precision, precision_name
from zegclip_core.segmenter import Segmenter
from zegclip_core.speed.hardware import timed
from zegclip_core.speed.inputs import class_names, Image, seeded_images
from zegclip_core.speed.report import NOTHING, number, percent, TableRow
from zegclip_core.text.vocabulary import Vocabulary

SIZE = (480, 640)
"""Size of the camera's frames, ``(H, W)`` in pixels."""
SHORT_SIDES = (None, 308, 252)
"""Working sizes to measure, in pixels; ``None`` is the model's own."""
WORDS = ('cup', 'spoon', 'dining table', 'bowl', 'person', 'bottle', 'book', 'knife')
NEW_WORDS = 20
_AT_REST = 5
"""Intervals between frames before the first change."""


def camera_frame() -> Image:
    """Return a photo of a table, ``(480, 640, 3)``; without scikit-image a seeded image."""
    try:
        from skimage import data
    except ImportError:
        return seeded_images(*SIZE, 1)[0]
    photo: Image = data.coffee()  # type: ignore[no-untyped-call]
    return np.asarray(cv2.resize(photo, SIZE[::-1], interpolation=cv2.INTER_AREA), np.uint8)


def measure_camera(device: torch.device, repeats: int, seconds: float) -> list[TableRow]:
    """Measure ``Segmenter.segment`` at the model's own working size and at smaller ones, in turn.

    Args:
        device: Where it runs.
        repeats: Frames at each size.
        seconds: After so long no further round begins, unless there is none yet.
    """
    frame, vocabulary = camera_frame(), Vocabulary.from_names(WORDS)
    load = partial(Segmenter.load, device=str(device), threshold=0.0)
    segmenters = [load(short_side=side) for side in SHORT_SIDES]
    words = segmenters[0].encode(vocabulary)
    labels = [each.segment(frame, words).labels for each in segmenters]  # Not timed: the first.
    times: list[list[float]] = [[] for _ in segmenters]
    began = time.perf_counter()
    while len(times[0]) < repeats and (not times[0] or time.perf_counter() - began < seconds):
        for segmenter, found in zip(segmenters, times, strict=True):
            found.append(timed(device, partial(segmenter.segment, frame, words))[1])
    best = pick_precision('auto', device)
    rows = []
    for side, own, found in zip(SHORT_SIDES, labels, times, strict=True):
        exact = load(short_side=side, precision='fp32', engine='plain')
        median = statistics.median(found)
        as_plain = np.mean(own == exact.segment(frame, vocabulary).labels)
        rows.append(
            {
                'short side': f'{exact.short_side}{"" if side else " (default)"}',
                'precision': precision_name(best),
                'segment() [ms]': number(1e3 * median),
                'frames a second': f'{1.0 / median:.1f}',
                'labels as plain fp32': percent(float(as_plain)),
                'as at the default size': percent(float(np.mean(own == labels[0]))),
            }
        )
    return rows


def measure_words(device: torch.device, repeats: int) -> list[TableRow]:
    """Change the words of the bundled model, with and without frames beside.

    Args:
        device: Where it runs.
        repeats: How many changes of each kind.
    """
    segmenter, frame = Segmenter.load(device=str(device)), camera_frame()
    names = class_names((2 * repeats + 1) * NEW_WORDS)  # No two vocabularies share a word.
    first, *others = (
        Vocabulary.from_names(names[start:][:NEW_WORDS])
        for start in range(0, len(names), NEW_WORDS)
    )
    words = segmenter.encode(first)
    encode = partial(timed, torch.device('cpu'))  # It must not wait for the frames.
    alone = [encode(partial(segmenter.encode, each))[1] for each in others[:repeats]]
    known = [encode(partial(segmenter.encode, first))[1] for _ in range(repeats)]
    beside, ends = [], []

    def label_a_frame() -> None:
        segmenter.segment(frame, words)
        ends.append(time.perf_counter())

    for _ in range(1 + _AT_REST):
        label_a_frame()
    with ThreadPoolExecutor(1) as thread:
        for vocabulary in others[repeats:]:
            change = thread.submit(encode, partial(segmenter.encode, vocabulary))
            while not change.done():
                label_a_frame()
            words, seconds = change.result()
            beside.append(seconds)
            label_a_frame()
    intervals = [end - start for start, end in pairwise(ends)]
    rest, changed = intervals[:_AT_REST], intervals[_AT_REST:]
    # Milliseconds until the words are ready, between two labels at rest, and beside a change.
    figures = {
        'new, beside frames': (beside, rest, [max(changed)]),
        'new, no frames': (alone, [], []),
        'known, no frames': (known, [], []),
    }
    head = ('until they are ready', 'between two labels at rest', 'longest beside a change')
    return [
        {f'{NEW_WORDS} words': name}
        | {
            f'{title} [ms]': number(1e3 * statistics.median(times)) if times else NOTHING
            for title, times in zip(head, found, strict=True)
        }
        for name, found in figures.items()
    ]

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
"""How long a change of the vocabulary takes beside running frames, and whether it delays one."""

from itertools import pairwise
import statistics
import threading
import time

import torch
from zegclip_core.segmenter import EncodedVocabulary, Segmenter
from zegclip_core.speed.camera import camera_frame
from zegclip_core.speed.models import class_names
from zegclip_core.speed.rows import WordChanges
from zegclip_core.text.vocabulary import Vocabulary

NEW_WORDS = 20
_AT_REST = 5
"""Frames before the first change and after the last, which tell the interval at rest."""


def measure_words(device: torch.device, repeats: int) -> WordChanges:
    """Change the words of the bundled model, with and without frames beside.

    Args:
        device: Where it runs.
        repeats: How many changes of each kind.

    """
    segmenter = Segmenter.load(device=str(device))
    vocabularies = _vocabularies(2 * repeats + 1)
    first = segmenter.encode(vocabularies.pop())
    alone = [_change(segmenter, vocabularies.pop())[1] for _ in range(repeats)]
    known = [_change(segmenter, first.vocabulary)[1] for _ in range(repeats)]
    frames = _Frames(segmenter, first)
    frames.wait(_AT_REST)
    rest = len(frames.ends)
    beside = []
    for vocabulary in vocabularies:
        frames.words, took = _change(segmenter, vocabulary)
        beside.append(took)
        frames.wait(2)  # The first may have begun with the words before.
    last = len(frames.ends)
    frames.wait(_AT_REST)
    frames.stop()
    intervals = [1e3 * (b - a) for a, b in pairwise(frames.ends)]
    return WordChanges(
        words=NEW_WORDS,
        new_ms=statistics.median(beside),
        alone_ms=statistics.median(alone),
        known_ms=statistics.median(known),
        interval_ms=statistics.median([*intervals[: rest - 1][1:], *intervals[last:]]),
        longest_ms=max(intervals[slice(rest - 1, last)]),
    )


def _vocabularies(count: int) -> list[Vocabulary]:
    """Return vocabularies of which no two share a word."""
    names = class_names(count * NEW_WORDS)
    starts = range(0, len(names), NEW_WORDS)
    return [Vocabulary.from_names(names[start:][:NEW_WORDS]) for start in starts]


def _change(segmenter: Segmenter, vocabulary: Vocabulary) -> tuple[EncodedVocabulary, float]:
    """Return words when they are ready, and how many milliseconds that took."""
    began = time.perf_counter()
    words = segmenter.encode(vocabulary)
    return words, 1e3 * (time.perf_counter() - began)


class _Frames:
    """Labels one frame after the other in a thread of its own, as the node does."""

    def __init__(self, segmenter: Segmenter, words: EncodedVocabulary) -> None:
        self.ends: list[float] = []
        self._frame, self._segmenter, self.words = camera_frame(), segmenter, words
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name='frames', daemon=True)
        self._thread.start()

    def wait(self, frames: int) -> None:
        """Wait until so many more frames are labelled."""
        with self._changed:
            wanted = len(self.ends) + frames
            self._changed.wait_for(lambda: len(self.ends) >= wanted or self._stopping)

    def stop(self) -> None:
        """Label no more."""
        self._stopping = True
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._segmenter.segment(self._frame, self.words)
                with self._changed:
                    self.ends.append(time.perf_counter())
                    self._changed.notify_all()
        finally:
            with self._changed:
                self._stopping = True
                self._changed.notify_all()

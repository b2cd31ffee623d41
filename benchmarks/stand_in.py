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
"""A segmenter that only takes its time, and the node with it, so that the node alone is measured.

Run it by ``python -m benchmarks.stand_in --cost 0.005 --ros-args -p lazy:=false``.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
import sys
import time
from typing import Any

import numpy as np
import numpy.typing as npt
from zegclip_core.segmentation import Segmentation
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_ros.nodes.segmentation import SegmentationNode
from zegclip_ros.parameters import NodeParameters
from zegclip_ros.runtime.process import run_node

Observer = Callable[[npt.NDArray[np.uint8], int, int], None]
"""Is given an image and when its work began and ended, in nanoseconds of the system's clock."""


@dataclass(frozen=True)
class StandInVocabulary:
    """A vocabulary as the node's segmenters encode it, without embeddings."""

    vocabulary: Vocabulary
    threshold: float = 0.0
    negatives: tuple[str, ...] = ()


class StandInSegmenter:
    """Labels a pixel by its red value modulo the number of classes, after a fixed time.

    The time is slept, as a CPU sleeps while a GPU works: other threads run meanwhile.

    Attributes:
        runs_on: As a real segmenter has it.
        threshold: Likewise; not used here.
        negatives: Likewise.

    Args:
        cost_seconds: Time of a frame, labels included; more only if the labels alone take more.
        observer: Is told of every frame; ``None`` to have nothing recorded.
    """

    runs_on = 'none'
    threshold = 0.0
    negatives: tuple[str, ...] = ()

    def __init__(self, cost_seconds: float, observer: Observer | None = None) -> None:
        if not cost_seconds >= 0.0:
            raise ValueError(f'Expected a cost of at least 0 s, but got {cost_seconds}.')
        self._cost = round(cost_seconds * 1e9)
        self._observer = observer
        self._scores: npt.NDArray[np.float32] = np.ones((0, 0), np.float32)

    def warm_up(self) -> None:
        """Do nothing: there is nothing to warm up."""

    def encode(
        self,
        vocabulary: Vocabulary,
        *,
        threshold: float | None = None,
        negatives: Sequence[str] | None = None,
    ) -> StandInVocabulary:
        """Return the vocabulary, which needs no embeddings."""
        return StandInVocabulary(vocabulary)

    def segment(self, image: npt.NDArray[np.uint8], encoded: StandInVocabulary) -> Segmentation:
        """Label an RGB image, uint8 ``(H, W, 3)``."""
        began = time.time_ns()
        vocabulary = encoded.vocabulary
        # Wide ids take more than 254 classes, which no red value reaches.
        labels = np.remainder(image[:, :, 0], min(len(vocabulary), 255), dtype=np.uint8)
        wide = labels if len(vocabulary) < 255 else labels.astype(np.uint16)
        if self._scores.shape != labels.shape:
            self._scores = np.ones(labels.shape, np.float32)
        answer = Segmentation(wide, self._scores, vocabulary)
        time.sleep(max(0, began + self._cost - time.time_ns()) / 1e9)
        if self._observer is not None:
            self._observer(image, began, time.time_ns())
        return answer

    def release_memory(self) -> None:
        """Do nothing: there is nothing to free."""

    def close(self) -> None:
        """Do nothing: there is nothing to let go."""

    def memory_bytes(self) -> int | None:
        """Return ``None``: no GPU is used."""
        return None


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.stand_in',
        description='Run the segmentation node with a model that only takes its time.',
        epilog='What else is given goes to ROS: --ros-args -p name:=value -r from:=to',
    )
    parser.add_argument('--cost', type=float, default=0.005, help='time of a frame [s]')
    return parser


def make_node(cost: float) -> SegmentationNode:
    """Return the node with the stand-in."""
    segmenter = StandInSegmenter(cost)

    def load(parameters: NodeParameters) -> Any:  # noqa: ANN401 - its vocabulary stays as it is
        return segmenter

    return SegmentationNode(load)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node; return its exit code."""
    options, rest = build_parser().parse_known_args(arguments)
    return run_node(lambda: make_node(options.cost), rest)


if __name__ == '__main__':
    sys.exit(main())

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
"""The real node with a stand-in for its model, or with its model observed.

``python -m benchmarks.stand_in --cost 0.005 --ros-args -p lazy:=false`` runs the node with a model
that only takes its time. With ``--log FILE`` it writes down when images arrive and when the model
works, and with ``--real`` the model is the one that the parameters name.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
import json
from pathlib import Path
import sys
import time
from typing import Any

import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import CompressedImage, Image
from zegclip_core.segmentation import Moment, Segmentation
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_ros.nodes.segmentation import SegmentationNode
from zegclip_ros.parameters import NodeParameters
from zegclip_ros.runtime.runner import run_node
from zegclip_ros.segmenter_like import load_segmenter

PATCH = 16
"""Side of a patch of the smoothed maps [px]."""


class EventLog:
    """Writes events as lines of JSON, so that nothing is lost if the process is killed.

    Args:
        path: File to write, ``None`` for none.
    """

    def __init__(self, path: Path | None) -> None:
        # By lines, which costs some microseconds: far less than what is measured.
        self._file = None if path is None else path.open('w', encoding='utf-8', buffering=1)

    def add(self, kind: str, **values: object) -> None:
        """Write one event; times are in nanoseconds of the system's clock."""
        if self._file is not None:
            self._file.write(json.dumps({'kind': kind, **values}) + '\n')


def read_events(path: Path, kind: str) -> list[dict[str, Any]]:
    """Return the events of a kind in a file, none if it does not exist.

    The last line may be incomplete, since the process that writes it may still be running.
    """
    lines = path.read_text(encoding='utf-8').split('\n')[:-1] if path.exists() else []
    return [event for event in map(json.loads, lines) if event['kind'] == kind]


def nanoseconds(stamp: Any) -> int:  # noqa: ANN401 - builtin_interfaces/Time has no annotations
    """Return the stamp of a header as one number."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


@dataclass(frozen=True)
class EncodedVocabulary:
    """Stands for ``zegclip_core.segmenter.EncodedVocabulary``."""

    vocabulary: Vocabulary
    threshold: float = 0.0
    negatives: tuple[str, ...] = ()


class StandInSegmenter:
    """Labels a pixel with its red value modulo the number of classes, after a fixed time.

    The time is slept, as a CPU sleeps while a GPU works: other threads run meanwhile.

    Args:
        cost: Seconds per run, labels included; more only if the labels alone take more.
        smoothing: The node's parameter. The images themselves are smoothed, in the place of mask
            logits, which changes no label and takes the memory that it takes.
    """

    runs_on = 'none'
    threshold = 0.0
    negatives: tuple[str, ...] = ()

    def __init__(self, cost: float, smoothing: float = 0.0) -> None:
        if not cost >= 0.0:
            raise ValueError(f'Expected a cost of at least 0 s, but got {cost}.')
        self._cost = cost
        self._smoother = _smoother_of(smoothing) if smoothing else None
        self._scores: npt.NDArray[np.float32] = np.ones((0, 0), np.float32)

    def warm_up(self) -> None:
        """Do nothing: there is nothing to warm up."""

    def prepare_frames(
        self, vocabulary: EncodedVocabulary, size: tuple[int, int], batch: int = 1
    ) -> None:
        """Do nothing: every frame takes the same time."""

    def encode(
        self,
        vocabulary: Vocabulary,
        *,
        threshold: float | None = None,
        negatives: Sequence[str] | None = None,
    ) -> EncodedVocabulary:
        """Return the vocabulary, which needs no embeddings."""
        return EncodedVocabulary(vocabulary)

    def segment(
        self,
        image: npt.NDArray[np.uint8],
        vocabulary: EncodedVocabulary,
        *,
        scores: bool = True,
        moment: Moment | None = None,
    ) -> Segmentation:
        """Label an RGB image, uint8 ``(H, W, 3)``."""
        moments = None if moment is None else [moment]
        return self.segment_batch([image], vocabulary, scores=scores, moments=moments)[0]

    def segment_batch(
        self,
        images: Sequence[npt.NDArray[np.uint8]],
        vocabulary: EncodedVocabulary,
        *,
        scores: bool = True,
        moments: Sequence[Moment] | None = None,
    ) -> list[Segmentation]:
        """Label RGB images of one size, each uint8 ``(H, W, 3)``, in the time of one."""
        due = time.monotonic() + self._cost
        answers = [self._labelled(image, vocabulary) for image in images]
        if self._smoother is not None and moments is not None:
            self._smoother.moments = moments
            _smooth(self._smoother, images, vocabulary)
        time.sleep(max(0.0, due - time.monotonic()))
        return answers

    def _labelled(
        self, image: npt.NDArray[np.uint8], vocabulary: EncodedVocabulary
    ) -> Segmentation:
        classes = len(vocabulary.vocabulary)
        # More than 254 classes need wide ids; no red value reaches them.
        labels = np.remainder(image[:, :, 0], min(classes, 255), dtype=np.uint8)
        wide = labels if classes < 255 else labels.astype(np.uint16)
        if self._scores.shape != labels.shape:
            self._scores = np.ones(labels.shape, np.float32)
        return Segmentation(wide, self._scores, vocabulary.vocabulary)

    def release_memory(self) -> None:
        """Forget the frames before."""
        if self._smoother is not None:
            self._smoother.forget()

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""

    def memory_bytes(self) -> int | None:
        """Return ``None``: no GPU is used."""
        return None


def _smoother_of(share: float) -> Any:  # noqa: ANN401 - of a module that takes PyTorch
    # Only here: without smoothing a stand-in takes none of PyTorch's memory.
    from zegclip_core.refinement.smoothing import TemporalSmoother

    return TemporalSmoother(share)


def _smooth(
    smoother: Any,  # noqa: ANN401 - as above
    images: Sequence[npt.NDArray[np.uint8]],
    words: EncodedVocabulary,
) -> None:
    """Smooth images, brought to the resolution of patches."""
    import torch
    from torch.nn import functional as F

    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    height, width = (max(side // PATCH, 1) for side in images[0].shape[:2])
    smoother(F.adaptive_avg_pool2d(pixels, (height, width)), words, pixels)


class ObservedNode(SegmentationNode):
    """The node as it is, except that arrivals of images and times of the model are written down.

    Args:
        load: Loads the segmenter.
        log: Gets the events ``arrived`` and ``segmented``.
    """

    def __init__(self, load: Callable[[NodeParameters], Any], log: EventLog) -> None:
        self._event_log = log
        super().__init__(lambda parameters: self._observed(load(parameters)))

    def _observed(self, segmenter: Any) -> Any:  # noqa: ANN401 - whatever the node takes
        segment = segmenter.segment

        def observed(
            image: npt.NDArray[np.uint8],
            words: Any,  # noqa: ANN401
            **options: bool,
        ) -> Segmentation:
            began = time.time_ns()
            answer: Segmentation = segment(image, words, **options)
            ended = time.time_ns()
            self._event_log.add('segmented', number=read_number(image), began=began, ended=ended)
            return answer

        segmenter.segment = observed
        return segmenter

    def create_subscription(  # type: ignore[override]
        self,
        msg_type: Any,  # noqa: ANN401 - a message class
        topic: str,
        callback: Callable[[Any], None],
        *arguments: Any,  # noqa: ANN401 - rclpy's own
        **options: Any,  # noqa: ANN401 - rclpy's own
    ) -> Any:  # noqa: ANN401 - rclpy's subscription
        """Subscribe; images are written down once they have been handed on."""
        if msg_type not in (Image, CompressedImage):
            return super().create_subscription(msg_type, topic, callback, *arguments, **options)

        def observed(message: Any) -> None:  # noqa: ANN401 - an image
            came = time.time_ns()
            callback(message)
            stamp = nanoseconds(message.header.stamp)
            self._event_log.add('arrived', stamp=stamp, time=came, handed=time.time_ns())

        return super().create_subscription(msg_type, topic, observed, *arguments, **options)


NUMBER_PIXELS = 4


def read_number(rgb: npt.NDArray[np.uint8]) -> int:
    """Return the number that a benchmark's camera wrote into the first pixels of an RGB image."""
    return sum(int(rgb[0, pixel, 1]) << 8 * pixel for pixel in range(NUMBER_PIXELS))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node; return its exit code."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.stand_in',
        description='Run the segmentation node with a model that only takes its time.',
        epilog='What else is given goes to ROS: --ros-args -p name:=value -r from:=to',
    )
    parser.add_argument('--cost', type=float, default=0.005, help='time of a frame [s]')
    parser.add_argument('--log', type=Path, help='file for what happens to each frame')
    parser.add_argument('--real', action='store_true', help='take the real model instead')
    options, rest = parser.parse_known_args(arguments)

    def load(parameters: NodeParameters) -> Any:  # noqa: ANN401 - whatever the node takes
        if options.real:
            return load_segmenter(parameters)
        return StandInSegmenter(options.cost, parameters.options.smoothing)

    if options.log is None:
        return run_node(lambda: SegmentationNode(load), rest)
    return run_node(lambda: ObservedNode(load, EventLog(options.log)), rest)


if __name__ == '__main__':
    sys.exit(main())

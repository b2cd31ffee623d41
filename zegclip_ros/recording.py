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
"""What the recorder keeps of a run: figures, the best frames, and a video."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from zegclip_core.images.checks import RgbImage
from zegclip_core.images.drawing import BACKGROUND, overlay_with_legend
from zegclip_core.images.video import VideoWriter
from zegclip_core.segmentation import LabelArray, Segmentation, unlabelled_id
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_ros.listening import Announcement, places_of, version_at

FRAME_RATE = 10.0
"""Frames a second; ``tick`` is to be called as often."""
CANDIDATES = 3
"""Frames of a vocabulary that are kept whole; the best one is written as an image."""
_WORTH_SHOWING = 0.01
"""Share of the pixels from which on a class counts as seen in a frame."""


@dataclass(frozen=True)
class Labelled:
    """A frame, its stamp [ns], and the class ids that came back for it, ``(H, W)``."""

    stamp: int
    image: RgbImage
    labels: LabelArray

    def worth(self) -> tuple[int, float]:
        """Return how much there is to see: classes, then share of the labelled pixels."""
        shares = _counts(self.labels) / self.labels.size
        classes = int((shares[:-1] >= _WORTH_SHOWING).sum())
        return classes, float(1.0 - shares[-1])


@dataclass
class VersionRecord:
    """One vocabulary as the node announced it.

    Attributes:
        stamp: Time of the first frame labelled with it [ns]; ``None`` until there is one.
        said: When it was published [ns]; ``None`` for the one that the node began with.
    """

    version: int
    vocabulary: Vocabulary
    stamp: int | None = None
    said: int | None = None


@dataclass
class Recording:
    """All that came over the topics, with the times of arrival.

    Frames are told apart by their stamps, and belong to the newest vocabulary whose first frame is
    not later than they are. Times are nanoseconds of the clock that stamps come from.

    Attributes:
        camera_name: Which camera is recorded; ``''`` is the only one.
        cameras: Stamps of the camera's frames.
        overlays: Stamp and arrival of each overlay.
        arrived: The arrivals on a steady clock [ns], for durations; may be left empty where the
            other one is steady.
        counts: Pixels of each label by the stamp of the frame, int64 ``(256,)`` or ``(65536,)``.
        versions: The vocabularies by number.
    """

    camera_name: str = ''
    cameras: list[int] = field(default_factory=list)
    overlays: list[tuple[int, int]] = field(default_factory=list)
    arrived: list[int] = field(default_factory=list)
    counts: dict[int, npt.NDArray[np.int64]] = field(default_factory=dict)
    versions: dict[int, VersionRecord] = field(default_factory=dict)
    _requests: list[tuple[Vocabulary, int]] = field(default_factory=list)
    _best: list[Labelled] = field(default_factory=list)

    def labelled(self, frame: Labelled) -> None:
        """Note a frame with its labels; keep the few best of each vocabulary."""
        self.counts[frame.stamp] = _counts(frame.labels)
        self._best.append(frame)
        peers = [one for one in self._best if self.owner(one.stamp) == self.owner(frame.stamp)]
        if len(peers) > CANDIDATES:
            # Not this one: the announcement that it has other words may be still on its way.
            worst = min(peers[:-1], key=Labelled.worth)
            self._best = [one for one in self._best if one is not worst]

    def said(self, vocabulary: Vocabulary, when: int) -> None:
        """Note that words were published."""
        self._requests.append((vocabulary, when))

    def announced(self, told: Announcement) -> None:
        """Note what the node announced; ``ConfigError`` if it has no such camera."""
        number, vocabulary = told.version, told.vocabulary
        stamp = told.first(self.camera_name)
        if vocabulary is None:
            return
        if number not in self.versions:
            times = [when for words, when in self._requests if words.names == vocabulary.names]
            said = times[-1] if times else None
            self.versions[number] = VersionRecord(number, vocabulary, said=said)
        if stamp is not None:
            self.versions[number].stamp = stamp

    def awaits_labels(self) -> bool:
        """Return whether no frame has come yet that was labelled with the last words."""
        newest = max(self.versions, default=None)
        if newest is None:
            return True
        said = self._requests[-1][1] if self._requests else None
        if self.versions[newest].said != said:
            return True
        return not any(self.owner(stamp) == newest for stamp in self.counts)

    def owner(self, stamp: int) -> int | None:
        """Return the version that a frame was labelled with."""
        firsts = {version: record.stamp for version, record in self.versions.items()}
        return version_at(stamp, firsts)

    def best(self, version: int) -> Labelled | None:
        """Return the frame of a vocabulary in which most is to be seen."""
        own = [one for one in self._best if self.owner(one.stamp) == version]
        return max(own, key=Labelled.worth, default=None)

    def segmentation(self, frame: Labelled, version: int) -> Segmentation:
        """Return the labels of a frame with their words; scores are not on any topic."""
        vocabulary = self.versions[version].vocabulary
        scores = np.ones(frame.labels.shape, np.float32)
        return Segmentation(places_of(frame.labels, vocabulary), scores, vocabulary)

    def summary(self) -> dict[str, Any]:
        """Return the figures of the run; times in the units that the keys name."""
        arrivals = self.arrived or [arrival for _, arrival in self.overlays]
        latencies = [(arrival - stamp) / 1e6 for stamp, arrival in self.overlays]
        return {
            'frames_in': len(self.cameras),
            'frames_out': len(self.overlays),
            'seconds': round((arrivals[-1] - arrivals[0]) / 1e9, 2) if arrivals else 0.0,
            'camera_rate_hz': _rate(self.cameras),
            'frame_rate_hz': _rate(arrivals),
            'latency_ms': {'p50': _percentile(latencies, 50), 'p95': _percentile(latencies, 95)},
            'vocabularies': [self._version(self.versions[key]) for key in sorted(self.versions)],
        }

    def _version(self, record: VersionRecord) -> dict[str, Any]:
        """Return the figures of one vocabulary."""
        own = [
            counts for stamp, counts in self.counts.items() if self.owner(stamp) == record.version
        ]
        words = record.vocabulary
        total = np.sum(own, axis=0) if own else np.zeros(256, np.int64)
        shares = total / max(1, int(total.sum()))
        seconds = None
        if record.said is not None and record.stamp is not None:
            arrivals = [arrival for stamp, arrival in self.overlays if stamp >= record.stamp]
            seconds = round((arrivals[0] - record.said) / 1e9, 3) if arrivals else None
        return {
            'version': record.version,
            'classes': list(record.vocabulary.names),
            'frames': len(own),
            'switch_seconds': seconds,
            'pixel_share': {
                name: round(float(shares[number]), 4)
                for number, name in zip(words.ids, words.names, strict=True)
                if number < len(shares) - 1
            },
            'unlabelled_share': round(float(shares[-1]), 4),
        }


def _rate(times: Sequence[int]) -> float:
    """Return how many a second came, from times in nanoseconds."""
    if len(times) < 2 or times[-1] <= times[0]:
        return 0.0
    return round((len(times) - 1) / ((times[-1] - times[0]) / 1e9), 2)


def _percentile(values: Sequence[float], percent: float) -> float | None:
    return round(float(np.percentile(values, percent)), 1) if values else None


def _counts(labels: LabelArray) -> npt.NDArray[np.int64]:
    """Return the number of pixels of each label that the type has; the last is unlabelled."""
    return np.bincount(labels.ravel(), minlength=unlabelled_id(labels.dtype) + 1)


def with_legend(image: RgbImage, overlay: RgbImage, segmentation: Segmentation) -> RgbImage:
    """Return the overlay of an image as it came, both RGB uint8, with a legend below it."""
    drawn = overlay_with_legend(image, segmentation, place='below', every_class=True)
    drawn[: overlay.shape[0], : overlay.shape[1]] = overlay
    return drawn


class LegendVideo:
    """Writes an mp4 file; the newest image is repeated until another comes.

    The largest legend of the vocabularies that will be shown settles the size.
    """

    def __init__(self, path: Path, vocabularies: Sequence[Vocabulary]) -> None:
        self._writer: VideoWriter | None = VideoWriter(path, FRAME_RATE)
        self._vocabularies = list(vocabularies)
        self._canvas: RgbImage | None = None

    def show(self, image: RgbImage, size: tuple[int, ...]) -> None:
        """Show an image from now on: RGB uint8, a frame of a size ``(H, W)`` with its legend."""
        if self._canvas is None:
            blank = np.zeros((*size, 3), np.uint8)
            labels, scores = np.zeros(size, np.uint8), np.ones(size, np.float32)
            shapes = [
                with_legend(blank, blank, Segmentation(labels, scores, words)).shape
                for words in self._vocabularies
            ]
            self._canvas = np.zeros(np.max(shapes, axis=0), np.uint8)
        self._canvas[:] = BACKGROUND
        height, width = np.minimum(image.shape, self._canvas.shape)[:2]
        self._canvas[:height, :width] = image[:height, :width]

    def tick(self) -> None:
        """Write the image that is shown; ``ImageError`` if it cannot be."""
        if self._writer is not None and self._canvas is not None:
            self._writer.write(self._canvas)

    def close(self) -> None:
        """Finish the file; nothing is written after that."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

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
"""How much smoothing calms labels, and how well sharp edges follow the truth.

Run it by ``python -m benchmarks.calm``; ``docs/smoothing.md`` has the figures. The data
are CamVid's validation frames, which follow one another, and photos of PASCAL VOC, over which a
window pans and zooms, each frame with noise and an exposure of its own. The model runs once a
frame; every way of labelling starts from the same mask logits.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import islice
from pathlib import Path
import statistics
import sys
import time
from typing import Any, NamedTuple

from benchmarks.calm_figures import boundary_scores, filled, flicker, Labels, Tally
from benchmarks.reports import report
import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image
from tabulate import tabulate
import torch
from torch import Tensor
from tqdm import tqdm
from zegclip_core.data.datasets import load_spec
from zegclip_core.engines.contract import EngineVocabulary
from zegclip_core.engines.lean.postprocess_cpu import label_logits
from zegclip_core.errors import DataError
from zegclip_core.images.checks import RgbImage
from zegclip_core.images.media import read_image
from zegclip_core.options import UNLABELLED
from zegclip_core.refinement.edges import Rows, sharpened
from zegclip_core.refinement.smoothing import TemporalSmoother
from zegclip_core.segmentation import Moment
from zegclip_core.segmenter import Segmenter
from zegclip_core.speed.timing import device_name
from zegclip_core.text.vocabulary import Vocabulary

PAGE = Path(__file__).resolve().parents[1] / 'docs' / 'smoothing.md'
VOC = Path('voc2012/VOCdevkit/VOC2012')
RATE = 15.0
"""Frames a second; CamVid's labelled ones of this clip have it."""
PAN_FRAMES = 10
WINDOW = 0.75
"""Side of the window that pans over a photo, in sides of the photo."""
NOISE = 10.0
EXPOSURE = (0.92, 1.08)
SHARES = (0.3, 0.5, 0.7)
EDGES = (8, 16)
OPEN = 254
"""What stands in a truth for pixels that are not known."""


@dataclass(frozen=True)
class View:
    """An image with its truth: classes, ``UNLABELLED`` for none of them, ``OPEN`` for unknown."""

    image: RgbImage
    truth: Labels


@dataclass(frozen=True)
class Clip:
    """Views that follow one another, of a vocabulary."""

    kind: str
    classes: tuple[str, ...]
    views: list[View]


def pan(view: View, rng: np.random.Generator, frames: int = PAN_FRAMES) -> list[View]:
    """Return what a window shows that pans and zooms over a photo, with noise."""
    height, width = view.truth.shape
    size = int(WINDOW * width), int(WINDOW * height)
    room = np.array([width - size[0], height - size[1]])
    place, speed = rng.uniform(0, 0.3, 2) * room, rng.uniform((1.0, -0.5), (3.0, 1.5))
    zoom = rng.uniform(0.995, 1.005)
    views = []
    for number in range(frames):
        scale = zoom**number
        most = np.subtract((width, height), np.multiply(size, scale)) - 1
        left, top = np.clip(place + speed * number, 0, np.maximum(most, 0))
        window = np.array([[scale, 0, left], [0, scale, top]])
        clean = _through(view.image, window, size, cv2.INTER_LINEAR).astype(np.float32)
        image = clean * rng.uniform(*EXPOSURE) + rng.normal(0, NOISE, clean.shape)
        truth = _through(view.truth, window, size, cv2.INTER_NEAREST)
        views.append(View(np.clip(image, 0, 255).astype(np.uint8), truth))
    return views


def _through(
    image: npt.NDArray[np.uint8], window: npt.NDArray[np.float64], size: tuple[int, int], how: int
) -> npt.NDArray[np.uint8]:
    """Return what a window of a width and height shows."""
    shown = cv2.warpAffine(image, window, size, flags=how | cv2.WARP_INVERSE_MAP)
    return np.asarray(shown, np.uint8)


def camvid(data: Path, frames: int) -> Clip:
    """Return CamVid's validation frames, the first of which are of one drive."""
    folder = data / 'camvid'
    classes = (folder / 'classes.txt').read_text('utf-8').split('\n')
    paths = sorted((folder / 'images' / 'val').glob('*.jpg'))[:frames]
    views = []
    for path in paths:
        truth = np.asarray(cv2.imread(str(folder / 'labels' / 'val' / f'{path.stem}.png'), -1))
        views.append(View(read_image(path), np.where(truth == 255, OPEN, truth).astype(np.uint8)))
    return Clip('CamVid', tuple(filter(None, classes)), views)


def voc_photos(data: Path) -> Iterator[View]:
    """Yield photos of PASCAL VOC's validation part, those far apart first."""
    folder = data / VOC
    names = (folder / 'ImageSets' / 'Segmentation' / 'val.txt').read_text('utf-8').split()
    for start in range(7):
        for name in names[start::7]:
            drawn = np.asarray(
                PIL.Image.open(folder / 'SegmentationClass' / f'{name}.png'), np.uint8
            )
            truth = np.where(drawn == 255, OPEN, np.where(drawn == 0, UNLABELLED, drawn - 1))
            image = read_image(folder / 'JPEGImages' / f'{name}.jpg')
            yield View(image, truth.astype(np.uint8))


def clips(data: Path, frames: int, pans: int, photos: int) -> list[Clip]:
    """Return what is measured on.

    Raises:
        DataError: If the data are not there.
    """
    names = tuple(load_spec('voc12').classes)
    rng = np.random.default_rng(0)
    try:
        found = [camvid(data, frames)]
        views = voc_photos(data)
        found += [Clip('VOC, panned', names, pan(one, rng)) for one in islice(views, pans)]
        found += [Clip('VOC, photos', names, [one]) for one in islice(views, photos)]
    except FileNotFoundError as error:
        raise DataError(f'Expected CamVid and PASCAL VOC in {data}, but got: {error}.') from error
    return found


class Recorder:
    """A step that keeps what the steps of a frame get."""

    def __init__(self) -> None:
        """Nothing has come yet."""
        self.seen: tuple[Tensor, EngineVocabulary, Tensor] | None = None

    def __call__(
        self, mask_logits: Tensor, vocabulary: EngineVocabulary, images: Tensor
    ) -> Tensor:
        """Keep the arguments."""
        self.seen = mask_logits, vocabulary, images
        return mask_logits


class Frame(NamedTuple):
    """What a way of labelling gets of a frame.

    Attributes:
        logits: Its mask logits.
        vocabulary: The words of their rows.
        images: The working image.
        image: RGB, uint8 ``(H, W, 3)``.
        seconds: When it was taken.
    """

    logits: Tensor
    vocabulary: EngineVocabulary
    images: Tensor
    image: RgbImage
    seconds: float

    def label(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return labels and scores ``(1, H, W)`` of mask logits in the place of its own."""
        height, width = self.image.shape[:2]
        return label_logits(logits, (height, width), self.vocabulary)


Way = Callable[[Frame], tuple[Labels, float]]
"""Labels a frame; with the seconds it adds."""


def plain(frame: Frame) -> tuple[Labels, float]:
    """Label as without any option."""
    return frame.label(frame.logits)[0][0].numpy(), 0.0


def smoothed(share: float) -> Way:
    """Return what smooths a clip."""
    smoother = TemporalSmoother(share)

    def way(frame: Frame) -> tuple[Labels, float]:
        smoother.moments = [Moment('clip', frame.seconds)]
        began = time.perf_counter()
        calm = smoother(frame.logits, frame.vocabulary, frame.images)
        taken = time.perf_counter() - began
        return frame.label(calm)[0][0].numpy(), taken

    return way


def sharp(most: int) -> Way:
    """Return what refines the outlines of so many classes."""

    def way(frame: Frame) -> tuple[Labels, float]:
        labels, scores = (part[0].numpy() for part in frame.label(frame.logits))
        began = time.perf_counter()
        words = frame.vocabulary
        bias, limits = words.bias.numpy(), words.thresholds.numpy()
        rows = Rows(frame.logits[0].numpy(), bias, limits, words.classes, 'sigmoid')
        fine = sharpened(frame.image, labels, scores, rows, most)[0]
        return fine.astype(np.uint8), time.perf_counter() - began

    return way


def ways() -> dict[str, Way]:
    """Return the ways of labelling a clip, by name."""
    return {
        'as it comes': plain,
        **{f'smoothing {share}': smoothed(share) for share in SHARES},
        **{f'sharp_edges {most}': sharp(most) for most in EDGES},
    }


@dataclass
class Found:
    """What all ways give on one kind of clips, and the seconds of each frame's model."""

    tallies: dict[str, Tally]
    model: list[float]


def measure(segmenter: Segmenter, recorder: Recorder, work: Sequence[Clip]) -> dict[str, Found]:
    """Label all clips in every way, by kind."""
    found: dict[str, Found] = {}
    with tqdm(total=sum(len(clip.views) for clip in work), unit='frame') as bar:
        for clip in work:
            tallies = {name: Tally(len(clip.classes)) for name in ways()}
            kind = found.setdefault(clip.kind, Found(tallies, []))
            bar.set_description(clip.kind)
            _measure_clip(segmenter, recorder, clip, kind, bar)
    return found


def _measure_clip(
    segmenter: Segmenter, recorder: Recorder, clip: Clip, found: Found, bar: 'tqdm[Any]'
) -> None:
    words = segmenter.encode(Vocabulary.from_names(clip.classes))
    own, frames = ways(), {name: list[Labels]() for name in found.tallies}
    for number, view in enumerate(clip.views):
        began = time.perf_counter()
        segmenter.segment(view.image, words)
        found.model.append(time.perf_counter() - began)
        if recorder.seen is None:
            raise TypeError('Expected the recorder to be a step of the segmenter.')
        truth = filled(view.truth, OPEN)
        frame = Frame(*recorder.seen, view.image, number / RATE)
        for name, way in own.items():
            labels, seconds = way(frame)
            tally = found.tallies[name]
            tally.add(labels, truth, view.truth != OPEN)
            tally.outlines += boundary_scores(labels, truth)
            tally.seconds.append(seconds)
            frames[name].append(labels)
        bar.update()
    for name, labels_of in frames.items():
        if len(labels_of) > 1:
            found.tallies[name].flickers.append(flicker(labels_of))


def page_text(found: dict[str, Found], device: str) -> str:
    """Return the table of the page."""
    rows = []
    for kind, one in found.items():
        model = statistics.median(one.model)
        for name, tally in one.tallies.items():
            share = statistics.median(tally.seconds) / model
            rows.append(
                {
                    'frames': kind,
                    'labels': name,
                    'flicker': f'{statistics.mean(tally.flickers):.2%}' if tally.flickers else '-',
                    'pixel accuracy': f'{tally.accuracy:.2%}',
                    'mIoU': f'{100 * tally.mean_iou:.1f}',
                    'boundary F': f'{100 * statistics.mean(tally.outlines):.1f}',
                    'of the frame time': f'{share:.1%}' if share else '-',
                }
            )
    counts = ', '.join(f'{kind}: {len(one.model)}' for kind, one in found.items())
    shown = tabulate(rows, 'keys', 'github', disable_numparse=True)
    return f'{shown}\n\n(Frames: {counts}. {device}, {date.today()})'


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.calm', description=__doc__)
    parser.add_argument('--data', type=Path, default=Path('data'), help='folder of the data')
    parser.add_argument('--model', default='everyday-s', help='a model of sigmoids')
    parser.add_argument('--frames', type=int, default=60, help='frames of CamVid')
    parser.add_argument('--pans', type=int, default=20, help='photos that are panned over')
    parser.add_argument('--photos', type=int, default=60, help='photos as they are')
    parser.add_argument(
        '--write-docs', action='store_true', help=f'put the table into {PAGE.name}'
    )
    options = parser.parse_args(arguments)

    def measured() -> str:
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        work = clips(options.data, options.frames, options.pans, options.photos)
        recorder = Recorder()
        segmenter = Segmenter.load(options.model, device='cpu', threads=1, steps=[recorder])
        return page_text(measure(segmenter, recorder, work), device_name(segmenter.device))

    return report('calm', measured, PAGE, write=options.write_docs)


if __name__ == '__main__':
    sys.exit(main())

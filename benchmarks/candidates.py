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
"""How many of a thousand words have to be drawn: time, and labels beside those of all words.

The photos are public-domain ones of scikit-image, the words the classes of COCO-Stuff and then
those of ImageNet. Run it by ``python -m benchmarks.candidates``; ``docs/candidates.md`` has the
figures and the picture.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
import statistics
import sys
import time

from benchmarks.reports import parser_of, report
from matplotlib.figure import Figure
import numpy as np
from skimage import data
from tabulate import tabulate
from tqdm import tqdm
from zegclip_core.data.datasets import load_spec
from zegclip_core.engines.lean.engine import LeanEngine
from zegclip_core.images.drawing import draw_overlay
from zegclip_core.segmentation import Segmentation
from zegclip_core.segmenter import EncodedVocabulary, Segmenter
from zegclip_core.speed.timing import device_name
from zegclip_core.text.vocabulary import Vocabulary

PAGE = Path(__file__).resolve().parents[1] / 'docs' / 'candidates.md'
PHOTOS = ('astronaut', 'chelsea', 'coffee', 'rocket')
MANY, FEW = 1000, 20
COUNTS = (0, 256, 128, 64, 32, 16)
"""Candidates that are tried with many words; 0 draws all."""
SHOWN = (0, 128, 16)
"""Those that are drawn."""


@dataclass
class Case:
    """One number of words and candidates.

    Attributes:
        words: Number of words.
        candidates: Most of them that are drawn; 0 for all.
        times: Of every frame of each photo [s].
        found: The labels of each photo.
    """

    words: int
    candidates: int
    times: dict[str, list[float]] = field(default_factory=dict)
    found: dict[str, Segmentation] = field(default_factory=dict)

    @property
    def frame_ms(self) -> float:
        """Mean over the photos of the fastest frame [ms]; others had to share the machine."""
        return 1e3 * statistics.mean(min(times) for times in self.times.values())

    def same(self, other: 'Case') -> list[float]:
        """Return the share of each photo's pixels that another case labels alike."""
        return [
            float(np.mean(ours.labels == other.found[name].labels))
            for name, ours in self.found.items()
        ]


def word_list(count: int) -> list[str]:
    """Return distinct words."""
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES

    names = [*load_spec('coco_stuff164k').classes, *IMAGENET_CLASSNAMES]
    return list(dict.fromkeys(name.casefold() for name in names))[:count]


def measure(
    segmenter: Segmenter, words: Sequence[str], counts: Sequence[int], repeats: int
) -> list[Case]:
    """Label all photos in every case, the cases in turn.

    Args:
        segmenter: On the lean path, without threshold.
        words: All words; the case of few takes the first.
        counts: Candidates to try.
        repeats: How often each photo is labelled.
    """
    few, many = (segmenter.encode(Vocabulary.from_names(part)) for part in (words[:FEW], words))
    cases = [Case(len(words[:FEW]), 0), *(Case(len(words), count) for count in counts)]
    for _ in tqdm(range(repeats)):
        for name in PHOTOS:
            for case in cases:
                _label(segmenter, case, name, few if case is cases[0] else many)
    return cases


def _label(segmenter: Segmenter, case: Case, name: str, words: EncodedVocabulary) -> None:
    """Label a photo and note the time."""
    engine = segmenter.engine
    if not isinstance(engine, LeanEngine):
        raise TypeError(f'Expected the lean engine, but got {engine!r}.')
    engine.candidates = case.candidates
    photo = getattr(data, name)()
    began = time.perf_counter()
    case.found[name] = segmenter.segment(photo, words)
    case.times.setdefault(name, []).append(time.perf_counter() - began)


def page_text(cases: Sequence[Case], device: str) -> str:
    """Return the table of the page, with the device's name below."""
    few, everything = cases[0], cases[1]
    rows = [
        {
            'words': case.words,
            'candidates': case.candidates or 'all',
            'a frame [ms]': f'{case.frame_ms:.0f}',
            f'of {few.words} words': f'{case.frame_ms / few.frame_ms:.2f}',
            'pixels alike, least': '-' if case is few else f'{min(case.same(everything)):.2%}',
        }
        for case in cases
    ]
    shown = tabulate(rows, 'keys', 'github', disable_numparse=True)
    return f'{shown}\n\n({device}, {date.today()})'


def draw(cases: Sequence[Case], shown: Sequence[int] = SHOWN) -> Figure:
    """Return the photos' labels with different numbers of candidates, a row each."""
    drawn = [case for case in cases[1:] if case.candidates in shown]
    figure = Figure(figsize=(12.0, 3.1 * len(drawn)), layout='constrained')
    parts = figure.subfigures(len(drawn), squeeze=False)
    for part, case in zip(parts.flat, drawn, strict=True):
        part.suptitle(f'{case.candidates or "all"} of {case.words} words')
        for axes, (name, found) in zip(
            part.subplots(1, len(PHOTOS)), case.found.items(), strict=True
        ):
            axes.imshow(draw_overlay(getattr(data, name)(), found))
            axes.set_title(_most(found), fontsize=8)
            axes.set_axis_off()
    return figure


def _most(found: Segmentation, words: int = 2) -> str:
    """Return the words with the most pixels and their shares, a line each."""
    shares = sorted(found.shares().items(), key=lambda one: one[1], reverse=True)
    return '\n'.join(f'{name} {share:.0%}' for name, share in shares[:words])


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = parser_of('candidates', __doc__, PAGE, repeats=3)
    parser.add_argument('--picture', type=Path, metavar='FILE', help='also draw the labels there')
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; return the exit code.

    Args:
        arguments: Those of the command line; ``None`` takes those of the process.
    """
    options = build_parser().parse_args(arguments)

    def measured() -> str:
        segmenter = Segmenter.load(options.model, threshold=0.0, negatives=())
        cases = measure(segmenter, word_list(MANY), COUNTS, options.repeats)
        if options.picture:
            draw(cases).savefig(options.picture)
        return page_text(cases, device_name(segmenter.device))

    return report('candidates', measured, PAGE, write=options.write_docs)


if __name__ == '__main__':
    sys.exit(main())

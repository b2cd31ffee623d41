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
"""What regions cost beside the model: photos at VGA, 20 words, both in turn in one run.

The photos are public-domain ones of scikit-image, the words name what is in them. Run it by
``python -m benchmarks.regions``; ``docs/performance.md`` has the figures.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
import json
from pathlib import Path
import statistics
import sys
import time

from benchmarks.reports import parser_of, report
import cv2
import numpy as np
from skimage import data
from tabulate import tabulate
from zegclip_core.images.regions import find_regions
from zegclip_core.messages.outputs import region_list
from zegclip_core.segmenter import Segmenter
from zegclip_core.speed.timing import device_name
from zegclip_core.text.vocabulary import Vocabulary

PAGE = Path(__file__).resolve().parents[1] / 'docs' / 'performance.md'
PHOTOS = ('astronaut', 'chelsea', 'coffee', 'rocket')
SIZE = (640, 480)
WORDS = (
    *('person', 'face', 'hair', 'suit', 'flag', 'cat', 'ear', 'eye', 'nose', 'blanket'),
    *('cup', 'coffee', 'saucer', 'spoon', 'table', 'rocket', 'sky', 'tower', 'tree', 'grass'),
)
MIN_AREA = 100
"""The default of the node's parameter ``min_area``."""


@dataclass
class Case:
    """One photo.

    Attributes:
        model: Seconds that each frame took from RGB to labels.
        regions: Seconds from labels to the JSON of ``~/regions``, frame by frame.
        classes: How many of the words are there.
        found: How many regions.
    """

    name: str
    model: list[float] = field(default_factory=list)
    regions: list[float] = field(default_factory=list)
    classes: int = 0
    found: int = 0

    @property
    def share(self) -> float:
        """Median over the frames of what regions take, as a share of the model's time."""
        pairs = zip(self.regions, self.model, strict=True)
        return statistics.median(regions / model for regions, model in pairs)


def measure(segmenter: Segmenter, words: Vocabulary, repeats: int) -> list[Case]:
    """Label each photo and find its regions, after a frame that does not count."""
    encoded = segmenter.encode(words)
    cases = []
    for name in PHOTOS:
        photo = cv2.resize(getattr(data, name)(), SIZE, interpolation=cv2.INTER_AREA)
        case = Case(name)
        for repeat in range(-1, repeats):
            began = time.perf_counter()
            labelled = segmenter.segment(photo, encoded)
            between = time.perf_counter()
            regions = find_regions(labelled, MIN_AREA)
            json.dumps(region_list(regions, labelled))
            ended = time.perf_counter()
            if repeat >= 0:
                case.model.append(between - began)
                case.regions.append(ended - between)
        case.classes = len(np.setdiff1d(np.unique(labelled.labels), [255]))
        case.found = len(regions)
        cases.append(case)
    return cases


def page_text(cases: Sequence[Case], device: str) -> str:
    """Return the table of the page, with the device's name below."""
    rows = [
        {
            'photo': case.name,
            'words in it': case.classes,
            'regions': case.found,
            'model [ms]': f'{1e3 * statistics.median(case.model):.0f}',
            'regions [ms]': f'{1e3 * statistics.median(case.regions):.2f}',
            'of the model': f'{case.share:.2%}',
        }
        for case in cases
    ]
    shown = tabulate(rows, 'keys', 'github', disable_numparse=True)
    return f'{shown}\n\n({device}, {date.today()})'


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; return the exit code.

    Args:
        arguments: Those of the command line; ``None`` takes those of the process.
    """
    options = parser_of('regions', __doc__, PAGE, repeats=15).parse_args(arguments)

    def measured() -> str:
        segmenter = Segmenter.load(options.model)
        cases = measure(segmenter, Vocabulary.from_words(WORDS), options.repeats)
        return page_text(cases, device_name(segmenter.device))

    return report('regions', measured, PAGE, write=options.write_docs)


if __name__ == '__main__':
    sys.exit(main())

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
"""What a frame costs by several models, such as two editions of one, in turn in one run.

Run it with ``python -m benchmarks.editions MODEL MODEL``. Each labels the same 640x480 frame at
its own size, in the best precision of the device; the first is what the others are compared with.
"""

import argparse
from collections.abc import Sequence
import statistics
import sys

from benchmarks.reports import report
from tabulate import tabulate
from tqdm import tqdm
from zegclip_core.cli._model import positive
from zegclip_core.devices import pick_device
from zegclip_core.options import wait_without_spinning
from zegclip_core.segmenter import Segmenter
from zegclip_core.speed.bundled import camera_frame, WORDS
from zegclip_core.speed.timing import device_name, timed
from zegclip_core.text.vocabulary import Vocabulary


class Side:
    """A model that labels the frame again and again."""

    def __init__(self, model: str, device: str) -> None:
        """Load it, and label the frame once, as the first time is slower."""
        self._segmenter = Segmenter.load(model, device=device)
        self._words = self._segmenter.encode(Vocabulary.from_names(WORDS))
        self._frame = camera_frame()
        self.seconds()

    def seconds(self) -> float:
        """Label the frame; return the seconds that it took."""
        segmenter = self._segmenter
        return timed(segmenter.device, lambda: segmenter.segment(self._frame, self._words))[1]


def table(models: Sequence[str], device: str, rounds: int) -> str:
    """Return a row for each model, and what they were measured on.

    Raises:
        ZegCLIPError: If a model cannot be loaded.
    """
    sides = [Side(model, device) for model in models]
    times = [[side.seconds() for side in sides] for _ in tqdm(range(rounds), 'rounds')]
    rows = []
    for index, model in enumerate(models):
        ratio = statistics.median(each[index] / each[0] for each in times)
        own = statistics.median(each[index] for each in times)
        rows.append({'model': model, 'ms': f'{1e3 * own:.0f}', 'beside the first': f'{ratio:.2f}'})
    text = tabulate(rows, headers='keys', tablefmt='github', disable_numparse=True)
    return f'{text}\n\n({device_name(pick_device(device))}; {len(WORDS)} words)'


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; return 0, or 2 for what the user has to mend."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.editions', description=__doc__)
    add = parser.add_argument
    add('models', nargs='+', metavar='MODEL', help='names or files')
    add('--device', default='auto', help='where (default: %(default)s)')
    add('--rounds', type=positive, default=15, help='frames of each (default: %(default)s)')
    options = parser.parse_args(arguments)
    return report('editions', lambda: table(options.models, options.device, options.rounds))


if __name__ == '__main__':
    wait_without_spinning()
    sys.exit(main())

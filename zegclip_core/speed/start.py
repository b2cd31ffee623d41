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
"""How long it takes from the start of a process to its first label, and in which parts.

The process runs this file, which therefore imports nothing that takes long at its beginning.
"""

from itertools import pairwise
import json
import statistics
import subprocess
import sys
import time

from zegclip_core.errors import ConfigError

PARTS = (
    'Python, and import of PyTorch',
    'import of the rest',
    'image tower, decoder and text tower',
    'first run: buffers, kernels, graphs',
    'words',
    'first frame',
    '(the next frame)',
)
"""In the order in which they pass; the last one does not count."""
_WORDS = ('person', 'cat', 'cup', 'dining table')
_MOST = 3


def measure_start(device: str, repeats: int) -> list[dict[str, str]]:
    """Start processes that load the bundled model and label an image; return the table's rows.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        repeats: How many processes, one after the other; more than three are not needed.

    Raises:
        ConfigError: If a process fails.
    """
    found = []
    for _ in range(min(repeats, _MOST)):
        command = [sys.executable, '-m', __name__, device, repr(time.monotonic())]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode:
            reason = (run.stderr.strip().splitlines() or ['no reason given'])[-1]
            raise ConfigError(
                f'Expected a process to label a frame on {device}, but got: {reason}'
            )
        found.append(json.loads(run.stdout.splitlines()[-1]))
    seconds = [statistics.median(times) for times in zip(*found, strict=True)]
    *parts, next_frame = zip(PARTS, seconds, strict=True)
    total = statistics.median(sum(times[:-1]) for times in found)
    head = ('from the start of the process to the first label', 'seconds')
    rows = [*parts, ('all', total), next_frame]
    return [dict(zip(head, (name, f'{value:.2f}'), strict=True)) for name, value in rows]


def main(device: str, began: float) -> None:
    """Be the process: print the seconds of the parts as JSON.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        began: When the process was started, in seconds of ``time.monotonic``.
    """
    import numpy as np
    import torch  # noqa: F401 - its import is timed on its own

    times = [began, time.monotonic()]
    from zegclip_core.segmenter import Segmenter
    from zegclip_core.text.vocabulary import Vocabulary

    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    times.append(time.monotonic())
    segmenter = Segmenter.load(device=device)
    times.append(time.monotonic())
    segmenter.warm_up()
    times.append(time.monotonic())
    words = segmenter.encode(Vocabulary.from_names(_WORDS))
    times.append(time.monotonic())
    for _ in range(2):
        segmenter.segment(image, words)
        times.append(time.monotonic())
    sys.stdout.write(json.dumps([end - start for start, end in pairwise(times)]) + '\n')


if __name__ == '__main__':
    main(sys.argv[1], float(sys.argv[2]))

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
"""How long it takes from the start of a process to its first label, and in which parts."""

from itertools import pairwise
import json
import subprocess
import sys
import time
from typing import Any

from zegclip_core.benchmarking.rows import Start
from zegclip_core.errors import ConfigError

WORDS = ('person', 'cat', 'cup', 'dining table')


def measure_starts(device: str, repeats: int) -> list[Start]:
    """Start processes one after the other that load the bundled model and label one frame.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        repeats: How many.

    Raises:
        ConfigError: If a process fails.
    """
    return [_start(device) for _ in range(repeats)]


def _start(device: str) -> Start:
    """Start one process and read what it says."""
    command = [sys.executable, '-m', __name__, device, repr(time.monotonic())]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        reason = (run.stderr.strip().splitlines() or ['no reason given'])[-1]
        raise ConfigError(f'Expected a process to label a frame on {device}, but got: {reason}')
    *_, line = run.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return Start(tuple(found['parts']), found['frame'])


def _label_one(device: str, began: float) -> None:
    """Be the process: print the parts as JSON.

    Args:
        device: As in ``measure_starts``.
        began: When the process was started, in seconds of ``time.monotonic``.
    """
    times = [began]

    def passed() -> None:
        times.append(time.monotonic())

    import torch  # noqa: F401 - its time is looked at

    passed()
    from zegclip_core.benchmarking.camera import camera_frame
    from zegclip_core.segmenter import Segmenter
    from zegclip_core.vocabulary import Vocabulary

    frame = camera_frame()
    passed()
    segmenter = Segmenter.load(device=device)
    passed()
    segmenter.warm_up()
    passed()
    words = segmenter.encode(Vocabulary.from_names(WORDS))
    passed()
    segmenter.segment(frame, words)
    passed()
    segmenter.segment(frame, words)
    passed()
    seconds = [end - start for start, end in pairwise(times)]
    sys.stdout.write(json.dumps({'parts': seconds[:-1], 'frame': seconds[-1]}) + '\n')


if __name__ == '__main__':
    _label_one(sys.argv[1], float(sys.argv[2]))

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

import json
import subprocess
import sys
import time
from typing import Any

from zegclip_core.errors import ConfigError
from zegclip_core.speed.rows import Start

_PROCESS = 'zegclip_core.speed.start_process'
_MOST = 3


def measure_starts(device: str, repeats: int) -> list[Start]:
    """Start processes one after the other that load the bundled model and label one frame.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        repeats: How many; more than three are not needed.

    Raises:
        ConfigError: If a process fails.
    """
    return [_start(device) for _ in range(min(repeats, _MOST))]


def _start(device: str) -> Start:
    """Start one process and read what it says."""
    command = [sys.executable, '-m', _PROCESS, device, repr(time.monotonic())]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        reason = (run.stderr.strip().splitlines() or ['no reason given'])[-1]
        raise ConfigError(f'Expected a process to label a frame on {device}, but got: {reason}')
    *_, line = run.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return Start(tuple(found['parts']), found['frame'])

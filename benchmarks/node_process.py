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
"""The node as a process of its own, watched from outside through ``/proc``."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

from zegclip_ros.launching import LARGE_DATA as _LARGE_DATA

ROOT = Path(__file__).resolve().parents[1]

LARGE_DATA = dict(_LARGE_DATA)
"""Settings under which large images arrive."""

FAULTS = ('Traceback (most recent call last)', 'terminate called', 'Fatal Python error')
"""What a log holds if something went wrong that nobody had thought of."""


@dataclass(frozen=True)
class Footprint:
    """What a process takes at one moment; memory in bytes.

    Attributes:
        rss: Resident memory, what it shares with others included.
        pss: Resident memory, with what is shared divided among those that share it.
        anonymous: What belongs to no file: heap and stacks.
        threads: Number of threads.
        descriptors: Number of open file descriptors.
    """

    rss: int
    pss: int
    anonymous: int
    threads: int
    descriptors: int


def _fields(path: Path) -> dict[str, str]:
    """Return the first word after each name of a file with lines ``Name:  value unit``."""
    lines = (line.split(':', 1) for line in path.read_text().splitlines() if ':' in line)
    return {name: rest.split()[0] for name, rest in lines if rest.split()}


def footprint(pid: int) -> Footprint:
    """Return what a process takes now.

    Raises:
        OSError: If it has ended.
    """
    folder = Path('/proc') / str(pid)
    maps, status = _fields(folder / 'smaps_rollup'), _fields(folder / 'status')
    return Footprint(
        rss=1024 * int(maps['Rss']),
        pss=1024 * int(maps['Pss']),
        anonymous=1024 * int(maps['Anonymous']),
        threads=int(status['Threads']),
        descriptors=len(list((folder / 'fd').iterdir())),
    )


def as_row(taken: Footprint) -> dict[str, int]:
    """Return a footprint as a dictionary."""
    return asdict(taken)


class NodeProcess:
    """Runs the segmentation node with the stand-in segmenter.

    Args:
        log: File for what it prints.
        arguments: Arguments after ``python -m benchmarks.stand_in``.
        environment: Variables that are set beside those of this process.
    """

    def __init__(
        self, log: Path, arguments: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        self.log = log
        self._command = [sys.executable, '-m', 'benchmarks.stand_in', *arguments]
        self._environment = {**os.environ, 'PYTHONUNBUFFERED': '1', **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> 'NodeProcess':
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Process id."""
        if self._process is None:
            raise RuntimeError('The node has not been started.')
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Exit code, ``None`` while it runs."""
        return None if self._process is None else self._process.poll()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; its log is continued."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open('ab') as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )

    def stop(self, grace: float = 10.0) -> float:
        """End it with SIGTERM, or SIGKILL if it does not; return how many seconds it took."""
        began = time.monotonic()
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(grace)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        return time.monotonic() - began

    def faults(self) -> list[str]:
        """Return the lines of its log that tell of something nobody had thought of."""
        text = self.log.read_text(encoding='utf-8', errors='replace')
        return [line for line in text.splitlines() if any(fault in line for fault in FAULTS)]

    def peak_memory(self) -> int:
        """Return the most resident memory it ever had, in bytes."""
        return 1024 * int(_fields(Path('/proc') / str(self.pid) / 'status')['VmHWM'])

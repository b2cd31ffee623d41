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
"""Child processes that end with the program, and DDS domains that parallel runs do not share."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
import ctypes
import fcntl
import os
from pathlib import Path
import random
import signal
import socket
import subprocess
import tempfile
import time
from types import FrameType

DOMAINS = range(1, 101)
"""Domains whose ports lie below those that Linux hands out by itself."""
GRACE = 6.0
"""Seconds between SIGTERM and SIGKILL."""
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


@contextmanager
def interruptible() -> Iterator[None]:
    """Treat SIGTERM like Ctrl-C, so that it ends the processes as well."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def reserved_domain() -> Iterator[int]:
    """Yield a domain id, for ``ROS_DOMAIN_ID``, that nothing else on this machine uses.

    Raises:
        RuntimeError: If all are taken.
    """
    for domain in random.sample(DOMAINS, len(DOMAINS)):
        path = Path(tempfile.gettempdir()) / f'zegclip_ros_domain_{domain}.lock'
        try:
            lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except PermissionError:  # Another user's.
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # Another run's.
            os.close(lock)
            continue
        try:
            if not _in_use(domain):
                yield domain
                return
        finally:
            os.close(lock)
    raise RuntimeError(
        f'Expected a free DDS domain from {DOMAINS[0]} to {DOMAINS[-1]}, but all are in use.'
    )


def _in_use(domain: int) -> bool:
    """Return whether a program listens on the discovery port of a domain's first participant."""
    port = 7400 + 250 * domain + 10  # DDSI-RTPS 2.5, section 9.6.2.3: PB + DG * domain + d1.
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        try:
            probe.bind(('', port))
        except OSError:
            return True
    return False


class Processes:
    """Starts processes, each as the leader of a process group, and ends all of them on exit.

    What they print goes to files ``<name>.log`` in the folder ``logs``.
    """

    def __init__(self, logs: Path, environment: Mapping[str, str]) -> None:
        self._logs = logs
        self._environment = dict(environment)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> 'Processes':
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def log_of(self, name: str) -> Path:
        """Return the file with what a process prints."""
        return self._logs / f'{name}.log'

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start a process under a name; the kernel sends it SIGTERM if this program dies."""
        with self.log_of(name).open('wb') as log:
            self._running[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
                preexec_fn=lambda: _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM),
            )

    def exit_codes(self) -> dict[str, int]:
        """Return the exit codes of the processes that have ended, by name."""
        codes = {name: process.poll() for name, process in self._running.items()}
        return {name: code for name, code in codes.items() if code is not None}

    def stop(self) -> None:
        """End all processes: SIGTERM first, SIGKILL for what is left after a while."""
        self._signal(signal.SIGTERM)
        end = time.monotonic() + GRACE
        for process in self._running.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, end - time.monotonic()))
        # Also for groups whose leader has ended: what it has started may live on.
        self._signal(signal.SIGKILL)
        for process in self._running.values():
            process.wait()

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to all groups that still exist."""
        for process in self._running.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)

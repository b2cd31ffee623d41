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
"""DDS domains that parallel runs on one machine do not share."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
import fcntl
import os
from pathlib import Path
import random
import socket
import tempfile

DOMAINS = range(1, 101)
"""Domains whose ports lie below those that Linux hands out by itself."""


@contextmanager
def reserved_domain() -> Iterator[int]:
    """Reserve a domain id that no other run holds and no program of this machine uses.

    Yields:
        The id, for the environment variable ``ROS_DOMAIN_ID``; free again at the end.

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

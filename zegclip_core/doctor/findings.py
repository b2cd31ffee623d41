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
"""What the doctor finds: a line with a verdict each, without names of users, hosts and folders."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
import getpass
import os
from pathlib import Path
import re
import socket
from typing import Literal

from zegclip_core.errors import shortened
from zegclip_core.files import expanded

Verdict = Literal['ok', 'warning', 'fault']
_LONGEST = 300
"""Characters of a value; errors of other libraries can be pages."""
_PUBLIC = ('/dev/', '/etc/', '/opt/ros/', '/proc/', '/sys/', '/usr/')
"""Folders that are the same on every machine; of any other the last part of the path is shown."""
_FOLDERS = re.compile(r'(?<![\w.~/:])/(?:[^\s:\'"`,;()<>|/]+/)+')
_NO_NAME = {'', 'localhost', 'root'}


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's.

    Attributes:
        section: What it belongs to, such as ``versions``.
        name: What was looked at.
        value: What was found.
        verdict: ``warning`` is what can spoil something, ``fault`` what keeps the package, or the
            nodes where ROS 2 is set up, from working.
        advice: What to do about it; empty if there is nothing.
    """

    section: str
    name: str
    value: str
    verdict: Verdict = 'ok'
    advice: str = ''

    def as_json(self) -> dict[str, str]:
        """Return the fields by their names."""
        return asdict(self)


Check = Callable[[], Iterable[Finding]]
"""Looks at something; what it raises is a fault of what it looked at."""


def guarded(section: str, name: str, check: Check) -> Iterator[Finding]:
    """Yield what a check finds; where it raises, a fault that says what."""
    try:
        yield from check()
    except Exception as error:  # The doctor goes on whatever is broken.
        text = str(error) or 'no text'
        yield Finding(section, name, f'{type(error).__name__}: {text}', 'fault', _REPORT)


_REPORT = 'If the text does not say what to do, report it together with the other lines.'


def private_names() -> list[str]:
    """Return what tells this user and machine from others, longest first: home, account, host."""
    found = {expanded('~'), os.environ.get('HOME', ''), socket.gethostname()}
    found.add(socket.gethostname().partition('.')[0])
    found |= {os.environ.get(key, '') for key in ('USER', 'LOGNAME', 'SUDO_USER', 'HOSTNAME')}
    with suppress(Exception):  # An account without a name, as containers have.
        found.add(getpass.getuser())
    return sorted((name for name in found - _NO_NAME if name != '/'), key=len, reverse=True)


def public(text: str, private: Iterable[str]) -> str:
    """Return a text as one line fit for a bug report.

    Args:
        text: Any text, such as the message of an error.
        private: What it must not hold. Folders are shown as ``~/``, other names as ``<private>``;
            of paths outside the system's folders the last part alone stays.
    """
    text = ' '.join(text.split())
    for name in private:
        if name.startswith('/'):
            text = text.replace(name.rstrip('/') + '/', '~/')
        text = re.sub(rf'(?<!\w){re.escape(name)}(?!\w)', '<private>', text)
    text = _FOLDERS.sub(_shown_folder, text)
    return shortened(re.sub(r'~/(?:[^\s:\'"`,;()<>|/]+/)*', '.../', text), _LONGEST)


def _shown_folder(match: re.Match[str]) -> str:
    """Return a folder if it is the same on every machine."""
    return match[0] if match[0].startswith(_PUBLIC) else '.../'


def published(findings: Iterable[Finding], further: Iterable[Path] = ()) -> Iterator[Finding]:
    """Yield findings fit for a bug report.

    Args:
        findings: As they were found.
        further: Folders that are not to be shown, such as that of a user's model.
    """
    folders = {str(path) for path in further} - {'.', '/'}
    private = [*sorted(folders, key=len, reverse=True), *private_names()]
    for one in findings:
        value, advice = public(one.value, private), public(one.advice, private)
        yield replace(one, value=value, advice=advice)

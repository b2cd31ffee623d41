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
"""What other packages say of themselves to the doctor, each in a process of its own.

The core imports no ROS, and a middleware that is set up wrongly may end a process or hang: a part
is a module that, run by ``python -m``, writes its findings as lines of JSON.
"""

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
import json
import subprocess
import sys
from typing import Any

from zegclip_core.doctor.findings import Finding
from zegclip_core.errors import shortened

PARTS = {'ros': 'zegclip_ros.doctor'}
"""By section, the module that speaks for it."""
LONGEST = 60.0
"""Seconds after which a part that has not ended is."""


def part(section: str, module: str, *, longest: float = LONGEST) -> Iterator[Finding]:
    """Yield what a part finds, and a fault if it ends in another way than with code 0.

    Args:
        section: Of its findings.
        module: Its module.
        longest: Seconds that it may take.
    """
    package = module.partition('.')[0]
    if find_spec(package) is None:
        yield Finding(section, package, 'not part of this installation')
        return
    try:
        done = subprocess.run(
            (sys.executable, '-m', module), capture_output=True, timeout=longest, check=False
        )
        code, out, err = f'code {done.returncode}', done.stdout, done.stderr
    except subprocess.TimeoutExpired as late:
        code, out, err = f'no end after {longest:g} s', late.stdout or b'', late.stderr or b''
    yield from read(section, out.decode('utf-8', 'replace').splitlines())
    if code != 'code 0':
        said = shortened(' '.join(err.decode('utf-8', 'replace').split()[-40:]), 200)
        advice = 'The last line before this one says how far it came.'
        yield Finding(section, package, f'{code}: {said or "no word"}', 'fault', advice)


def write(findings: Iterable[Finding]) -> None:
    """Write findings as a part does, each at once, as the next one may end the process."""
    for one in findings:
        sys.stdout.write(f'{json.dumps(one.as_json())}\n')
        sys.stdout.flush()


def read(section: str, lines: Iterable[str]) -> Iterator[Finding]:
    """Yield the findings among the lines that a part wrote; libraries write others between."""
    for line in lines:
        try:
            fields: Any = json.loads(line)
            one = Finding(**fields)
        except (ValueError, TypeError):
            continue
        if one.section == section and one.verdict in {'ok', 'warning', 'fault'}:
            yield one

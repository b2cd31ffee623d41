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
"""All that the doctor looks at, in order, and how it is shown."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
import json
from pathlib import Path
import re

from zegclip_core import __version__
from zegclip_core.doctor.findings import Check, Finding, guarded, published
from zegclip_core.doctor.plug import part, PARTS
from zegclip_core.doctor.software import requirements, software
from zegclip_core.files import user_path
from zegclip_core.versions import git_commit
from zegclip_core.weights.names import DEFAULT_MODEL

_MARKS = {'ok': 'ok', 'warning': 'WARN', 'fault': 'FAULT'}


def examine(model: str = DEFAULT_MODEL, device: str = 'auto') -> Iterator[Finding]:
    """Yield everything that is found, fit for a bug report; takes some seconds.

    Args:
        model: What labels the one frame; the bundled model's files are looked at in any case.
        device: Where it runs.
    """
    found = (
        one
        for section, name, check in _checks(model, device)
        for one in guarded(section, name, check)
    )
    files = [user_path(name) for name in re.split('[@+]', model) if Path(name).suffix]
    folders = {folder for file in files for folder in (file.parent, file.absolute().parent)}
    return published(found, folders)


def _checks(model: str, device: str) -> Iterator[tuple[str, str, Check]]:
    """Yield section, name and check; what needs PyTorch comes after what says if it is there."""
    yield 'versions', 'software', software
    yield 'packages', 'required', requirements
    yield 'devices', 'processor', _processor
    yield 'devices', 'gpu', _graphics
    for section, module in PARTS.items():
        yield section, module, partial(part, section, module)
    yield 'model', DEFAULT_MODEL, partial(_models, model, device)


def _processor() -> Iterator[Finding]:
    """Yield what the processor is; imports PyTorch."""
    from zegclip_core.doctor.hardware import processor

    return processor()


def _graphics() -> Iterator[Finding]:
    """Yield what the GPUs are; imports PyTorch."""
    from zegclip_core.doctor.hardware import graphics

    return graphics()


def _models(model: str, device: str) -> Iterator[Finding]:
    """Yield what there is of models, and one frame."""
    from zegclip_core.doctor.models import bundled, files_of, frame

    yield from bundled()
    if model != DEFAULT_MODEL:
        yield from files_of(model)
    yield from frame(model, device)


def as_text(findings: Sequence[Finding]) -> str:
    """Return the findings as lines with their verdict, advice below, and how many are not ok."""
    lines, section = [f'zegclip doctor {__version__} ({git_commit() or "no git"})'], ''
    for one in findings:
        if one.section != section:
            section = one.section
            lines.append(f'{section}:')
        lines.append(f'  {_MARKS[one.verdict]:<5} {one.name}: {one.value}')
        if one.advice:
            lines.append(f'        -> {one.advice}')
    faults, warnings = (count(findings, verdict) for verdict in ('fault', 'warning'))
    return '\n'.join([*lines, f'{faults} faults, {warnings} warnings']) + '\n'


def as_json(findings: Sequence[Finding]) -> str:
    """Return the findings as JSON."""
    content = {
        'version': __version__,
        'commit': git_commit(),
        'faults': count(findings, 'fault'),
        'warnings': count(findings, 'warning'),
        'findings': [one.as_json() for one in findings],
    }
    return json.dumps(content, indent=2) + '\n'


def count(findings: Iterable[Finding], verdict: str) -> int:
    """Return how many findings have a verdict."""
    return sum(one.verdict == verdict for one in findings)

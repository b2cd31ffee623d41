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
"""Whether a run may go on from its last checkpoint: only with what it began with."""

from collections.abc import Iterator, Mapping
import logging
from pathlib import Path
from typing import Any

from zegclip_core.errors import ConfigError, shortened
from zegclip_core.settings import Settings
from zegclip_core.training.checkpoints import read_run_checkpoint, RECORD

logger = logging.getLogger(__name__)

Difference = tuple[str, Any, Any]
"""A setting's key with dots, what it is and what it was."""
_FREE = (
    *('name', 'output', 'devices', 'nodes', 'validate', 'settings', 'short_side'),
    *('schedule.stop', 'schedule.validate_every', 'schedule.keep'),
    *('schedule.workers', 'schedule.threads'),
)
"""Settings that say where, on what and how long to run, what is measured, and what the model's
file says beside the weights. With others changed, the weights would be those of no one run."""
_PLACE = 'root'


def begun(last: Path, config: Settings, *, resume: bool) -> dict[str, Any] | None:
    """Return the last checkpoint of a run, to go on from; ``None`` if the run was not begun.

    Raises:
        ConfigError: If there is a run of this name and it is not to go on, or if it is to go on
            with other settings that change what it learns.
        CheckpointError: If the checkpoint cannot be read.
    """
    if not last.is_file():
        return None
    if not resume:
        raise ConfigError(
            f'Expected a run that was not begun, but {last} is there: go on with --resume, '
            f'choose another name, or remove {last.parent}.'
        )
    checkpoint = read_run_checkpoint(last)
    before = checkpoint[RECORD]['config']
    changed = list(_differences(config, before))
    wrong = [entry for entry in changed if not _may_change(*entry)]
    if wrong:
        raise ConfigError(
            f'Expected the settings that {last} began with (only {", ".join(_FREE)} and where '
            f'data lie may change), but got {_told(wrong)}.'
        )
    if changed:
        logger.warning('Going on with %s.', _told(changed))
    return checkpoint


def _may_change(key: str, now: object, before: object) -> bool:
    """Return whether a run may go on with this difference."""
    if key.rpartition('.')[2] == _PLACE:
        return bool(now and before)  # An empty one switches a teacher off.
    return any(f'{key}.'.startswith(f'{free}.') for free in _FREE)


def _differences(
    settings: Settings, before: Mapping[str, Any], where: str = ''
) -> Iterator[Difference]:
    """Yield how settings differ from those of an earlier run, as its checkpoint has them.

    A setting that there was not at that time has what was done then as its default.
    """
    for name, field in type(settings).model_fields.items():
        key = field.alias or name
        if key in before:
            yield from _difference(f'{where}{key}', getattr(settings, name), before[key])


def _difference(key: str, now: Any, before: Any) -> Iterator[Difference]:  # noqa: ANN401
    """Yield how a setting, or what is below it, differs."""
    if isinstance(now, Settings) and isinstance(before, dict):
        yield from _differences(now, before, f'{key}.')
    elif isinstance(now, tuple) and len(now) == len(before) and _are_parts(now):
        for index, (one, other) in enumerate(zip(now, before, strict=True)):
            yield from _difference(f'{key}.{index}', one, other)
    elif now != before:
        yield key, now, before


def _told(differences: list[Difference]) -> str:
    """Say what is different, for a message."""
    return ', '.join(
        f'{key}={_shown(now)} (it was {_shown(before)})' for key, now, before in differences
    )


def _shown(value: Any) -> str:  # noqa: ANN401 - of a setting
    """Return a value for a message, of whole sets of settings how many there are."""
    return f'{len(value)} entries' if _are_parts(value) else shortened(str(value)) or repr(value)


def _are_parts(value: object) -> bool:
    """Return whether a value is several sets of settings, or was when it was stored."""
    return isinstance(value, tuple) and any(isinstance(part, Settings | dict) for part in value)

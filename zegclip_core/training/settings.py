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
"""Settings in YAML files as dataclasses: every key is known and every value checked."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, MISSING
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints, Literal, TypeVar

import yaml
from zegclip_core.errors import ConfigError

T = TypeVar('T')
_BASE = 'base'


def read_values(path: Path) -> dict[str, Any]:
    """Read the settings of a YAML file, on top of those of the file that its ``base`` names.

    Mappings are merged key by key; anything else replaces what the base has.

    Raises:
        ConfigError: If a file cannot be read or holds no settings.
    """
    try:
        values = yaml.safe_load(path.read_text('utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = ' '.join(str(error).split())
        raise ConfigError(f'Cannot read the configuration {path}: {reason}.') from error
    if not isinstance(values, dict):
        raise ConfigError(f'Expected {path} to be a mapping of settings, but got {values!r}.')
    base = values.pop(_BASE, None)
    if base is None:
        return values
    if not isinstance(base, str) or (path.parent / base).resolve() == path.resolve():
        raise ConfigError(f'Expected {_BASE} in {path} to name another file, but got {base!r}.')
    return _merged(read_values(path.parent / base), values)


def _merged(base: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings on top of others."""
    merged = dict(base)
    for key, value in values.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merged(base[key], value) if both else value
    return merged


def override(values: Any, text: str) -> None:  # noqa: ANN401 - whatever YAML holds
    """Put one ``key=value`` into decoded YAML, the key with dots, the value in YAML.

    Raises:
        ConfigError: If it has another form, or the key leads nowhere.
    """
    key, equals, value = text.partition('=')
    if not equals or not key:
        raise ConfigError(f'Expected a setting key=value, but got {text!r}.')
    *parents, last = key.split('.')
    decoded = _decode(value, key)
    for parent in parents:
        if isinstance(values, list):
            values = values[_position(values, parent, key)]
        elif isinstance(values, dict):
            values = values.setdefault(parent, {})
        else:
            raise ConfigError(f'Expected {key} to name a setting, but there is none below it.')
    if isinstance(values, list):
        values[_position(values, last, key)] = decoded
    elif isinstance(values, dict):
        values[last] = decoded
    else:
        raise ConfigError(f'Expected {key} to name a setting, but there is none below it.')


def _decode(value: str, key: str) -> Any:  # noqa: ANN401 - whatever YAML holds
    """Read a value given on the command line."""
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f'Expected a value in YAML for {key}, but got {value!r}.') from error


def _position(values: list[Any], text: str, key: str) -> int:
    if not text.isdigit() or int(text) >= len(values):
        raise ConfigError(
            f'Expected a position from 0 to {len(values) - 1} in {key}, but got {text!r}.'
        )
    return int(text)


def build(kind: type[T], values: object, where: str) -> T:
    """Build a dataclass from decoded YAML.

    Args:
        kind: The dataclass.
        values: What the file holds.
        where: Key of this part, for error messages.

    Raises:
        ConfigError: If a key is unknown or missing, or a value has the wrong type.
    """
    here = where or 'the configuration'
    if not isinstance(values, Mapping):
        raise ConfigError(f'Expected {here} to be a mapping of settings, but got {values!r}.')
    known = {entry.name: entry for entry in fields(kind)}  # type: ignore[arg-type]
    unknown = [str(key) for key in values if key not in known]
    if unknown:
        raise ConfigError(
            f'Expected the keys {", ".join(known)} in {here}, but got {unknown[0]!r}.'
        )
    hints = get_type_hints(kind)
    arguments = {}
    for name, entry in known.items():
        key = f'{where}.{name}' if where else name
        if name in values:
            arguments[name] = _convert(hints[name], values[name], key)
        elif entry.default is MISSING and entry.default_factory is MISSING:
            raise ConfigError(f'Expected a value for {key}, but there is none.')
    return kind(**arguments)


def _convert(hint: Any, value: object, key: str) -> Any:  # noqa: ANN401 - any setting
    """Check a value against its annotation."""
    if is_dataclass(hint):
        return build(hint, value, key)  # type: ignore[arg-type]
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        if value not in inner:
            raise ConfigError(
                f'Expected {key} to be one of {", ".join(inner)}, but got {value!r}.'
            )
        return value
    if origin is UnionType:
        if value is None and NoneType in inner:
            return None
        return _convert(next(part for part in inner if part is not NoneType), value, key)
    if origin is tuple:
        return _convert_tuple(inner, value, key)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ConfigError(f'Expected {key} to be a {hint.__name__}, but got {value!r}.')
    return value


def _convert_tuple(inner: tuple[Any, ...], value: object, key: str) -> tuple[Any, ...]:
    """Check a list against a tuple's annotation."""
    if not isinstance(value, list | tuple):
        raise ConfigError(f'Expected {key} to be a list, but got {value!r}.')
    kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else list(inner)
    if len(kinds) != len(value):
        raise ConfigError(f'Expected {key} to have {len(kinds)} entries, but got {len(value)}.')
    return tuple(
        _convert(kind, entry, f'{key}.{index}')
        for index, (kind, entry) in enumerate(zip(kinds, value, strict=True))
    )

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
"""Settings in YAML files, checked by pydantic models; what is wrong is told in one line."""

from collections.abc import Mapping
from difflib import get_close_matches
from inspect import isclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, TypeVar

from annotated_types import Ge
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
import yaml
from zegclip_core.errors import ConfigError, ZegCLIPError

Positive = Annotated[int, Ge(1)]
"""An integer of at least 1."""
Count = Annotated[int, Ge(0)]
"""An integer of at least 0."""
Factor = Annotated[float, Ge(0)]
"""A number of at least 0."""
_BASE = 'base'
_KINDS = {
    'bool_type': 'true or false',
    'dict_type': 'a mapping of settings',
    'float_type': 'a number',
    'int_type': 'an integer',
    'model_type': 'a mapping of settings',
    'string_type': 'text',
    'tuple_type': 'a list',
}
"""What a value should have been, by pydantic's type of the error."""
_BOUNDS = {
    'gt': 'above',
    'ge': 'at least',
    'lt': 'below',
    'le': 'at most',
    'multiple_of': 'a multiple of',
}


class Settings(BaseModel):
    """Base of every model of settings: keys are known, types exact, numbers finite.

    The text of a ``ValueError`` that a validator raises is either a whole sentence, which begins
    with ``Expected``, or what the value of its field should be, such as ``two rising numbers``.
    """

    model_config = ConfigDict(strict=True, extra='forbid', frozen=True, allow_inf_nan=False)


_Model = TypeVar('_Model', bound=Settings)


def validated(model: type[_Model], values: object, where: str = '') -> _Model:
    """Return settings as a model.

    Args:
        model: The model.
        values: Decoded YAML, whose lists become tuples.
        where: Key of these settings in their file, for error messages; empty for the whole file.

    Raises:
        ConfigError: If a key is unknown or missing, or a value is not allowed.
    """
    try:
        return model.model_validate(_tuples(values))
    except ValidationError as error:
        raise ConfigError(_sentence(error, model, where)) from error


def _tuples(value: Any) -> Any:  # noqa: ANN401 - whatever YAML holds
    """Return decoded YAML with tuples in place of lists, as frozen models hold them."""
    if isinstance(value, list):
        return tuple(_tuples(entry) for entry in value)
    if isinstance(value, dict):
        return {key: _tuples(entry) for key, entry in value.items()}
    return value


def _sentence(error: ValidationError, model: type[Settings], where: str) -> str:
    """Say the first thing that is wrong: what was expected, what is allowed, what was given.

    Unknown keys come first, as a mistyped key is missing under its own name as well.
    """
    found = min(error.errors(), key=lambda entry: entry['type'] != 'extra_forbidden')
    kind, location, context = found['type'], found['loc'], found.get('ctx', {})
    parts = [str(part) for part in location]
    key = '.'.join([where, *parts] if where else parts) or 'the configuration'
    model, field = _field_at(model, location)
    if kind in ('extra_forbidden', 'invalid_key'):
        here = key.rpartition('.')[0] or 'the configuration'
        names = [entry.alias or name for name, entry in model.model_fields.items()]
        close = ''.join(get_close_matches(parts[-1], names, 1))
        hint = f' (did you mean {close}?)' if close else ''
        return f'Expected the keys {", ".join(names)} in {here}, but got {parts[-1]!r}{hint}.'
    if kind == 'missing':
        return f'Expected a value for {key}, but there is none.'
    if kind in ('too_short', 'too_long'):
        count = context.get('max_length', context.get('min_length'))
        entries = 'entries' if count > 1 else 'entry'
        limit = 'at least ' if kind == 'too_short' else ''
        return f'Expected {key} to have {limit}{count} {entries}, but got {len(found["input"])}.'
    if kind == 'value_error' and str(context['error']).startswith('Expected'):
        return str(context['error'])
    value = found['input']
    shown = list(value) if isinstance(value, tuple) else value
    return f'Expected {key} to be {_allowed(kind, field, context)}, but got {shown!r}.'


def _field_at(
    model: type[Settings], location: tuple[int | str, ...]
) -> tuple[type[Settings], FieldInfo | None]:
    """Return the innermost model that a place of pydantic's lies in, and the field of it."""
    field = None
    parts = iter(location)
    for part in parts:
        fields = {entry.alias or name: entry for name, entry in model.model_fields.items()}
        field = fields.get(str(part))
        if field is None:
            break
        inner = get_args(field.annotation)
        models = [kind for kind in (field.annotation, *inner) if isclass(kind)]
        models = [kind for kind in models if issubclass(kind, Settings)]
        if get_origin(field.annotation) in (dict, tuple) and next(parts, None) is None:
            break
        model = next(iter(models), model)
    return model, field


def _allowed(kind: str, field: FieldInfo | None, context: Mapping[str, Any]) -> str:
    """Return what values a field may have."""
    if kind in _KINDS:
        return _KINDS[kind]
    if kind == 'value_error':
        return str(context['error'])
    if kind == 'literal_error':
        return f'one of {", ".join(map(str, get_args(field.annotation)))}' if field else ''
    bounds = {
        name: getattr(rule, name)
        for rule in (field.metadata if field else ())
        for name in _BOUNDS
        if hasattr(rule, name)
    }
    bounds = bounds or {name: context[name] for name in _BOUNDS if name in context}
    texts = [f'{_BOUNDS[name]} {bound:g}' for name, bound in bounds.items()]
    return ' and '.join(texts) or 'a finite number'


def read_yaml(
    path: Path, what: str = 'configuration', kind: type[ZegCLIPError] = ConfigError
) -> Any:  # noqa: ANN401 - whatever YAML holds
    """Return what a YAML file holds.

    Args:
        path: The file.
        what: What it is, for error messages.
        kind: The error to raise if it cannot be read.
    """
    try:
        return yaml.safe_load(path.read_text('utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = ' '.join(str(error).split())
        raise kind(f'Cannot read the {what} {path}: {reason}.') from error


def read_values(path: Path) -> dict[str, Any]:
    """Read the settings of a YAML file, on top of those of the file that its ``base`` names.

    Mappings are merged key by key; anything else replaces what the base has.

    Raises:
        ConfigError: If a file cannot be read or holds no settings.
    """
    values = read_yaml(path)
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
    try:
        decoded = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f'Expected a value in YAML for {key}, but got {value!r}.') from error
    *parents, last = key.split('.')
    for parent in parents:
        place = _place(values, parent, key)
        values = values.setdefault(place, {}) if isinstance(values, dict) else values[place]
    values[_place(values, last, key)] = decoded


def _place(values: object, part: str, key: str) -> Any:  # noqa: ANN401 - name or position
    """Return a part of a dotted key as what a mapping or a list is asked for."""
    if isinstance(values, dict):
        return part
    if not isinstance(values, list):
        raise ConfigError(f'Expected {key} to name a setting, but there is none below it.')
    if not part.isdigit() or int(part) >= len(values):
        raise ConfigError(
            f'Expected a position from 0 to {len(values) - 1} in {key}, but got {part!r}.'
        )
    return int(part)

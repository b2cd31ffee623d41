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

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from inspect import isclass
from pathlib import Path
from typing import Annotated, Any, get_args, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
import yaml
from zegclip_core.errors import ConfigError, shortened, ZegCLIPError
from zegclip_core.files import expanded, read_text, user_path

Positive = Annotated[int, Field(ge=1)]
"""An integer of at least 1."""
Count = Annotated[int, Field(ge=0)]
"""An integer of at least 0."""
Factor = Annotated[float, Field(ge=0)]
"""A number of at least 0."""
PathText = Annotated[str, AfterValidator(expanded)]
"""A path as a user writes it, with the home folder in place of ``~``; empty for none."""
_MOST_VALUES = 100_000
"""Values that a file in YAML may hold, so that its aliases cannot stand for millions."""
_LONGEST = 200
"""Letters of a value in an error."""
_BASE = 'base'
_WORDS = (
    ('a valid boolean', 'true or false'),
    ('a valid dictionary', 'a mapping of settings'),
    ('a valid string', 'text'),
    ('a valid tuple', 'a list'),
    ('a valid ', 'a '),
    ('a integer', 'an integer'),
    ('greater than or equal to', 'at least'),
    ('greater than', 'above'),
    ('less than or equal to', 'at most'),
    ('less than', 'below'),
)
"""Terms of pydantic, and what they are called in a YAML file."""


class Settings(BaseModel):
    """Base of every model of settings: keys are known, types exact, numbers finite.

    The text of a ``ValueError`` that a validator raises is either a whole sentence, which begins
    with ``Expected``, or what the value of its field should be, such as ``two rising numbers``.
    """

    model_config = ConfigDict(strict=True, extra='forbid', frozen=True, allow_inf_nan=False)


_Model = TypeVar('_Model', bound=Settings)


def validated(model: type[_Model], values: object, where: str = '') -> _Model:
    """Return decoded YAML, whose lists become tuples, as a model.

    ``where`` is the key of these settings in their file, for error messages.

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
    kind, context, value = found['type'], found.get('ctx', {}), found['input']
    parts = [str(part) for part in found['loc']]
    key = '.'.join([where, *parts] if where else parts) or 'the configuration'
    if kind in ('extra_forbidden', 'invalid_key'):
        here = key.rpartition('.')[0] or 'the configuration'
        names = _known_keys(model, parts)
        hint = ''.join(
            f' (did you mean {name}?)' for name in get_close_matches(parts[-1], names, 1)
        )
        return f'Expected the keys {", ".join(names)} in {here}, but got {parts[-1]!r}{hint}.'
    if kind == 'missing':
        return f'Expected a value for {key}, but there is none.'
    if kind in ('too_short', 'too_long'):
        limit = (
            f'at least {context["min_length"]}' if kind == 'too_short' else context['max_length']
        )
        return f'Expected {key} to have {limit} entries, but got {len(value)}.'
    allowed = found['msg'].removeprefix('Input should be ')
    if kind == 'value_error':
        allowed = str(context['error'])
        if allowed.startswith('Expected'):
            return allowed
    if kind == 'model_type':
        allowed = 'a mapping of settings'
    for theirs, ours in _WORDS:
        allowed = allowed.replace(theirs, ours)
    shown = list(value) if isinstance(value, tuple) else value
    return f'Expected {key} to be {allowed}, but got {shortened(repr(shown), _LONGEST)}.'


def _known_keys(model: type[Settings], location: Sequence[str]) -> list[str]:
    """Return the keys of the innermost model that a place in settings leads to."""
    for part in location:
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        kind = fields[part].annotation if part in fields else None
        inner = [entry for entry in (kind, *get_args(kind)) if isclass(entry)]
        model = next((entry for entry in inner if issubclass(entry, Settings)), model)
    return [field.alias or name for name, field in model.model_fields.items()]


def read_yaml(
    path: Path, what: str = 'configuration', kind: type[ZegCLIPError] = ConfigError
) -> Any:  # noqa: ANN401 - whatever YAML holds
    """Return what a YAML file holds; ``what`` it is says the error of that kind otherwise."""
    text = read_text(path, f'the {what}', kind)
    try:
        return _decoded(text)
    except ConfigError as error:
        raise kind(f'Cannot read the {what} {path}: {error}.') from error


def _decoded(text: str) -> Any:  # noqa: ANN401 - whatever YAML holds
    """Return what a text in YAML holds; a ``ConfigError`` says the end of a sentence."""
    try:
        values = yaml.safe_load(text)
        count = _count(values, {})
    # A date that is none, or a number of thousands of digits, is a plain ValueError.
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(' '.join(str(error).split()).rstrip('.')) from error
    except RecursionError as error:
        raise ConfigError('its values lie too deep in one another') from error
    if count > _MOST_VALUES:
        raise ConfigError(f'its aliases stand for more than {_MOST_VALUES} values')
    return values


def _count(value: Any, known: dict[int, int]) -> int:  # noqa: ANN401
    """Return how many values there are, those behind aliases as often as they stand there."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        known[id(value)] = _MOST_VALUES + 1  # Of what holds itself there is no end.
        parts = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_count(part, known) for part in parts)
    return known[id(value)]


def read_values(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read the settings of a YAML file, on top of those of the file that its ``base`` names.

    Mappings are merged key by key; anything else replaces what the base has.

    Args:
        path: The file.
        above: The files that build on it, resolved.

    Raises:
        ConfigError: If a file cannot be read or holds no settings.
    """
    values = read_yaml(path)
    if not isinstance(values, dict):
        given = shortened(repr(values), _LONGEST)
        raise ConfigError(f'Expected {path} to be a mapping of settings, but got {given}.')
    base = values.pop(_BASE, None)
    if base is None:
        return values
    above = (*above, path.resolve())
    below = path.parent / user_path(base) if isinstance(base, str) else path
    if below.resolve() in above:
        raise ConfigError(f'Expected {_BASE} in {path} to name another file, but got {base!r}.')
    return _merged(read_values(below, above), values)


def read_settings(model: type[_Model], path: str | Path, overrides: Sequence[str] = ()) -> _Model:
    """Read settings of a model from a file, and change them.

    Args:
        model: What they are settings of.
        path: YAML file; where it has no settings, those of the file that its ``base`` names hold.
        overrides: ``key=value`` texts, the key with dots (``schedule.steps=100``,
            ``train.0.root=/data``), the value in YAML.

    Raises:
        ConfigError: If the file cannot be read, a key is not known, or a value not allowed.
    """
    values = read_values(user_path(path))
    for text in overrides:
        override(values, text)
    return validated(model, values)


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
        decoded = _decoded(value)
    except ConfigError as error:
        given = shortened(repr(value))
        raise ConfigError(f'Expected a value in YAML for {key}, but got {given}.') from error
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

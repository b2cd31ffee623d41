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
"""Requests that a node's services should refuse, for the fuzz test: parameters, life cycle."""

from array import array
from collections.abc import Callable
from dataclasses import dataclass
import math
from typing import Any

from hypothesis import strategies as st
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetAvailableStates, GetState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    GetParameterTypes,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)
from zegclip_core.errors import VocabularyError
from zegclip_core.messages.topic_names import topic_tokens
from zegclip_core.options import MAX_CLASSES
from zegclip_core.text.negatives import clean_negatives
from zegclip_core.text.vocabulary import Vocabulary

FIELDS = {
    ParameterType.PARAMETER_BOOL: 'bool_value',
    ParameterType.PARAMETER_INTEGER: 'integer_value',
    ParameterType.PARAMETER_DOUBLE: 'double_value',
    ParameterType.PARAMETER_STRING: 'string_value',
    ParameterType.PARAMETER_BYTE_ARRAY: 'byte_array_value',
    ParameterType.PARAMETER_BOOL_ARRAY: 'bool_array_value',
    ParameterType.PARAMETER_INTEGER_ARRAY: 'integer_array_value',
    ParameterType.PARAMETER_DOUBLE_ARRAY: 'double_array_value',
    ParameterType.PARAMETER_STRING_ARRAY: 'string_array_value',
}
"""The field of a ``ParameterValue`` that holds the value, by the type that it names."""

KINDS = {
    **dict.fromkeys(('autostart', 'lazy', 'use_sim_time'), ParameterType.PARAMETER_BOOL),
    **dict.fromkeys(
        ('short_side', 'candidates', 'threads', 'jpeg_quality', 'max_mask_topics'),
        ParameterType.PARAMETER_INTEGER,
    ),
    **dict.fromkeys(('overlay_alpha', 'min_rate', 'threshold'), ParameterType.PARAMETER_DOUBLE),
    **dict.fromkeys(
        ('model', 'device', 'precision', 'vocabulary_file', 'image_transport', 'backend'),
        ParameterType.PARAMETER_STRING,
    ),
    **dict.fromkeys(
        ('image_reliability', 'overlay_palette', 'attention', 'templates'),
        ParameterType.PARAMETER_STRING,
    ),
    **dict.fromkeys(('class_names', 'cameras', 'negatives'), ParameterType.PARAMETER_STRING_ARRAY),
}
"""The parameters of the node and their types."""

LIVE = {'class_names', 'image_reliability', 'jpeg_quality', 'lazy', 'min_rate', 'overlay_alpha'}
LIVE |= {'overlay_palette', 'threshold', 'negatives'}
"""Those that may be changed while it runs."""

CHOICES = {
    'image_reliability': ('auto', 'system_default', 'reliable', 'best_effort'),
    'overlay_palette': ('by_name', 'color_blind', 'pascal_voc'),
}
VALID_TRANSITIONS = {'deactivate', 'shutdown', 'active_shutdown'}


@dataclass(frozen=True)
class HostileRequest:
    """A call of one of the node's services.

    Attributes:
        service: Name of the service below the node's own name.
        kind: Its type.
        content: The request.
    """

    service: str
    kind: Any
    content: Any


def value_of(value: ParameterValue) -> Any:  # noqa: ANN401 - as many types as parameters have
    """Return the value that a parameter's message holds, ``None`` for one that holds none."""
    field = FIELDS.get(value.type)
    content = None if field is None else getattr(value, field)
    return list(content) if isinstance(content, list | array) else content


def parameter(name: str, kind: int, value: Any = None) -> Parameter:  # noqa: ANN401
    """Return a parameter with a value of a type; ``None`` leaves the value at its default."""
    content = ParameterValue(type=kind)
    if value is not None:
        setattr(content, FIELDS[kind], value)
    return Parameter(name=name, value=content)


def words_of(names: list[str]) -> tuple[str, ...] | None:
    """Return the names that the parameter ``class_names`` leads to, ``None`` if it is wrong."""
    try:
        vocabulary = Vocabulary.from_words(names)
        topic_tokens(vocabulary.names)
    except VocabularyError:
        return None
    return vocabulary.names


def _number_verdict(name: str, value: float) -> bool | None:
    if name == 'jpeg_quality':
        return 1 <= value <= 100
    least = -1 if name == 'threshold' else 0
    if not math.isfinite(value) or value < least:
        return False
    if name in {'overlay_alpha', 'threshold'}:
        return value <= 1
    return True if value <= 100 else None


def verdict(one: Parameter) -> bool | None:
    """Return whether a running node is to accept a parameter, ``None`` if it may do either."""
    name, value = one.name, value_of(one.value)
    if name not in KINDS or one.value.type != KINDS[name]:
        return False
    if name == 'use_sim_time':
        return None
    if name not in LIVE:
        return None  # Only the value that it has; whether it stays is checked.
    if name == 'class_names':
        blank = not value or any(not text.strip() for text in value)
        return None if blank else words_of(value) is not None
    if name == 'negatives':
        return _can_compete(value) if value else None
    if name in CHOICES:
        return value in CHOICES[name]
    return True if name == 'lazy' else _number_verdict(name, value)


def _can_compete(words: list[str]) -> bool:
    try:
        return len(clean_negatives([word for word in words if word.strip()])) <= MAX_CLASSES
    except VocabularyError:
        return False


def _set(*parameters: Parameter, atomically: bool = False) -> HostileRequest:
    if atomically:
        content = SetParametersAtomically.Request(parameters=list(parameters))
        return HostileRequest('set_parameters_atomically', SetParametersAtomically, content)
    return HostileRequest(
        'set_parameters', SetParameters, SetParameters.Request(parameters=list(parameters))
    )


_TEXTS = st.one_of(
    st.sampled_from(['', 'auto', 'reliable ', 'AUTO', '../../etc/passwd', '$(reboot)', 'cuda:99']),
    st.text(st.characters(exclude_categories=['Cs'], exclude_characters='\0'), max_size=30),
)
_INTEGERS = st.one_of(
    st.sampled_from([0, -1, 1, 100, 101, 254, 255, 2048, 2**31, 2**63 - 1, -(2**63)]),
    st.integers(-(2**63), 2**63 - 1),
)
_DOUBLES = st.one_of(
    st.sampled_from(
        [0.0, -0.0, 0.5, 1.0, 1.0 + 1e-9, -1e-9, math.nan, math.inf, -math.inf, 5e-324]
    ),
    st.floats(),
)
_BYTES = st.integers(0, 255).map(lambda number: bytes([number]))
VALUES = {
    ParameterType.PARAMETER_NOT_SET: st.none(),
    ParameterType.PARAMETER_BOOL: st.booleans(),
    ParameterType.PARAMETER_INTEGER: _INTEGERS,
    ParameterType.PARAMETER_DOUBLE: _DOUBLES,
    ParameterType.PARAMETER_STRING: _TEXTS,
    ParameterType.PARAMETER_BYTE_ARRAY: st.lists(_BYTES, max_size=5),
    ParameterType.PARAMETER_BOOL_ARRAY: st.lists(st.booleans(), max_size=5),
    ParameterType.PARAMETER_INTEGER_ARRAY: st.lists(_INTEGERS, max_size=5),
    ParameterType.PARAMETER_DOUBLE_ARRAY: st.lists(_DOUBLES, max_size=5),
    ParameterType.PARAMETER_STRING_ARRAY: st.lists(_TEXTS, max_size=5),
}
_ODD_NAMES = ('', ' ', 'Model', 'model ', 'a.b.c', 'qos_overrides./image.depth', 'é', 'x' * 300)


@st.composite
def _parameters(draw: Callable[..., Any]) -> Parameter:
    """Draw a parameter: any value of the right type, of another, or of one that does not exist."""
    name = draw(st.one_of(st.sampled_from(sorted(KINDS)), st.sampled_from(_ODD_NAMES), _TEXTS))
    kinds = st.one_of(
        st.just(KINDS.get(name, ParameterType.PARAMETER_BOOL)),
        st.just(KINDS.get(name, ParameterType.PARAMETER_BOOL)),
        st.sampled_from(sorted(VALUES)),
        st.integers(10, 255),
    )
    kind = draw(kinds)
    one = parameter(name, kind, draw(VALUES[kind]) if kind in VALUES else None)
    # A camera's publisher would have to be matched anew, and a clock would have to be played.
    if name in {'image_reliability', 'use_sim_time'} and verdict(one) is not False:
        return parameter(name, ParameterType.PARAMETER_STRING, 'none of these')
    return one


_NAMES = st.lists(st.one_of(st.sampled_from(sorted(KINDS)), _TEXTS), max_size=4)


def _change(number: int, label: str) -> HostileRequest:
    request = ChangeState.Request(transition=Transition(id=number, label=label))
    return HostileRequest('change_state', ChangeState, request)


_LABELS = st.one_of(
    st.sampled_from(['configure', 'activate', 'create', 'Deactivate', 'transition_error', ' ']),
    _TEXTS.filter(lambda text: bool(text) and text not in VALID_TRANSITIONS),
)
_LEADING_AWAY = {
    Transition.TRANSITION_DEACTIVATE,
    Transition.TRANSITION_ACTIVE_SHUTDOWN,
}
_CHANGES = st.one_of(
    st.builds(_change, st.integers(0, 255), _LABELS),
    st.builds(
        _change,
        st.integers(0, 255).filter(lambda number: number not in _LEADING_AWAY),
        st.just(''),
    ),
)


def _asking(service: str, kind: Any) -> st.SearchStrategy[HostileRequest]:  # noqa: ANN401
    return st.builds(
        lambda names: HostileRequest(service, kind, kind.Request(names=names)), _NAMES
    )


REQUESTS = st.one_of(
    st.lists(_parameters(), max_size=4).map(lambda parameters: _set(*parameters)),
    _parameters().map(_set),
    _parameters().map(_set),
    st.lists(_parameters(), max_size=3, unique_by=lambda one: one.name).map(
        lambda parameters: _set(*parameters, atomically=True)
    ),
    _CHANGES,
    _asking('get_parameters', GetParameters),
    _asking('get_parameter_types', GetParameterTypes),
    _asking('describe_parameters', DescribeParameters),
    st.builds(
        lambda prefixes, depth: HostileRequest(
            'list_parameters',
            ListParameters,
            ListParameters.Request(prefixes=prefixes, depth=depth),
        ),
        _NAMES,
        st.one_of(st.integers(0, 5), st.integers(0, 2**64 - 1)),
    ),
)
"""Requests that lead to nothing, or to a value that is allowed."""


def made_requests() -> list[HostileRequest]:
    """Return hostile requests that chance would hardly find."""
    names, words = ParameterType.PARAMETER_STRING_ARRAY, 'class_names'
    double, text = ParameterType.PARAMETER_DOUBLE, ParameterType.PARAMETER_STRING
    alpha = 'overlay_alpha'
    return [
        *(
            _set(parameter(name, kind))
            for name in sorted(KINDS)
            for kind in (*range(12), 42, 255)
            if verdict(parameter(name, kind)) is False
        ),
        *(_set(parameter(alpha, double, value)) for value in (math.nan, math.inf, -0.1, 1.0001)),
        *(_set(parameter('min_rate', double, value)) for value in (math.nan, math.inf, -1.0)),
        *(_set(parameter('threshold', double, value)) for value in (math.nan, 1.1, -1.1, -1.0)),
        _set(parameter('negatives', names, ['x' * 201])),
        _set(parameter('negatives', names, ['wall', '\x07'])),
        _set(parameter('negatives', names, ['auto'])),
        _set(parameter('negatives', names, [f'thing {number}' for number in range(100_000)])),
        _set(parameter(words, names, ['dog', 'DOG'])),
        _set(parameter(words, names, ['x' * 201])),
        _set(parameter(words, names, ['traffic light', 'traffic-light'])),
        _set(parameter(words, names, [f'thing {number}' for number in range(100_000)])),
        _set(parameter(words, names, ['$(reboot)', '../../etc/passwd'])),
        # None of them or all: the words must not change.
        _set(parameter(words, names, ['cow']), parameter(alpha, double, 7.0), atomically=True),
        _set(parameter(alpha, double, 0.25), parameter(words, names, ['a', 'A']), atomically=True),
        # One by one: the first one counts.
        _set(parameter(words, names, ['cow', 'hen']), parameter(alpha, double, 7.0)),
        _set(parameter('model', text, 'x' * 1_000_000)),
        _set(parameter('model', text, '/dev/zero')),
        _set(parameter('vocabulary_file', text, '/etc/passwd')),
        _set(parameter(alpha, ParameterType.PARAMETER_DOUBLE_ARRAY, [0.5] * 100_000)),
        _set(*(parameter(alpha, double, 0.5) for _ in range(1_000))),
        _set(),
        _set(atomically=True),
        *(_change(number, '') for number in (0, 1, 2, 3, 5, 6, 8, 9, 10, 50, 97, 98, 99, 255)),
        HostileRequest('get_state', GetState, GetState.Request()),
        HostileRequest('get_available_states', GetAvailableStates, GetAvailableStates.Request()),
    ]

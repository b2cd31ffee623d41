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
"""Hostile requests to the node's services, and which of them it has to accept."""

from collections.abc import Callable
import math
import re
from typing import Any, NamedTuple

from benchmarks.hostile_words import expected_names
from hypothesis import strategies as st
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetAvailableStates, GetState
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    GetParameterTypes,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)
from rclpy.parameter import Parameter as Typed
from rclpy.parameter import parameter_value_to_python
from std_srvs.srv import SetBool
from zegclip_core.errors import VocabularyError
from zegclip_core.options import MAX_CLASSES
from zegclip_core.text.negatives import clean_negatives

Type = Typed.Type
Strategy = st.SearchStrategy[Any]
_OF_TYPE = {
    Type.BOOL: 'autostart lazy use_sim_time stable_ids label_info_every_image overlay_regions '
    'points_organised',
    Type.INTEGER: 'short_side candidates threads jpeg_quality max_mask_topics min_area '
    'sharp_edges',
    Type.DOUBLE: 'overlay_alpha min_rate threshold smoothing depth_tolerance',
    Type.STRING: 'model device precision vocabulary_file image_transport backend attention '
    'templates image_reliability overlay_palette output_size confidence_encoding points_color',
    Type.STRING_ARRAY: 'class_names cameras negatives',
}
TYPES = {name: kind.value for kind, names in _OF_TYPE.items() for name in names.split()}
"""The parameters of the node and their types."""


def _can_compete(words: list[str]) -> bool | None:
    """Return whether negative words are to be accepted; no words may be or not."""
    try:
        count = len(clean_negatives([word for word in words if word.strip()]))
    except VocabularyError:
        return False
    return count <= MAX_CLASSES if words else None


def _are_classes(words: list[str]) -> bool | None:
    """Return whether class names are to be accepted; none or blank ones may be or not."""
    blank = not words or any(not word.strip() for word in words)
    return None if blank else expected_names(words) is not None


# Sides of 1 to 8192 pixels.
_SIDE = '(?:[1-9][0-9]{0,2}|[1-7][0-9]{3}|80[0-9]{2}|81[0-8][0-9]|819[0-2])'
_SIZE = re.compile(f'{_SIDE}x{_SIDE}', re.ASCII)
LIVE: dict[str, Callable[[Any], bool | None]] = {
    'class_names': _are_classes,
    'negatives': _can_compete,
    'lazy': lambda value: True,
    'image_reliability': ('auto', 'system_default', 'reliable', 'best_effort').__contains__,
    'output_size': lambda value: bool(_SIZE.fullmatch(value)) or value in {'camera', 'cloud'},
    'confidence_encoding': ('32FC1', 'mono8').__contains__,
    'stable_ids': lambda value: None if value else True,  # On: not with too many words.
    'label_info_every_image': lambda value: True,
    'overlay_regions': lambda value: True,
    'points_organised': lambda value: True,
    'points_color': ('image', 'overlay').__contains__,
    'depth_tolerance': lambda value: 0.0 <= value <= 1.0,
    'min_area': lambda value: 1 <= value <= 100_000,
    'overlay_palette': ('by_name', 'color_blind', 'pascal_voc').__contains__,
    'jpeg_quality': lambda value: 1 <= value <= 100,
    'overlay_alpha': lambda value: 0.0 <= value <= 1.0,
    'threshold': lambda value: -1.0 <= value <= 1.0,
    'min_rate': lambda value: 0.0 <= value <= 1000.0,
}
"""Whether a value has to be accepted, for parameters that may be changed while the node runs."""


class HostileRequest(NamedTuple):
    """A call of one of the node's services.

    Attributes:
        service: Name of the service below the node's own name.
        kind: Its type.
        content: The request.
    """

    service: str
    kind: Any
    content: Any


def parameter(name: str, kind: int, value: Any = None) -> Parameter:  # noqa: ANN401 - any type
    """Return a parameter with a value of a type; ``None`` leaves the value at its default."""
    content = ParameterValue(type=kind)
    if value is not None:
        setattr(content, f'{Type(kind).name.lower()}_value', value)
    return Parameter(name=name, value=content)


def verdict(one: Parameter) -> bool | None:
    """Return whether a running node has to accept a parameter, ``None`` if it may do either."""
    if TYPES.get(one.name) != one.value.type:
        return False
    # Others keep their value: the node may accept that same value or refuse any.
    accepts = LIVE.get(one.name)
    return None if accepts is None else accepts(parameter_value_to_python(one.value))


def _set(*parameters: Parameter, atomically: bool = False) -> HostileRequest:
    kind = SetParametersAtomically if atomically else SetParameters
    name = 'set_parameters_atomically' if atomically else 'set_parameters'
    return HostileRequest(name, kind, kind.Request(parameters=list(parameters)))


def _change(number: int, label: str) -> HostileRequest:
    request = ChangeState.Request(transition=Transition(id=number, label=label))
    return HostileRequest('change_state', ChangeState, request)


def _enable(on: bool) -> HostileRequest:
    return HostileRequest('enable', SetBool, SetBool.Request(data=on))


_TEXTS = st.one_of(
    st.sampled_from(['', 'auto', 'reliable ', 'AUTO', '../../etc/passwd', '$(reboot)', 'cuda:99']),
    st.text(st.characters(exclude_categories=['Cs'], exclude_characters='\0'), max_size=30),
)
_SIZES = st.sampled_from(
    [*('camera', '6x4', '1x1', '400x200', '1x8192', '1x8193', '0x4', '4x', '+4x4', '4x4 ', '٤x4')]
)
_INTEGERS = st.one_of(
    st.sampled_from([0, -1, 1, 100, 101, 254, 255, 2048, 2**31, 2**63 - 1, -(2**63)]),
    st.integers(-(2**63), 2**63 - 1),
)
_DOUBLES = st.one_of(st.sampled_from([0.0, -0.0, 0.5, 1.0, 1.0 + 1e-9, -1e-9]), st.floats())
_SCALARS: dict[Type, Strategy] = {
    Type.BOOL: st.booleans(),
    Type.INTEGER: _INTEGERS,
    Type.DOUBLE: _DOUBLES,
    Type.STRING: _TEXTS,
}
_VALUES: dict[int, Strategy] = {
    Type.NOT_SET.value: st.none(),
    Type.BYTE_ARRAY.value: st.lists(st.binary(min_size=1, max_size=1), max_size=5),
    **{kind.value: values for kind, values in _SCALARS.items()},
    **{
        getattr(Type, f'{kind.name}_ARRAY').value: st.lists(values, max_size=5)
        for kind, values in _SCALARS.items()
    },
}
_ODD_NAMES = ('', ' ', 'Model', 'model ', 'a.b.c', 'qos_overrides./image.depth', 'é', 'x' * 300)


@st.composite
def _parameters(draw: Callable[..., Any]) -> Parameter:
    """Draw a parameter: any value of the right type, of another, or of one that does not exist."""
    name = draw(st.one_of(st.sampled_from(sorted(TYPES)), st.sampled_from(_ODD_NAMES), _TEXTS))
    right = st.just(TYPES.get(name, Type.BOOL.value))
    kind = draw(st.one_of(right, right, st.sampled_from(sorted(_VALUES)), st.integers(10, 255)))
    one = parameter(name, kind, draw(_VALUES[kind]) if kind in _VALUES else None)
    if name == 'output_size' and kind == Type.STRING.value:
        return parameter(name, kind, draw(_SIZES))  # No clouds come here.
    # A camera's publisher would have to be matched anew, and a clock would have to be played.
    if name in {'image_reliability', 'use_sim_time'} and verdict(one) is not False:
        return parameter(name, Type.STRING.value, 'none of these')
    return one


def _changes() -> Strategy:
    """Return a strategy for transitions that do not exist or do not fit the active state."""
    valid = {'deactivate', 'shutdown', 'active_shutdown'}
    labels = st.one_of(
        st.sampled_from(['configure', 'activate', 'create', 'Deactivate', 'transition_error']),
        _TEXTS.filter(lambda text: bool(text) and text not in valid),
    )
    leading_away = {Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVE_SHUTDOWN}
    numbers = st.integers(0, 255)
    return st.one_of(
        st.builds(_change, numbers, labels),
        st.builds(_change, numbers.filter(lambda one: one not in leading_away), st.just('')),
    )


def _questions() -> Strategy:
    """Return a strategy for questions about parameters."""
    names = st.lists(st.one_of(st.sampled_from(sorted(TYPES)), _TEXTS), max_size=4)
    asking = {
        'get_parameters': GetParameters,
        'get_parameter_types': GetParameterTypes,
        'describe_parameters': DescribeParameters,
    }
    return st.one_of(
        st.sampled_from(sorted(asking)).flatmap(
            lambda service: names.map(
                lambda some: HostileRequest(
                    service, asking[service], asking[service].Request(names=some)
                )
            )
        ),
        st.builds(
            lambda some, depth: HostileRequest(
                'list_parameters',
                ListParameters,
                ListParameters.Request(prefixes=some, depth=depth),
            ),
            names,
            st.one_of(st.integers(0, 5), st.integers(0, 2**64 - 1)),
        ),
    )


REQUESTS: Strategy = st.one_of(
    st.lists(_parameters(), max_size=4).map(lambda parameters: _set(*parameters)),
    _parameters().map(_set),
    st.lists(_parameters(), max_size=3, unique_by=lambda one: one.name).map(
        lambda parameters: _set(*parameters, atomically=True)
    ),
    _changes(),
    _questions(),
    st.booleans().map(_enable),
)
"""Requests that lead to nothing, to a value that is allowed, or to a pause."""


def made_requests() -> list[HostileRequest]:
    """Return requests that chance would hardly find."""
    names, words, alpha = Type.STRING_ARRAY.value, 'class_names', 'overlay_alpha'
    double, text = Type.DOUBLE.value, Type.STRING.value
    many = [f'thing {number}' for number in range(100_000)]
    doubles = {
        alpha: (math.nan, math.inf, -0.1, 1.0001),
        'min_rate': (math.nan, math.inf, -1.0),
        'threshold': (math.nan, 1.1, -1.1, -1.0),
    }
    sizes = (
        '0x0',
        '9999x9999',
        '-1x4',
        '4x4x4',
        'x',
        '4x4\n',
        'CAMERA',
        '4' * 10_000,
        '3x5',
        'camera',
    )
    lists = {
        'negatives': (['x' * 201], ['wall', '\x07'], ['auto'], many),
        words: (['dog', 'DOG'], ['x' * 201], ['traffic light', 'traffic-light'], many),
    }
    return [
        *(
            _set(parameter(name, kind))
            for name in sorted(TYPES)
            for kind in (*range(12), 42, 255)
            if kind != TYPES[name]
        ),
        *(_set(parameter(name, double, one)) for name, some in doubles.items() for one in some),
        *(_set(parameter('output_size', text, one)) for one in sizes),
        *(_set(parameter('stable_ids', Type.BOOL.value, one)) for one in (True, False)),
        *(_set(parameter('min_area', Type.INTEGER.value, one)) for one in (0, 100_001, 1)),
        *(_set(parameter(name, names, one)) for name, some in lists.items() for one in some),
        _set(parameter(words, names, ['$(reboot)', '../../etc/passwd'])),
        # None of them or all: the words must not change.
        _set(parameter(words, names, ['cow']), parameter(alpha, double, 7.0), atomically=True),
        _set(parameter(alpha, double, 0.25), parameter(words, names, ['a', 'A']), atomically=True),
        # One by one: the first one counts.
        _set(parameter(words, names, ['cow', 'hen']), parameter(alpha, double, 7.0)),
        _set(parameter('model', text, 'x' * 1_000_000)),
        _set(parameter('model', text, '/dev/zero')),
        _set(parameter('vocabulary_file', text, '/etc/passwd')),
        _set(parameter(alpha, Type.DOUBLE_ARRAY.value, [0.5] * 100_000)),
        _set(*(parameter(alpha, double, 0.5) for _ in range(1_000))),
        *(_set(), _set(atomically=True)),
        *(_change(number, '') for number in (0, 1, 2, 3, 5, 6, 8, 9, 10, 50, 97, 98, 99, 255)),
        *(_enable(on) for on in (True, False, False)),
        HostileRequest('get_state', GetState, GetState.Request()),
        HostileRequest('get_available_states', GetAvailableStates, GetAvailableStates.Request()),
    ]

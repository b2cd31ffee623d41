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
"""The command line of a node: what ROS would pass over is refused, with the form that is meant."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
import re

from rclpy.node import Node
from rclpy.parameter import Parameter
from zegclip_core.errors import ConfigError

ROS_ARGS, END = '--ros-args', '--'
CLOSE = 0.75
"""How alike two names are from which on one is taken for a slip of the other."""
_RULE = re.compile(r'(?P<name>[^:=]+):=(?P<value>.*)', re.DOTALL)
_TAKES_RULE = {'-r', '--remap', '-p', '--param', '--log-level', '-e', '--enclave'}


def help_text(name: str, parameters: Mapping[str, str]) -> str:
    """Return how a node is started, with its parameters and their descriptions by name."""
    lines = [
        f'usage: {name} [--ros-args [-p PARAMETER:=VALUE] [-r TOPIC:=NAME] [--params-file FILE]]',
        '',
        'parameters:',
        *(f'  {key:<20} {text}' for key, text in parameters.items()),
    ]
    return '\n'.join(lines) + '\n'


def wants_help(args: Sequence[str]) -> bool:
    """Return whether a user asks how a node is started."""
    return bool({'-h', '--help'} & set(_outside(args)))


def check_arguments(args: Sequence[str], parameters: Mapping[str, str]) -> None:
    """Refuse arguments that ROS would pass over or take for something else.

    Args:
        args: What follows the program's name.
        parameters: Descriptions of the node's parameters by name.

    Raises:
        ConfigError: If there is one; the text says how it is to be given.
    """
    outside = list(_outside(args))
    if outside:
        following = outside[1] if len(outside) > 1 else 'VALUE'
        raise ConfigError(
            f'Expected arguments of ROS alone, but got {outside[0]!r}'
            f'{_hint(outside[0], following, parameters)}.'
        )
    for before, text in zip(['', *args], args, strict=False):
        if _RULE.fullmatch(text) and before not in _TAKES_RULE:
            raise ConfigError(f'Expected -r or -p before {text!r}{_hint(text, "", parameters)}.')


def _outside(args: Sequence[str]) -> list[str]:
    """Return the arguments that do not stand between ``--ros-args`` and ``--``."""
    found, inside = [], False
    for text in args:
        if text == ROS_ARGS:
            inside = True
        elif inside and text == END:
            inside = False
        elif not inside:
            found.append(text)
    return found


def _hint(text: str, following: str, parameters: Mapping[str, str]) -> str:
    """Return how an argument is to be given, as the end of a sentence."""
    rule = _RULE.fullmatch(text)
    name, _, value = text.lstrip('-').partition('=')
    if rule is not None:
        name, value = rule['name'], rule['value']
    key = name.lstrip('-').replace('-', '_')
    near = get_close_matches(key, parameters, n=1, cutoff=CLOSE)
    if near:
        return f': a parameter is given as {ROS_ARGS} -p {near[0]}:={value or following}'
    if rule is not None:
        return f': a topic is given as {ROS_ARGS} -r {text}'
    return f'; --help says which parameters there are, as {ROS_ARGS} -p NAME:=VALUE'


def near_misses(node: Node, known: Sequence[str]) -> dict[str, str]:
    """Return the parameters given to a node that it does not have, each with the one meant."""
    given = getattr(node, '_parameter_overrides', {})  # rclpy does not say it otherwise.
    unknown = [name for name in given if name not in known and not node.has_parameter(name)]
    pairs = {name: get_close_matches(name, known, n=1, cutoff=CLOSE) for name in unknown}
    return {name: close[0] for name, close in pairs.items() if close}


_KINDS = {
    'BOOL': 'true or false',
    'INTEGER': 'an integer',
    'DOUBLE': 'a number with a point, such as 2.0',
    'STRING': 'text',
    'STRING_ARRAY': 'a list of texts, such as ["cat", "dog"]',
    'INTEGER_ARRAY': 'a list of integers',
    'DOUBLE_ARRAY': 'a list of numbers with a point',
    'BOOL_ARRAY': 'a list of true and false',
    'BYTE_ARRAY': 'bytes',
    'NOT_SET': 'nothing',
}
_WRONG_TYPE = re.compile(
    r"expect(?:ed|ing)(?: type)? '(?:Type\.)?(\w+)'(?:,? got '(?:Type\.)?(\w+)')?"
)


def in_words(kind: str) -> str:
    """Return a type of a parameter, by its name or number, as people call it."""
    name = Parameter.Type(int(kind)).name if kind.isdecimal() else kind
    return _KINDS.get(name, name)


def worded(reason: str, name: str) -> str:
    """Return why rclpy refused a parameter, a wrong type in words and not in numbers."""
    match = _WRONG_TYPE.search(reason)
    if match is None:
        return reason
    given = f', but got {in_words(match[2])}' if match[2] else ''
    return f'Expected the parameter {name} to be {in_words(match[1])}{given}.'

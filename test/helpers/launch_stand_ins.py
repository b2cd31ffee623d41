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
"""Stands in for ``launch``, which is not on PyPI, so that launch files can be read without it."""

import logging
from pathlib import Path
import runpy
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Context(dict[str, str]):
    """The values of all arguments, and the command line."""

    argv: tuple[str, ...] = ()


class Recorded(SimpleNamespace):
    """Stands in for a class of ``launch``: keeps what it was made with."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(args=args, **kwargs)


class Argument(Recorded):
    """An argument, by its name."""

    @property
    def name(self) -> str:
        return self.args[0]


class _Configuration(Recorded):
    """A value, which the context holds."""

    def perform(self, context: dict[str, str]) -> str:
        return context[self.args[0]]


class _Description(Recorded):
    """What a launch file returns."""

    def get_launch_arguments(self) -> list[Argument]:
        return [one for one in self.args[0] if isinstance(one, Argument)]


STAND_INS = {
    'launch': {'LaunchContext': Recorded, 'LaunchDescription': _Description},
    'launch.actions': {
        'DeclareLaunchArgument': Argument,
        'GroupAction': Recorded,
        'IncludeLaunchDescription': Recorded,
        'OpaqueFunction': Recorded,
    },
    'launch.launch_description_sources': {'PythonLaunchDescriptionSource': Recorded},
    'launch.logging': {'get_logger': logging.getLogger},
    'launch.substitutions': {'LaunchConfiguration': _Configuration},
    'launch_ros': {},
    'launch_ros.actions': {
        'LifecycleNode': type('LifecycleNode', (Recorded,), {}),
        'Node': type('Node', (Recorded,), {}),
    },
}


def install(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have launch files import the stand-ins for a test, and write into a folder."""
    for name, classes in STAND_INS.items():
        module = ModuleType(name)
        vars(module).update(classes)
        monkeypatch.setitem(sys.modules, name, module)
    config = SimpleNamespace(get_log_file_path=lambda name: str(folder / name))
    vars(sys.modules['launch.logging'])['launch_config'] = config


def load(name: str) -> dict[str, Any]:
    return runpy.run_path(str(ROOT / 'launch' / f'{name}.launch.py'))


def arguments(name: str) -> dict[str, Argument]:
    """Return the arguments that a launch file declares by itself."""
    declared = load(name)['generate_launch_description']().get_launch_arguments()
    return {one.name: one for one in declared}


def defaults(name: str) -> dict[str, str]:
    return {
        key: one.default_value
        for key, one in arguments(name).items()
        if hasattr(one, 'default_value')
    }


def context(*names: str, argv: tuple[str, ...] = (), **given: str) -> Context:
    """Return the values of the arguments of some launch files, where not given their defaults."""
    values: dict[str, str] = {}
    for name in names:
        values |= defaults(name)
    made = Context(values | given)
    made.argv = argv
    return made

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
"""``zegclip web``: what it starts, and what it says where something is missing."""

import json
import os
import sys

import pytest
from zegclip_core.cli import main as command_line
from zegclip_core.cli import web


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the one line of an error that the user can mend."""
    assert command_line.main(['web', *arguments]) == command_line.USER_ERROR
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize('package', ['starlette', 'uvicorn', 'websockets'])
def test_a_missing_package_is_named_with_what_brings_it(
    package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(web, 'find_spec', lambda name: None if name == package else name)
    line = refused(capsys)
    assert package in line
    assert "'zegclip-ros[web]'" in line


def test_without_ros_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(web, 'find_spec', lambda name: None if name == 'rclpy' else name)
    assert 'rclpy' in refused(capsys, '--ros')


def test_with_ros_it_becomes_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(web, 'find_spec', lambda name: name)
    monkeypatch.setattr(os, 'execv', lambda program, command: started.append(command))
    words = ['--ros', '--node', 'front/zegclip', '--port', '0', '--token', '123', '--open']
    assert command_line.main(['web', *words]) == 0
    program, *parts = started[0]
    assert (program, parts[:3]) == (sys.executable, ['-m', 'zegclip_ros.nodes.web', '--ros-args'])
    values = dict(part.split(':=') for part in parts[4::2])
    read = {name: json.loads(value) for name, value in values.items()}
    assert read == {
        'node': 'front/zegclip',
        'host': '127.0.0.1',
        'port': 0,
        'token': '123',
        'names': [''],
        'open': True,
    }


@pytest.mark.parametrize(
    ('given', 'told'),
    [
        (['--ros', '--model', 'mine.safetensors', '--short-side', '252'], '--model, --short-side'),
        (['--ros', '--negatives', 'sky'], '--negatives'),
        (['--node', 'front/zegclip'], '--node with --ros alone'),
    ],
)
def test_options_that_would_be_ignored_are_refused(
    given: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(os, 'execv', lambda program, command: pytest.fail('It went on.'))
    assert told in refused(capsys, *given)


@pytest.mark.slow
def test_a_port_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert '65535' in refused(capsys, '--port', '70000', '--device', 'cpu')

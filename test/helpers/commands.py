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
"""Running ``zegclip`` in the test's own process, and reading what it answers."""

import pytest
from zegclip_core.cli.main import main

Answer = tuple[int, str, str]
"""Exit code, stdout and stderr."""


def answer_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> Answer:
    """Run ``zegclip`` with arguments."""
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as left:
        code = int(left.code or 0)
    written = capsys.readouterr()
    return code, written.out, written.err


def refused(answer: Answer) -> str:
    """Return the only line of a refusal."""
    code, out, err = answer
    assert (code, out) == (2, '')
    (line,) = err.splitlines()
    assert line.startswith('zegclip: error: ')
    return line


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the last line of what went to stderr, which must hold no traceback."""
    error = capsys.readouterr().err
    assert 'Traceback' not in error
    return error.strip().splitlines()[-1]

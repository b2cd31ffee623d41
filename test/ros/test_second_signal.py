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
"""A second Ctrl-C, or that of ``ros2 launch`` after the terminal's own, changes nothing."""

from pathlib import Path
import signal
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]


def running(process: subprocess.Popen[str]) -> bool:
    """Return whether a process goes on for some milliseconds more."""
    try:
        process.wait(0.002)
    except subprocess.TimeoutExpired:
        return True
    return False


@pytest.mark.parametrize(
    ('module', 'ready'), [('camera', 'Publishing on'), ('recorder', 'Waiting for')]
)
def test_signals_do_not_kill_a_node_that_is_ending(
    module: str, ready: str, tmp_path: Path
) -> None:
    code = f'from zegclip_ros.nodes.{module} import main; main()'
    arguments = ['--ros-args', '-p', f'output:={tmp_path}', '-p', 'autostart:=false']
    with subprocess.Popen(
        [sys.executable, '-c', code, *arguments], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        while ready not in (line := process.stderr.readline()):
            assert line, 'the node ended by itself'
        while running(process):
            process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == 0
    assert 'Traceback' not in said

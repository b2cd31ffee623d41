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
"""The end of the node: SIGINT and SIGTERM in every state, whatever it is doing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
import signal
import subprocess
import sys
import threading
from typing import IO

import pytest
from rclpy.node import Node
from ros_helpers import DEADLINE, Inbox, qos, running_ros, solid, spin_until
from sensor_msgs.msg import Image
from zegclip_ros.runtime.runner import run_node, RunnableNode

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

HERE = Path(__file__).resolve().parents[1] / 'helpers'
FOREVER = 600.0


@contextmanager
def node(loading: float, frame: float, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run the node as a process and see that nothing is left of it."""
    command = [sys.executable, str(HERE / 'node_process.py'), str(loading), str(frame)]
    process = subprocess.Popen(
        [*command, '--ros-args', '-p', 'class_names:=["a", "b"]', *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=HERE,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def end(process: subprocess.Popen[str], number: signal.Signals) -> str:
    """Send a signal; return the log of a process that ends by itself, as it should."""
    process.send_signal(number)
    log = process.communicate(timeout=DEADLINE)[1]
    assert process.returncode == 0, log
    assert 'Traceback' not in log
    return log


def until_line(stream: IO[str] | None, words: str) -> None:
    """Read what a process writes until a line has some words."""
    assert stream is not None
    for line in stream:
        if words in line:
            return
    pytest.fail(f'no line with {words!r}')


SIGNALS = pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])


@SIGNALS
def test_it_ends_while_a_model_is_being_loaded(number: signal.Signals) -> None:
    with node(FOREVER, 0.0) as process:
        until_line(process.stdout, 'loading')
        end(process, number)


@SIGNALS
def test_it_ends_in_the_middle_of_a_frame(number: signal.Signals) -> None:
    with node(0.0, FOREVER) as process, running_ros():
        probe = Node('probe')
        camera = probe.create_publisher(Image, 'image', qos())
        Inbox(probe, Image, 'zegclip/label_image', qos())
        reading = threading.Thread(target=until_line, args=(process.stdout, 'frame'))
        reading.start()

        def working() -> bool:
            # More than once: the node may subscribe anew when it sees what the camera offers.
            camera.publish(solid(1))
            return not reading.is_alive()

        spin_until(working, probe)
        end(process, number)
        probe.destroy_node()


@pytest.mark.parametrize(
    ('arguments', 'ready'),
    [
        (('-p', 'autostart:=false'), ''),
        (('-p', 'model:=x'), 'Done: activate'),
        (('-p', 'vocabulary_file:=/no/such/file'), 'Cannot configure'),
    ],
    ids=['unconfigured', 'active', 'after a failed configure'],
)
def test_it_ends_in_a_state_of_rest(arguments: tuple[str, ...], ready: str) -> None:
    with node(0.0, 0.0, *arguments) as process:
        if ready:
            until_line(process.stderr, ready)
        else:
            with running_ros():
                probe = Node('probe')
                spin_until(lambda: probe.count_publishers('/diagnostics') > 0, probe)
                probe.destroy_node()
        end(process, signal.SIGTERM)


def test_the_end_waits_for_nothing_longer_than_it_says() -> None:
    """The bound is in the code, so that no clock of a busy machine decides."""
    from zegclip_ros.runtime import runner as runtime

    waits = runtime.STOP_TIMEOUT + 2 * runtime._LAST_CALLBACKS + runtime._TEARDOWN
    assert waits + runtime._POLL < 2.0


def ended_by(act: Callable[[RunnableNode], None]) -> int:
    """Run a node that acts once; return the exit code."""

    def make() -> RunnableNode:
        made = RunnableNode('once')
        made.create_timer(0.01, lambda: act(made))
        return made

    return run_node(make, [])


def test_a_node_may_end_itself_with_a_code() -> None:
    assert ended_by(lambda node: node.end(3)) == 3


def test_a_callback_that_fails_ends_the_node_and_not_silently(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail(node: RunnableNode) -> None:
        raise ZeroDivisionError('by design')

    assert ended_by(fail) == 1
    assert 'A callback failed: ' in capfd.readouterr().err


def test_arguments_that_ros_cannot_read_are_told_without_a_traceback(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert run_node(lambda: RunnableNode('never'), ['--ros-args', '-p', 'nonsense']) == 1
    log = capfd.readouterr().err
    assert 'nonsense' in log
    assert 'Traceback' not in log


def test_the_process_ends_when_work_cannot_be_ended(tmp_path: Path) -> None:
    code = (
        'import sys, time; from zegclip_ros.runtime.runner import run_node, RunnableNode\n'
        'class Stuck(RunnableNode):\n'
        '    def __init__(self):\n'
        "        super().__init__('stuck'); self.create_timer(0.01, lambda: time.sleep(600))\n"
        "        print('up', flush=True)\n"
        'sys.exit(run_node(Stuck, []))\n'
    )
    process = subprocess.Popen(
        [sys.executable, '-c', code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        until_line(process.stdout, 'up')
        end(process, signal.SIGTERM)
    finally:
        process.kill()
        process.communicate()


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

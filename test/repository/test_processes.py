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
"""Child processes end with the program, and parallel runs keep apart."""

from collections.abc import Callable
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import pytest
from zegclip_ros.runtime.child_processes import DOMAINS, Processes, reserved_domain

pytestmark = pytest.mark.timeout(120)

DEADLINE = 30.0
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)'])
print(child.pid, flush=True)
time.sleep(600)
"""
KEEPER = """
import os, sys, time
from pathlib import Path
from zegclip_ros.runtime.child_processes import Processes
with Processes(Path(sys.argv[1]), os.environ) as processes:
    processes.start('sleeper', [sys.executable, '-S', '-c', 'import time; time.sleep(600)'])
    print(processes._running['sleeper'].pid, flush=True)
    time.sleep(600)
"""


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        state = Path(f'/proc/{pid}/stat').read_text(encoding='utf-8').rsplit(')', 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != 'Z'


def test_exit_codes_and_logs_are_kept(tmp_path: Path) -> None:
    with Processes(tmp_path, os.environ) as processes:
        processes.start(
            'short', [sys.executable, '-S', '-c', 'print("hello"); raise SystemExit(7)']
        )
        wait_for(processes.exit_codes)
        assert processes.exit_codes() == {'short': 7}
    assert processes.log_of('short').read_text(encoding='utf-8') == 'hello\n'


def test_stubborn_processes_and_their_children_are_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('zegclip_ros.runtime.child_processes.GRACE', 0.2)
    with Processes(tmp_path, os.environ) as processes:
        processes.start('stubborn', [sys.executable, '-S', '-c', STUBBORN])
        log = processes.log_of('stubborn')
        wait_for(lambda: log.read_text(encoding='utf-8').endswith('\n'))
    child = int(log.read_text(encoding='utf-8'))
    assert processes.exit_codes() == {'stubborn': -signal.SIGKILL}
    wait_for(lambda: not alive(child))


def test_children_end_even_if_the_program_is_killed(tmp_path: Path) -> None:
    keeper = subprocess.Popen(
        [sys.executable, '-c', KEEPER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert keeper.stdout is not None
    child = int(keeper.stdout.readline())
    assert alive(child)
    keeper.kill()
    keeper.communicate()
    wait_for(lambda: not alive(child))


def test_domains_are_not_given_twice() -> None:
    with reserved_domain() as one, reserved_domain() as two:
        assert one != two
        assert {one, two} <= set(DOMAINS)


def test_a_domain_is_free_again_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    with reserved_domain() as one:
        monkeypatch.setattr('zegclip_ros.runtime.child_processes.DOMAINS', range(one, one + 1))
        with pytest.raises(RuntimeError, match='free DDS domain'), reserved_domain():
            pass
    with reserved_domain() as again:
        assert again == one

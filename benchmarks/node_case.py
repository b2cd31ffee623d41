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
"""One case of the node's benchmark: camera, node and receiver as three processes over DDS."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
import os
from pathlib import Path
import sys
import time
from typing import Any

from benchmarks.events import read_events
from benchmarks.node_figures import by_time, figures, Frame, join
from benchmarks.node_process import LARGE_DATA, ROOT
from benchmarks.receiver import words
from zegclip_ros.runtime.child_processes import Processes, reserved_domain

TRANSPORTS = ('default', 'large_data')
WARM_UP = 3.0
"""Seconds between the node's first words and the first frame that counts."""
_LAST = 1.0
"""Seconds that the last frames get to arrive."""
_POLL = 0.2
ATTEMPTS = 3
"""How often a case is started if its processes do not find each other."""
_UNCONNECTED = 'no words or no frame'


@dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes:
        width: Width of the frames in pixels.
        height: Height of the frames in pixels.
        transport: ``default``, or ``large_data`` for LARGE_DATA and malloc tuning.
        reliability: Reliability that the camera offers; the node follows it.
        cost: Seconds that the stand-in takes for a frame.
        seconds: Time to measure.
        change_every: Seconds between two changes of the words, 0 for none.
        model: Name of a real model, or empty for the stand-in.
        rate: Frames a second.
    """

    width: int = 640
    height: int = 480
    transport: str = 'large_data'
    reliability: str = 'reliable'
    cost: float = 0.005
    seconds: float = 20.0
    change_every: float = 0.0
    model: str = ''
    rate: float = 30.0

    @property
    def size(self) -> str:
        """Width and height, as one writes them."""
        return f'{self.width}x{self.height}'

    @property
    def name(self) -> str:
        """Name, fit for a folder."""
        parts = [self.size, self.transport, self.reliability, self.model or f'{self.cost:g}s']
        return '-'.join([*parts, 'words'] if self.change_every else parts)


def environment(transport: str, domain: int) -> dict[str, str]:
    """Return the environment of all processes of a case."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in LARGE_DATA and not name.startswith(('FASTDDS', 'FASTRTPS', 'CYCLONEDDS'))
    }
    kept['ROS_DOMAIN_ID'] = str(domain)
    kept['PYTHONPATH'] = os.pathsep.join(filter(None, (kept.get('PYTHONPATH', ''), str(ROOT))))
    # With LOCALHOST, rmw_fastrtps sets up transports of its own and LARGE_DATA has no effect.
    kept['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST' if transport == 'default' else 'SUBNET'
    return kept if transport == 'default' else {**kept, **LARGE_DATA}


def commands(case: Case, logs: Path) -> dict[str, list[str]]:
    """Return the command of each process, by name."""
    size = ['--width', str(case.width), '--height', str(case.height)]
    camera = [*size, '--rate', str(case.rate), '--reliability', case.reliability]
    names = ', '.join(f"'{name}'" for name in words(0))
    node = ['--cost', str(case.cost), *(['--real'] if case.model else [])]
    ros = ['--ros-args', '-p', f'class_names:=[{names}]', '-p', f'model:={case.model or "none"}']
    rest = {
        'node': [*node, *ros],
        'receiver': ['--change-every', str(case.change_every)],
        'camera': camera,
    }
    modules = {'node': 'observed', 'receiver': 'receiver', 'camera': 'camera'}
    return {
        name: [
            *(sys.executable, '-m', f'benchmarks.{modules[name]}'),
            *('--log', str(logs / f'{name}.jsonl')),
            *arguments,
        ]
        for name, arguments in rest.items()
    }


def run_case(case: Case, folder: Path, patience: float = 30.0) -> dict[str, Any]:
    """Run a case and return its figures.

    Under LARGE_DATA, Fast DDS now and then leaves two processes that start at the same time
    without a connection, for good; then all are started anew, and how often is in the result.

    Args:
        case: What to measure.
        folder: Gets a folder with the logs of the processes.
        patience: Longest wait, in seconds, for the node to have its words and a frame.

    Returns:
        The case, its figures, and under ``problem`` what went wrong, or ``None``.
    """
    starts = 1
    result = _attempt(case, folder / case.name, patience)
    while starts < ATTEMPTS and str(result['problem']).startswith(_UNCONNECTED):
        starts += 1
        result = _attempt(case, folder / case.name, patience)
    return {**result, 'starts': starts}


def _attempt(case: Case, logs: Path, patience: float) -> dict[str, Any]:
    """Start the processes, measure, and return the case with its figures."""
    logs.mkdir(parents=True, exist_ok=True)
    for old in logs.glob('*.jsonl'):
        old.unlink()
    with (
        reserved_domain() as domain,
        Processes(logs, environment(case.transport, domain)) as processes,
    ):
        for name, command in commands(case, logs).items():
            processes.start(name, command)
        problem = _until_ready(processes, case, logs, patience)
        began = time.time_ns()
        problem = problem or _watch(processes, case.seconds)
        ended = time.time_ns()
        if problem is None:
            time.sleep(_LAST)
    return _result(case, logs, (began, ended), problem)


def _until_ready(processes: Processes, case: Case, logs: Path, patience: float) -> str | None:
    """Wait until the node has words and is warm; return what went wrong."""
    end = time.monotonic() + patience
    while not _connected(case, logs):
        if time.monotonic() > end:
            return f'{_UNCONNECTED} after {patience:g} s'
        problem = _watch(processes, _POLL)
        if problem is not None:
            return problem
    return _watch(processes, WARM_UP)


def _connected(case: Case, logs: Path) -> bool:
    """Return whether the receiver hears the node, and the node the camera if that is to work."""
    told = read_events(logs / 'receiver.jsonl')
    if not any(event['kind'] == 'words' and event['version'] > 0 for event in told):
        return False
    return case.transport == 'default' or bool(read_events(logs / 'node.jsonl'))


def _watch(processes: Processes, seconds: float) -> str | None:
    """Wait some time; return what went wrong meanwhile."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        codes = processes.exit_codes()
        if codes:
            name, code = next(iter(codes.items()))
            tail = processes.log_of(name).read_text('utf-8', 'replace').strip().splitlines()
            return f'{name} ended with exit code {code}: {tail[-1] if tail else "(no output)"}'
        time.sleep(min(left, _POLL))
    return None


def _result(
    case: Case, logs: Path, window: tuple[int, int], problem: str | None
) -> dict[str, Any]:
    """Return the case with its figures."""
    events = {name: read_events(logs / f'{name}.jsonl') for name in ('camera', 'node', 'receiver')}
    sent = [event for event in events['camera'] if window[0] <= event['stamp'] < window[1]]
    frames = join(sent, events['node'], events['receiver'])
    found = figures(frames, events['receiver'])
    if case.model:
        found['wrong labels'] = None  # Only the stand-in's labels are known beforehand.
    if problem is None and found['received'] == 0:
        problem = 'nothing was received'
    result = {'name': case.name, 'case': asdict(case), 'problem': problem, **found}
    return {**result, 'over time [ms]': over_time(frames, case.seconds)}


def over_time(frames: Sequence[Frame], seconds: float) -> list[dict[str, float]]:
    """Return the added latency by the minute, or in ten parts if it was measured for less."""
    return by_time(frames, 60.0 if seconds >= 240.0 else max(seconds / 10.0, 0.1))


def target(case: Mapping[str, Any]) -> float | None:
    """Return the added latency, in milliseconds, that a case is meant to keep to."""
    sizes = {(640, 480): 4.0, (1920, 1080): 12.0}
    if case['transport'] != 'large_data' or case['cost'] > 1.0 / case['rate']:
        return None
    return sizes.get((case['width'], case['height']))

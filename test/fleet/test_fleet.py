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
"""``zegclip label-bags``: many bags, in processes of this machine and by Ray."""

from collections.abc import Iterator
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from unittest.mock import MagicMock

from bag_helpers import camera_bag, Command
from fleet_helpers import contents, drives, Fleet, listed, use_model, WORDS
import pytest
from zegclip_core.fleet.finding import Task
from zegclip_core.fleet.manifest import COLUMNS
from zegclip_core.fleet.ray_engine import RayEngine
from zegclip_core.options import processor_count

ENGINES = ('processes', 'ray')


@pytest.fixture(scope='module')
def _ray(_found: None) -> Iterator[None]:
    """Start Ray once for all tests with two workers at a time."""
    pytest.importorskip('ray')
    engine = RayEngine(2)
    yield
    engine.close()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == 'ray':
        request.getfixturevalue('_ray')
    return str(request.param)


def test_each_bag_is_what_a_single_run_makes_of_it(
    fleet: Fleet,
    tmp_path: Path,
    engine: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, out = drives(tmp_path / 'in'), tmp_path / 'out'
    options = ('--overlay', '--confidence')
    code, text, err = fleet(
        source, '--out', out, *WORDS, *options, '--engine', engine, '--workers', 2
    )
    assert (code, err) == (0, '')
    assert '4 of 4 bags labelled' in text
    single = Command(monkeypatch, capsys)
    for number in range(4):
        name = f'day{number % 2}/drive{number}'
        single(source / name, tmp_path / 'single' / name, *WORDS, *options)
    assert contents(out) == contents(tmp_path / 'single')
    assert len(contents(out)) == 4
    rows = listed(out / 'manifest.csv')
    assert tuple(rows[0]) == COLUMNS
    assert [row['frames'] for row in rows] == ['3', '5', '4', '6']
    assert {row['state'] for row in rows} == {'done'}
    assert {row['words'] for row in rows} == {'tomato, sky'}
    assert all(row['model'].startswith('everyday-s') for row in rows)
    # Of 16 columns 1, 2 and 3 are red.
    assert json.loads(rows[0]['shares']) == {'tomato': 0.125}
    assert rows[0]['unlabelled'] == '0.875'


def test_a_worker_that_is_killed_loses_nothing_and_does_nothing_twice(
    fleet: Fleet, tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out, notes = drives(tmp_path / 'in'), tmp_path / 'out', tmp_path / 'notes'
    assert fleet(source, '--out', tmp_path / 'whole', *WORDS)[0] == 0
    notes.mkdir()
    (notes / 'die').touch()
    use_model(monkeypatch, notes)
    code, text, err = fleet(source, '--out', out, *WORDS, '--engine', engine, '--workers', 2)
    assert (code, '4 of 4 bags labelled' in text) == (0, True)
    assert 'failed: The process that worked on it ended' in err
    assert (notes / 'died').exists()
    assert contents(out) == contents(tmp_path / 'whole')
    # 3 + 4 + 5 + 6 images, and the one at which the worker died once more.
    assert len(list(notes.glob('image_*'))) == 19
    assert not list(out.rglob('*.partial'))
    assert [row['state'] for row in listed(out / 'manifest.csv')] == ['done'] * 4


def test_a_damaged_bag_costs_no_other_and_is_listed(
    fleet: Fleet, tmp_path: Path, engine: str
) -> None:
    source, out = drives(tmp_path / 'in'), tmp_path / 'out'
    (source / 'day0' / 'bad.mcap').write_bytes(b'no bag')
    torn = source / 'day1' / 'drive3' / 'drive3.db3'
    camera_bag(tmp_path / 'long', 'mcap', frames=300)
    data = (tmp_path / 'long' / 'long.mcap').read_bytes()
    (source / 'day1' / 'torn.mcap').write_bytes(data[: len(data) // 2])
    torn.unlink()
    code, text, err = fleet(source, '--out', out, *WORDS, '--engine', engine, '--workers', 2)
    assert code == 2
    assert '3 of 6 bags labelled, 1 in part, 2 failed' in text
    assert err.count('bad.mcap: failed: Cannot read the bag') == 2  # Tried again.
    rows = {Path(row['bag']).name: row for row in listed(out / 'manifest.csv')}
    states = {name: row['state'] for name, row in rows.items()}
    assert states['bad.mcap'] == states['drive3'] == 'failed'
    assert states['torn.mcap'] == 'partly'
    assert 'the end of' in rows['torn.mcap']['reason'].lower()
    assert int(rows['torn.mcap']['frames']) > 50
    assert sorted(states.values()) == ['done'] * 3 + ['failed'] * 2 + ['partly']
    # The second time only what is not there is tried.
    code, text, err = fleet(source, '--out', out, *WORDS, '--engine', engine, '--retries', 0)
    assert (code, '4 of them before this run' in text) == (2, True)
    assert err.count('failed: ') == 2


def program(folder: Path, notes: Path) -> Path:
    """Write ``zegclip label-bags`` with the stand-in for the model as a program of its own."""
    text = (
        'import sys, fleet_helpers\nfrom functools import partial\nfrom pathlib import Path\n'
        'from zegclip_core.cli import label_bags\n'
        f'label_bags.load_segmenter = partial(fleet_helpers.load, Path({str(notes)!r}))\n'
        'from zegclip_core.cli.main import main\n'
        "if __name__ == '__main__':\n    sys.exit(main(['label-bags', *sys.argv[1:]]))\n"
    )
    path = folder / 'command.py'
    path.write_text(text)
    return path


def test_workers_that_are_ended_leave_no_warnings_of_python(tmp_path: Path) -> None:
    source, notes = drives(tmp_path / 'in', 2), tmp_path / 'notes'
    notes.mkdir()
    command = [source, '--out', tmp_path / 'out', *WORDS, '--workers', '2']
    done = subprocess.run(
        [sys.executable, program(tmp_path, notes), *command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, '')
    assert '2 of 2 bags labelled' in done.stdout


@pytest.mark.parametrize('ctrl_c_engine', ENGINES)
def test_after_ctrl_c_the_same_command_goes_on(
    fleet: Fleet, tmp_path: Path, ctrl_c_engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out, notes = drives(tmp_path / 'in'), tmp_path / 'out', tmp_path / 'notes'
    assert fleet(source, '--out', tmp_path / 'whole', *WORDS)[0] == 0
    notes.mkdir()
    (notes / 'wait').touch()
    command = [source, '--out', out, *WORDS, '--engine', ctrl_c_engine, '--workers', 2]
    process = subprocess.Popen(
        [sys.executable, str(program(tmp_path, notes)), *map(str, command)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while len(list(notes.glob('image_*'))) < 10 and process.poll() is None:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert 'zegclip: interrupted' in err
    assert 'leaked' not in err
    (notes / 'wait').unlink()
    use_model(monkeypatch, notes)
    before = len(list(notes.glob('image_*')))
    # Whichever engine goes on: what is kept is the same.
    code, text, _ = fleet(*command[: command.index('--engine')])
    assert (code, '4 of 4 bags labelled' in text) == (0, True)
    assert contents(out) == contents(tmp_path / 'whole')
    # The two that waited are done once more, no other one.
    assert len(list(notes.glob('image_*'))) - before == 18 - (before - 2)


@pytest.mark.parametrize('workers', [1, 2])
def test_threads_are_those_of_the_machine_of_a_worker(
    fleet: Fleet, tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """The one that the command is given on may have many more than those of a cluster."""
    source, notes = drives(tmp_path / 'in'), tmp_path / 'notes'
    expected = max(processor_count() // workers, 1)
    monkeypatch.setattr(os, 'cpu_count', lambda: 64)
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: set(range(64)))
    notes.mkdir()
    use_model(monkeypatch, notes)
    options = ('--engine', engine, '--workers', workers)
    assert fleet(source, '--out', tmp_path / 'out', *WORDS, *options)[0] == 0
    found = [path.name.split('_')[1] for path in notes.glob('threads_*')]
    assert found == [str(expected)] * workers


@pytest.mark.parametrize(
    ('machines', 'sharing'), [((4,), 4), ((4, 8, 16), 2), ((16, 16, 16, 16, 16), 1), ((0, 16), 4)]
)
def test_workers_of_a_cluster_share_the_machines_evenly(
    monkeypatch: pytest.MonkeyPatch, machines: tuple[int, ...], sharing: int
) -> None:
    """A head without processors has none, nor one that has left."""
    fake = MagicMock()
    fake.cluster_resources.return_value = {}
    gone = {'Alive': False, 'Resources': {'CPU': 64.0}}
    nodes = [{'Alive': True, 'Resources': {'CPU': float(one)}} for one in machines]
    fake.nodes.return_value = [gone, *nodes]
    fake.wait.side_effect = lambda running, **_: (running[:1], [])
    monkeypatch.setitem(sys.modules, 'ray', fake)
    kind = fake.remote.return_value.options
    actors = kind.return_value.remote
    tasks = [Task(str(place), str(place)) for place in range(4)]
    for one in RayEngine(4).run(tasks, MagicMock()):
        del one
    assert kind.call_args.kwargs['scheduling_strategy'] == 'SPREAD'
    assert {call.args[1] for call in actors.call_args_list} == {sharing}


@pytest.mark.parametrize('address', ['', 'head:6379'])
def test_ray_joins_no_cluster_that_was_not_named(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """Ray itself would join any that was started on the machine."""
    fake = MagicMock()
    fake.is_initialized.return_value = False
    fake.cluster_resources.return_value = {}
    monkeypatch.setitem(sys.modules, 'ray', fake)
    monkeypatch.setenv('RAY_ADDRESS', address)
    RayEngine(3)
    asked = fake.init.call_args.kwargs
    named = asked.get('address'), asked.get('num_cpus')
    assert named == ((None, None) if address else ('local', 3))


def test_more_gpus_than_there_are_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    options = ('--engine', 'ray', '--gpus-per-worker', 8)
    source = drives(tmp_path / 'in', 1)
    code, _, err = fleet(source, '--out', tmp_path / 'out', *WORDS, *options)
    assert code == 2
    assert 'Expected --gpus-per-worker of at most' in err

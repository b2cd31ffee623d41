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

import argparse
from collections.abc import Callable, Iterator
import csv
from functools import partial
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from unittest.mock import MagicMock

from bag_helpers import camera_bag, ColorSegmenter, Command, hashes
from commands import Answer, answer_of, refused
import numpy as np
import numpy.typing as npt
import pytest
from zegclip_core.cli import label_bags
from zegclip_core.devices import processor_count
from zegclip_core.fleet.finding import find_tasks, Task
from zegclip_core.fleet.manifest import COLUMNS
from zegclip_core.fleet.ray_engine import RayEngine
from zegclip_core.segmentation import Segmentation
from zegclip_core.text.vocabulary import Vocabulary

HELPERS = Path(__file__).resolve().parents[1] / 'helpers'
WORDS = ('--classes', 'tomato, sky')
ENGINES = ('processes', 'ray')


def load(folder: Path | None, args: argparse.Namespace) -> ColorSegmenter:
    """Stand in for the model, in processes that import this file; note their threads."""
    if folder is None:
        return ColorSegmenter()
    (folder / f'threads_{args.threads}_{os.getpid()}').touch()
    return SlowSegmenter(folder)


class SlowSegmenter(ColorSegmenter):
    """Notes each image, and waits or dies at the ninth one of a folder if that says so.

    Attributes:
        folder: Where each image leaves a file; ``die`` and ``wait`` there say what happens.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def segment(self, image: npt.NDArray[np.uint8], vocabulary: Vocabulary) -> Segmentation:
        seen = len(list(self.folder.glob('image_*')))
        (self.folder / f'image_{os.getpid()}_{time.monotonic_ns()}').touch()
        if seen >= 8 and (self.folder / 'die').exists():
            (self.folder / 'die').rename(self.folder / 'died')
            os.kill(os.getpid(), signal.SIGKILL)
        while seen >= 8 and (self.folder / 'wait').exists():
            time.sleep(0.05)
        return super().segment(image, vocabulary)


@pytest.fixture(autouse=True, scope='module')
def _found() -> Iterator[None]:
    """Have workers find this file and what it imports."""
    more = [str(Path(__file__).parent), str(HELPERS), str(HELPERS.parents[1])]
    with pytest.MonkeyPatch.context() as patch:
        known = os.environ.get('PYTHONPATH')
        patch.setenv('PYTHONPATH', os.pathsep.join([*more, *([known] if known else [])]))
        patch.syspath_prepend(more[0])
        patch.delenv('RAY_ADDRESS', raising=False)
        yield


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


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    use_model(monkeypatch, None)


def use_model(monkeypatch: pytest.MonkeyPatch, folder: Path | None) -> None:
    """Have workers take the stand-in, which notes its images in a folder."""
    import test_fleet as importable

    monkeypatch.setattr(label_bags, 'load_segmenter', partial(importable.load, folder))


Fleet = Callable[..., Answer]


@pytest.fixture
def fleet(capsys: pytest.CaptureFixture[str]) -> Fleet:
    return lambda *arguments: answer_of(capsys, 'label-bags', *arguments)


def drives(folder: Path, count: int = 4) -> Path:
    """Write some bags of different storage and length, in folders of two days."""
    for number in range(count):
        storage = ('mcap', 'sqlite3')[number % 2]
        camera_bag(folder / f'day{number % 2}' / f'drive{number}', storage, frames=number + 3)
    return folder


def listed(path: Path) -> list[dict[str, str]]:
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, dict[str, str]]:
    """Return the checksums of all files of all labelled bags."""
    bags = [path.parent for path in folder.rglob('metadata.yaml')]
    return {str(bag.relative_to(folder)): hashes(bag) for bag in bags}


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


@pytest.mark.parametrize('word', ['unlabelled', 'помидор', 'settings'])
def test_a_class_of_any_name_has_its_own_share(fleet: Fleet, tmp_path: Path, word: str) -> None:
    source, out = drives(tmp_path / 'in', 1), tmp_path / 'out'
    assert fleet(source, '--out', out, '--classes', f'{word}, sky')[0] == 0
    (row,) = listed(out / 'manifest.csv')
    assert json.loads(row['shares']) == {word: 0.125}
    assert (row['unlabelled'], word in row['shares']) == ('0.875', True)


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


@pytest.mark.parametrize('ctrl_c_engine', ENGINES)
def test_after_ctrl_c_the_same_command_goes_on(
    fleet: Fleet, tmp_path: Path, ctrl_c_engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out, notes = drives(tmp_path / 'in'), tmp_path / 'out', tmp_path / 'notes'
    assert fleet(source, '--out', tmp_path / 'whole', *WORDS)[0] == 0
    notes.mkdir()
    (notes / 'wait').touch()
    command = [source, '--out', out, *WORDS, '--engine', ctrl_c_engine, '--workers', 2]
    program = (
        'import sys, test_fleet\nfrom functools import partial\nfrom pathlib import Path\n'
        'from zegclip_core.cli import label_bags\n'
        f'label_bags.load_segmenter = partial(test_fleet.load, Path({str(notes)!r}))\n'
        'from zegclip_core.cli.main import main\n'
        "if __name__ == '__main__':\n    sys.exit(main(['label-bags', *sys.argv[1:]]))\n"
    )
    script = tmp_path / 'command.py'
    script.write_text(program)
    process = subprocess.Popen(
        [sys.executable, str(script), *map(str, command)],
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
    (notes / 'wait').unlink()
    use_model(monkeypatch, notes)
    before = len(list(notes.glob('image_*')))
    # Whichever engine goes on: what is kept is the same.
    code, text, _ = fleet(*command[: command.index('--engine')])
    assert (code, '4 of 4 bags labelled' in text) == (0, True)
    assert contents(out) == contents(tmp_path / 'whole')
    # The two that waited are done once more, no other one.
    assert len(list(notes.glob('image_*'))) - before == 18 - (before - 2)


def test_bags_that_are_done_are_skipped_and_others_are_not_touched(
    fleet: Fleet, tmp_path: Path
) -> None:
    source, out = drives(tmp_path / 'in', 2), tmp_path / 'out'
    assert fleet(source, '--out', out, *WORDS)[0] == 0
    before, manifest = contents(out), (out / 'manifest.csv').read_text()
    code, text, _ = fleet(source, '--out', out, *WORDS)
    assert (code, '2 of them before this run' in text) == (0, True)
    assert (out / 'manifest.csv').read_text() == manifest
    code, _, err = fleet(source, '--out', out, '--classes', 'car')
    assert (code, err.count('was labelled with --classes tomato, sky, not car')) == (2, 2)
    for option in ('overlay', 'confidence', 'masks/sky'):
        code, _, err = fleet(source, '--out', out, *WORDS, f'--{option.partition("/")[0]}')
        assert (code, err.count(f'was labelled without /zegclip/{option}')) == (2, 2)
    assert contents(out) == before


@pytest.mark.parametrize(
    ('first', 'second', 'says'),
    [
        ('--topic /camera/image', '', '--topic /camera/image, not all cameras'),
        ('', '--topic /camera/*', '--topic all cameras, not /camera/*'),
        ('--topic rear/image', '--topic /camera/image', '--topic /rear/image, not /camera/image'),
        ('--storage sqlite3', '--storage mcap', '--storage sqlite3, not mcap'),
        ('', '--storage sqlite3', '--storage mcap, not sqlite3'),
        ('', '--compress', '--compress False, not True'),
        ('', '--every 2', '--every 1, not 2'),
        ('', '--prefix /other', 'a bag without these labels is there'),
        (
            '--topic camera/image --topic rear/image',
            '--topic /rear/image --topic /camera/image',
            '',
        ),
        ('--storage sqlite3', '', ''),
        ('--compress --overlay', '', ''),
    ],
)
def test_a_bag_that_was_labelled_with_other_options_is_not_done(
    fleet: Fleet, tmp_path: Path, first: str, second: str, says: str
) -> None:
    """What nobody asks for may be there; an order of topics, or a slash, is no difference."""
    camera_bag(tmp_path / 'in' / 'drive', more=('/rear/image',))
    command = (tmp_path / 'in', '--out', tmp_path / 'out', *WORDS)
    assert fleet(*command, *first.split())[0] == 0
    before = contents(tmp_path / 'out')
    code, text, err = fleet(*command, *second.split())
    assert (code, says in err) == (2 if says else 0, True)
    assert ('1 of them before this run' in text) == (not says)
    assert ('remove it, or give another --out' in err) == (bool(says) and 'these' not in says)
    assert contents(tmp_path / 'out') == before


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


def test_parts_of_a_batch_system_are_all_bags_together(fleet: Fleet, tmp_path: Path) -> None:
    source, out = drives(tmp_path / 'in', 5), tmp_path / 'out'
    for part in ('1/3', '2/3', '3/3'):
        manifest = tmp_path / f'{part[0]}.csv'
        more = ('--part', part, '--manifest', manifest)
        assert fleet(source, '--out', out, *WORDS, *more)[0] == 0
        assert len(listed(manifest)) == (1 if part == '3/3' else 2)
    assert len(contents(out)) == 5
    for part in ('1/3', '2/3'):
        assert fleet(source, '--out', out, *WORDS, '--part', part)[0] == 0
    names = ('manifest-1-of-3.csv', 'manifest-2-of-3.csv')
    assert {row['bag'] for name in names for row in listed(out / name)} == {
        row['bag'] for name in '12' for row in listed(tmp_path / f'{name}.csv')
    }
    for part in ('0/3', '4/3', '1', 'a/b', '1/0'):
        assert 'such as 1/4' in fleet(source, '--out', out, *WORDS, '--part', part)[2]


def test_a_manifest_in_parquet_has_the_same_rows(fleet: Fleet, tmp_path: Path) -> None:
    parquet = pytest.importorskip('pyarrow.parquet')
    source, out = drives(tmp_path / 'in', 2), tmp_path / 'out'
    fleet(source, '--out', out, *WORDS)
    fleet(source, '--out', out, *WORDS, '--manifest', tmp_path / 'a.parquet')
    rows = parquet.read_table(tmp_path / 'a.parquet').to_pylist()
    assert [{k: str(v) for k, v in row.items()} for row in rows] == listed(out / 'manifest.csv')
    assert refused(fleet(source, '--out', out, *WORDS, '--manifest', 'a.txt'))


@pytest.mark.parametrize(
    ('sources', 'says'),
    [
        (('gone',), 'there is no such file or folder'),
        (('empty',), 'Expected bags in'),
        (('in/day0/drive0', 'other/drive0'), 'both become'),
    ],
)
def test_sources_that_cannot_be_used_are_named(
    fleet: Fleet, tmp_path: Path, sources: tuple[str, ...], says: str
) -> None:
    drives(tmp_path / 'in', 1)
    camera_bag(tmp_path / 'other' / 'drive0')
    (tmp_path / 'empty').mkdir()
    paths = [tmp_path / one for one in sources]
    assert says in refused(fleet(*paths, '--out', tmp_path / 'out', *WORDS))


def test_which_bags_there_are_in_a_folder(tmp_path: Path) -> None:
    for name in (
        *('a/metadata.yaml', 'a/a_0.mcap', 'a/a_1.mcap', 'one.mcap', 'two.db3.zstd'),
        *('crashed/x_0.mcap', 'crashed/x_1.mcap', 'mixed/y.mcap', 'mixed/notes.txt'),
        *('day/c/metadata.yaml', 'day/c/c.mcap', 'day/d.mcap'),
        *('.hidden/z.mcap', 'out.partial/labels.sqlite3', 'out.partial/out/metadata.yaml'),
        *('deep/er/b/metadata.yaml', 'deep/er/b/b.db3', '._one.mcap'),
    ):
        (tmp_path / 'in' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'in' / name).touch()
    tasks = find_tasks([str(tmp_path / 'in')], str(tmp_path / 'out'))
    found = {
        str(Path(one.source).relative_to(tmp_path / 'in')): str(
            Path(one.target).relative_to(tmp_path / 'out')
        )
        for one in tasks
    }
    assert found == {
        'a': 'a',
        'crashed': 'crashed',
        'day/c': 'day/c',
        'day/d.mcap': 'day/d',
        'deep/er/b': 'deep/er/b',
        'mixed/y.mcap': 'mixed/y',
        'one.mcap': 'one',
        'two.db3.zstd': 'two',
    }
    (task,) = find_tasks([str(tmp_path / 'in' / 'a')], str(tmp_path / 'out'))
    assert task == Task(str(tmp_path / 'in' / 'a'), str(tmp_path / 'out' / 'a'))


@pytest.mark.parametrize('name', ['labelled', 'day0/labelled', 'link/../labelled'])
def test_labelled_bags_among_the_recorded_ones_are_not_labelled(
    fleet: Fleet, tmp_path: Path, name: str
) -> None:
    source = drives(tmp_path / 'in', 2)
    (source / 'link').symlink_to(source / 'day0')
    out = source / name
    first, second = (fleet(source, '--out', out, *WORDS) for _ in range(2))
    assert (first[0], second[0]) == (0, 0)
    assert '2 of 2 bags labelled, 2 of them before this run' in second[1]
    assert len(contents(out)) == 2


def test_without_ray_or_fsspec_one_line_says_what_to_install(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = drives(tmp_path / 'in', 1)
    for module, options in (
        ('ray', (source, '--out', tmp_path / 'out', '--engine', 'ray')),
        ('fsspec', ('s3://bucket/in', '--out', tmp_path / 'out')),
        ('pyarrow', (source, '--out', tmp_path / 'out', '--manifest', 'a.parquet')),
    ):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            assert "'zegclip-ros[ray]'" in refused(fleet(*options, *WORDS))


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

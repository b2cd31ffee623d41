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
"""``zegclip label-bag`` that is interrupted, killed or short of disk, and goes on."""

import os
from pathlib import Path
import signal
import subprocess
import sys

from bag_helpers import camera_bag, ColorSegmenter, Command, content, hashes, names
from commands import refused
import pytest
from zegclip_core.bags.store import LabelStore
from zegclip_core.bags.writing import BagWriter

HERE = Path(__file__).resolve().parents[1] / 'helpers'
WORDS = ('--classes', 'tomato, sky')
EVERYTHING = ('--confidence', '--masks', '--overlay')

# Ends by itself at a given call of a function, as hard as a power failure does for a process.
BREAKS_OFF = """
import os, resource, signal, sys
from bag_helpers import ColorSegmenter
from zegclip_core.bags.store import LabelStore
from zegclip_core.bags.writing import BagWriter
from zegclip_core.cli import label_bag
from zegclip_core.cli.main import main

where, count, limit, *arguments = sys.argv[1:]
calls = 0

def counted(function):
    def call(*args, **options):
        global calls
        calls += 1
        if calls == int(count):
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **options)
    return call

owner, name = {
    'segment': (ColorSegmenter, 'segment'),
    'save': (LabelStore, 'save'),
    'add': (BagWriter, 'add'),
    'rename': (os, 'rename'),
}[where]
setattr(owner, name, counted(getattr(owner, name)))
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
label_bag.load_segmenter = lambda args: ColorSegmenter()
sys.exit(main(['label-bag', *arguments]))
"""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def break_off(
    *arguments: object, where: str = 'rename', count: int = 0, limit: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own.

    Args:
        *arguments: Of ``zegclip label-bag``.
        where: The function at whose call it is killed.
        count: The number of that call; 0 for never.
        limit: How long a file may get, in bytes; 0 for any length.
    """
    return subprocess.run(
        [sys.executable, '-c', BREAKS_OFF, where, str(count), str(limit), *map(str, arguments)],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join((str(HERE), str(HERE.parents[1])))},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
@pytest.mark.parametrize('frame', [1, 5])
def test_after_an_interrupt_the_same_command_goes_on(
    run: Command, tmp_path: Path, storage: str, frame: int
) -> None:
    source, out = camera_bag(tmp_path / 'in', storage), tmp_path / 'out'
    before = hashes(source)
    run(source, tmp_path / 'whole', *WORDS, *EVERYTHING)
    run.segmenter = ColorSegmenter(ends_at=frame)
    code, text, err = run(source, out, *WORDS, *EVERYTHING)
    assert (code, text) == (130, '')
    assert f'Labels of {frame} frames are kept in {out}.partial' in err
    assert names(tmp_path) == ['in', 'out.partial', 'whole']

    run.segmenter = ColorSegmenter()
    code, text, _ = run(source, out, *WORDS, *EVERYTHING)
    assert (code, run.segmenter.seen) == (0, 6 - frame)
    assert f'6 images of /camera/image labelled, {frame} of them by an earlier run' in text
    assert content(out) == content(tmp_path / 'whole')
    assert names(tmp_path) == ['in', 'out', 'whole']
    assert hashes(source) == before


def test_an_interrupt_before_the_first_labels_leaves_nothing(run: Command, tmp_path: Path) -> None:
    source = camera_bag(tmp_path / 'in')
    run.segmenter = ColorSegmenter(ends_at=0)
    code, _, err = run(source, tmp_path / 'out', *WORDS)
    assert (code, err) == (130, 'zegclip: interrupted\n')
    assert names(tmp_path) == ['in']


@pytest.mark.parametrize(
    ('where', 'count', 'left'),
    [
        ('segment', 1, 6),
        ('segment', 4, 3),
        ('save', 4, 3),
        ('add', 1, 0),
        ('add', 9, 0),
        ('rename', 1, 0),
    ],
)
def test_a_run_that_is_killed_goes_on(
    run: Command, tmp_path: Path, where: str, count: int, left: int
) -> None:
    source, out = camera_bag(tmp_path / 'in'), tmp_path / 'out'
    before = hashes(source)
    run(source, tmp_path / 'whole', *WORDS, *EVERYTHING)
    run.segmenter = ColorSegmenter()
    done = break_off(source, out, *WORDS, *EVERYTHING, where=where, count=count)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not out.exists()

    code, _, err = run(source, out, *WORDS, *EVERYTHING)
    assert (code, err) == (0, '')
    assert run.segmenter.seen == left
    assert content(out) == content(tmp_path / 'whole')
    assert names(tmp_path) == ['in', 'out', 'whole']
    assert hashes(source) == before


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_disk_that_is_full_for_the_bag_costs_no_labels(
    run: Command, tmp_path: Path, storage: str
) -> None:
    source = camera_bag(tmp_path / 'in', frames=30, size=(120, 160))
    out = tmp_path / 'out'
    # Room for the labels, but not for the bag, which holds 1.7 MB of images too.
    done = break_off(source, out, *WORDS, '--storage', storage, limit=1_000_000)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith('zegclip: error: Cannot write')
    assert 'Labels of 30 frames are kept' in line
    assert names(tmp_path) == ['in', 'out.partial']
    assert all(name.startswith('labels') for name in names(tmp_path / 'out.partial'))

    # What is added may change, as the model has nothing to do with it.
    code, _, _ = run(source, out, *WORDS, '--overlay', '--storage', storage)
    assert (code, run.loaded) == (0, [])
    assert len([entry for entry in content(out) if entry[0] == '/zegclip/overlay']) == 30


def test_a_disk_that_is_full_for_the_labels_keeps_those_before(
    run: Command, tmp_path: Path
) -> None:
    source, out = camera_bag(tmp_path / 'in', frames=300), tmp_path / 'out'
    done = break_off(source, out, *WORDS, '--confidence', limit=100_000)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert 'frames are kept' in line
    code, text, _ = run(source, out, *WORDS, '--confidence')
    assert (code, '300 images' in text) == (0, True)
    assert 0 < run.segmenter.seen < 300


@pytest.mark.parametrize(
    ('changed', 'says'),
    [
        (
            '--classes tomato',
            '--classes to be as in the unfinished out.partial, which has tomato,',
        ),
        ('--classes ["sky","tomato"]', 'but got sky, tomato'),
        ('--classes [{"name":"tomato","threshold":0},"sky"]', 'but got [["tomato"'),
        ('--classes tomato,sky --negatives wall', '--negatives'),
        ('--classes tomato,sky --attention clip', '--attention'),
        ('--classes tomato,sky --templates plain', '--templates'),
        ('--classes tomato,sky --model ViT-B-16/openai', '--model'),
        ('--classes tomato,sky --precision fp32', '--precision'),
        ('--classes tomato,sky --short-side 224', 'but got 224'),
        ('--classes tomato,sky --threshold 0.5', 'but got 0.5'),
        ('--classes tomato,sky --every 2', '--every'),
        ('--classes tomato,sky --confidence', '--confidence'),
        ('--classes tomato,sky --topic /other', '--topic'),
    ],
)
def test_something_else_is_refused_until_the_folder_is_removed(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    camera_bag(tmp_path / 'in', more=('/other',))
    options = () if '--topic' in changed else ('--topic', '/camera/image')
    run.segmenter = ColorSegmenter(ends_at=2)
    run('in', 'out', *WORDS, '--topic', '/camera/image')
    before = hashes(tmp_path / 'out.partial')
    run.segmenter = ColorSegmenter()
    line = refused(run('in', 'out', *changed.split(), *options))
    assert says in line
    assert 'remove the folder to start afresh' in line
    assert run.segmenter.seen == 0
    assert hashes(tmp_path / 'out.partial') == before
    assert run('in', 'out', *WORDS, '--topic', '/camera/image')[0] == 0


def test_another_bag_or_model_file_of_the_same_name_is_noticed(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source, model = camera_bag(tmp_path / 'in'), tmp_path / 'mine.safetensors'
    model.write_bytes(b'one')
    run.segmenter = ColorSegmenter(ends_at=2)
    command = ('in', 'out', *WORDS, '--model', 'mine.safetensors')
    run(*command)
    run.segmenter = ColorSegmenter()
    model.write_bytes(b'two')
    assert '--model to be as in' in refused(run(*command))
    model.write_bytes(b'one')
    source.rename(tmp_path / 'old')
    camera_bag(source, frames=5)
    assert 'Expected IN to be as in' in refused(run(*command))


def test_two_runs_at_a_time_do_not_mix(run: Command, tmp_path: Path) -> None:
    source, out = camera_bag(tmp_path / 'in'), tmp_path / 'out'
    run.segmenter = ColorSegmenter(ends_at=2)
    run(source, out, *WORDS)
    with LabelStore(Path(f'{out}.partial')):
        assert 'another run uses it' in refused(run(source, out, *WORDS))
    run.segmenter = ColorSegmenter()
    assert run(source, out, *WORDS)[0] == 0
    assert run.segmenter.seen == 4


def test_damaged_labels_get_one_line(run: Command, tmp_path: Path) -> None:
    source, out = camera_bag(tmp_path / 'in'), tmp_path / 'out'
    (tmp_path / 'out.partial').mkdir()
    (tmp_path / 'out.partial' / 'labels.sqlite3').write_bytes(b'no database' * 100)
    assert 'not a database' in refused(run(source, out, *WORDS))


def test_the_second_time_the_result_is_there_already(run: Command, tmp_path: Path) -> None:
    source, out = camera_bag(tmp_path / 'in'), tmp_path / 'out'
    assert run(source, out, *WORDS)[0] == 0
    before = hashes(out)
    assert f'{out} exists' in refused(run(source, out, *WORDS))
    assert hashes(out) == before


def test_a_fault_of_ours_leaves_no_half_bag_under_the_final_name(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    source, out = camera_bag(tmp_path / 'in'), tmp_path / 'out'
    with monkeypatch.context() as patch:
        patch.setattr(BagWriter, '_put', fail)
        assert run(source, out, *WORDS)[0] == 1
    assert names(tmp_path) == ['in', 'out.partial']
    run.segmenter = ColorSegmenter()
    assert run(source, out, *WORDS)[0] == 0
    assert run.segmenter.seen == 0

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
"""Results of ``zegclip segment`` that lie where a later run looks for pictures."""

from collections.abc import Callable
from functools import partial
import json
from pathlib import Path
import shutil

from commands import Answer, answer_of, refused
import pytest
from segment_stand_ins import ColorSegmenter, half_red, stand_in, write_video

Run = Callable[..., Answer]


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Run:
    """Return a function that segments inputs, from the folder of the test."""
    stand_in(monkeypatch, ColorSegmenter)
    monkeypatch.chdir(tmp_path)
    return partial(answer_of, capsys, 'segment', '--classes', 'red, blue')


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder with two pictures and a video."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    for name in ('a.png', 'b_label.png'):  # One is called as a result is, and is none.
        half_red(folder / name)
    write_video(folder / 'walk.avi')
    return folder


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file()}


@pytest.mark.parametrize(
    ('inputs', 'out'),
    [
        (('photos/*',), 'photos/out'),
        (('photos/**/*',), 'photos/out'),
        (('photos/**',), 'photos/out'),
        (('photos/**/*.png', 'photos/*.avi'), 'photos/out'),
        (('photos',), 'photos'),
        (('photos/*',), 'photos'),
        (('--recursive', 'photos/*'), 'photos/out'),
        (('--recursive', 'photos'), 'photos/out/deep'),
        # As a shell follows the pattern photos/* the second time.
        (('photos/a.png', 'photos/b_label.png', 'photos/out', 'photos/walk.avi'), 'photos/out'),
    ],
)
def test_own_results_are_not_labelled_the_second_time(
    run: Run, photos: Path, tmp_path: Path, inputs: tuple[str, ...], out: str
) -> None:
    first = tuple(one for one in inputs if one != 'photos/out')
    code, done, err = run(*first, '--out', out, '--frame-labels')
    assert (code, done.count('\n')) == (0, 3), err
    before = files(photos)
    for _ in range(2):
        code, done, err = run(*inputs, '--out', out, '--frame-labels')
        assert (code, done.count('\n')) == (0, 3), err
        assert files(photos) == before


def test_results_of_another_folder_are_not_labelled_either(run: Run, photos: Path) -> None:
    assert run('photos', '--out', 'photos/first')[0] == 0
    code, done, err = run('--recursive', 'photos', '--out', 'photos/second')
    assert (code, done.count('\n')) == (0, 3)
    assert 'beside them not looked at' in err


def test_a_result_that_is_named_is_labelled(run: Run, photos: Path, tmp_path: Path) -> None:
    run('photos', '--out', 'out')
    code, _, _ = run('out/a_overlay.png', '--out', 'again')
    assert (code, 'a_overlay.json' in files(tmp_path / 'again')) == (0, True)


def test_results_alone_are_refused(run: Run, photos: Path) -> None:
    del photos
    run('photos', '--out', 'out')
    for inputs in (('out',), ('out/*',), ('--recursive', 'out')):
        assert 'none beside results of an earlier run' in refused(run(*inputs, '--out', 'again'))


@pytest.mark.parametrize('said', ['{}', '[]', 'no JSON', '{"source": "a", "shapes": []}', ''])
def test_pictures_beside_others_figures_are_no_results(
    run: Run, photos: Path, tmp_path: Path, said: str
) -> None:
    """As tools for annotation write them: a.json and a_label.png for a.png."""
    (photos / 'b.json').write_text(said)
    assert run('photos', '--out', 'out')[0] == 0
    assert 'b_label.json' in files(tmp_path / 'out')


def test_a_pattern_passes_over_folders_without_pictures(run: Run, photos: Path) -> None:
    (photos / 'notes').mkdir()
    (photos / 'out').mkdir()  # Of a run that broke off.
    code, done, err = run('photos/*', '--out', 'photos/out')
    assert (code, done.count('\n')) == (0, 3)
    assert '1 folder beside them not looked at: notes' in err


@pytest.mark.parametrize('below', ['walk_label/000000.png', 'WALK_label/x/y.png'])
def test_a_folder_of_frames_does_not_take_the_place_of_other_results(
    run: Run, photos: Path, tmp_path: Path, below: str
) -> None:
    (photos / below).parent.mkdir(parents=True)
    shutil.copy(photos / 'a.png', photos / below)
    command = ('--recursive', 'photos', '--out', 'out')
    line = refused(run(*command, '--frame-labels'))
    assert 'for the label images of photos/walk.avi alone' in line
    assert f'the results of photos/{below} come there' in line
    assert not (tmp_path / 'out').exists()
    code, done, _ = run(*command)
    assert (code, done.count('\n')) == (0, 4)
    report = tmp_path / 'out' / Path(below).with_suffix('.json')
    assert json.loads(report.read_text())['source'] == f'photos/{below}'

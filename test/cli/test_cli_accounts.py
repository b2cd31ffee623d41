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
"""Every input of a batch is accounted for: done, done in part, or left out with the reason."""

from collections.abc import Callable
from functools import partial
import json
import os
from pathlib import Path
import shutil

from commands import Answer, answer_of, refused
import cv2
import numpy as np
from PIL import Image
import pytest
from segment_stand_ins import ColorSegmenter, half_red, stand_in
from zegclip_core.images.video import VideoWriter

Run = Callable[..., Answer]


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Run:
    """Return a function that segments inputs into ``out`` with a stand-in for the model."""
    stand_in(monkeypatch, ColorSegmenter)
    words = ('--classes', 'red, blue', '--out', tmp_path / 'out')
    return partial(answer_of, capsys, 'segment', *words)


def video(path: Path, count: int) -> Path:
    """Write an AVI of so many frames of noise, which are larger than its head."""
    rng = np.random.default_rng(0)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), 10.0, (64, 48))
    for _ in range(count):
        writer.write(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    writer.release()
    return path


def half(path: Path) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def done(out: Path) -> set[str]:
    return {path.stem for path in out.glob('*.json')}


def test_a_folder_of_many_formats_is_done_but_for_what_is_named(tmp_path: Path, run: Run) -> None:
    folder = tmp_path / 'in'
    folder.mkdir()
    for name in ('a.JPG', 'b.jfif', 'c.jp2', 'd.avif', 'e.png'):
        half_red(folder / name)
    (folder / 'f.CR2').write_bytes(b'II*\0')
    (folder / '._e.png').write_bytes(b'\0\5\x16\7')
    code, _, err = run(folder)
    assert code == 2
    assert done(tmp_path / 'out') == set('abcde')
    assert '1 file left out: f.CR2 (their format is not read; convert it' in err
    assert '5 of 6 inputs done.' in err


def test_other_files_beside_pictures_are_told_and_are_no_fault(tmp_path: Path, run: Run) -> None:
    folder = tmp_path / 'in'
    (folder / 'more').mkdir(parents=True)
    half_red(folder / 'a.png')
    (folder / 'notes.txt').write_text('words')
    code, _, err = run(folder)
    assert code == 0
    assert 'zegclip: 1 file and 1 folder beside them not looked at: more, notes.txt' in err


def test_a_folder_of_unread_formats_alone_is_refused_with_their_names(
    tmp_path: Path, run: Run
) -> None:
    folder = tmp_path / 'in'
    folder.mkdir()
    (folder / 'a.jxl').write_bytes(b'x')
    assert 'but a.jxl; convert it to JPEG or PNG' in refused(run(folder))


def test_a_video_that_is_cut_in_the_middle_is_done_in_part(tmp_path: Path, run: Run) -> None:
    path = half(video(tmp_path / 'walk.avi', 20))
    code, _, err = run(path)
    found = json.loads((tmp_path / 'out/walk.json').read_text())
    assert code == 2
    assert f'walk.avi: {found["frames"]} of 20 frames decoded' in err
    assert found['frames'] < found['frames_expected'] == 20


def test_a_whole_video_is_done_and_says_nothing(tmp_path: Path, run: Run) -> None:
    with VideoWriter(tmp_path / 'walk.mp4', 10.0) as writer:
        for number in range(30):
            writer.write(np.full((48, 64, 3), number, np.uint8))
    code, _, err = run(video(tmp_path / 'run.avi', 20), tmp_path / 'walk.mp4')
    assert code == 0
    assert 'zegclip:' not in err


def test_label_images_of_a_longer_video_before_do_not_stay(tmp_path: Path, run: Run) -> None:
    labels = tmp_path / 'out/walk_label'
    for count in (7, 3, 5):
        path = video(tmp_path / 'walk.avi', count)
        assert run('--frame-labels', path)[0] == 0
        assert [one.name for one in sorted(labels.iterdir())] == [
            f'{number:06d}.png' for number in range(count)
        ]
    assert [one.name for one in (tmp_path / 'out').glob('.*')] == []


@pytest.mark.parametrize('other', ['notes.txt', 'mine.png', '12.png'])
def test_a_folder_that_holds_something_else_is_not_replaced(
    tmp_path: Path, run: Run, other: str
) -> None:
    kept = tmp_path / 'out/walk_label' / other
    kept.parent.mkdir(parents=True)
    kept.write_text('mine')
    line = refused(run('--frame-labels', video(tmp_path / 'walk.avi', 2)))
    assert f'but it holds {other}: move it' in line
    assert kept.read_text() == 'mine'


def test_label_images_stay_if_the_next_video_cannot_be_decoded(tmp_path: Path, run: Run) -> None:
    path = video(tmp_path / 'walk.avi', 4)
    run('--frame-labels', path)
    path.write_bytes(path.read_bytes()[:3000])
    assert run('--frame-labels', path)[0] == 2
    assert len(list((tmp_path / 'out/walk_label').iterdir())) == 4


def test_no_fault_of_one_file_keeps_the_others_from_being_done(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def segment(
        self: ColorSegmenter, image: np.ndarray, words: object, **further: object
    ) -> object:
        if image.shape[0] == 31:
            raise ZeroDivisionError('of the model\nin two lines')
        return original(self, image, words, **further)

    original = ColorSegmenter.segment
    monkeypatch.setattr(ColorSegmenter, 'segment', segment)
    first = half_red(tmp_path / 'a.png', (31, 40))
    code, _, err = run(first, half_red(tmp_path / 'b.png'))
    assert code == 2
    assert done(tmp_path / 'out') == {'b'}
    (fault, summary) = (line for line in err.splitlines() if line.startswith('zegclip:'))
    assert 'a.png: ZeroDivisionError: of the model in two lines.' in fault
    assert 'ZEGCLIP_TRACEBACK=1' in fault
    assert summary == 'zegclip: 1 of 2 inputs done.'


def test_a_name_that_is_no_text_does_not_end_the_batch(tmp_path: Path, run: Run) -> None:
    folder = tmp_path / 'in'
    folder.mkdir()
    odd = folder / os.fsdecode(b'caf\xe9.png')
    shutil.copy(half_red(folder / 'z.png'), odd)
    code, out, _ = run(folder)
    assert code == 0
    assert r'caf\udce9_overlay.png: red 50.0%' in out
    report = tmp_path / 'out' / f'{odd.stem}.json'
    assert json.loads(report.read_text())['source'] == str(odd)
    assert (tmp_path / 'out/z.json').exists()


def test_a_full_disk_ends_the_batch_with_the_name_of_the_file(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, 'No space left on device')

    for name in ('a.png', 'b.png'):
        half_red(tmp_path / name)
    monkeypatch.setattr(Image.Image, 'save', full)
    code, _, err = run(tmp_path / 'a.png', tmp_path / 'b.png')
    (line,) = (line for line in err.splitlines() if line.startswith('zegclip:'))
    assert code == 2
    assert 'a_label.png: No space left on device' in line


def test_an_unexpected_error_of_a_command_is_one_line_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise KeyError('nobody expected this')

    monkeypatch.setattr('zegclip_core.cli.segment.read_words', broken)
    answer = answer_of(capsys, 'segment', 'a.png', '--classes', 'cat', '--out', 'x')
    assert answer[0] == 1
    assert len(answer[2].splitlines()) == 1
    assert "KeyError: 'nobody expected this'" in answer[2]
    monkeypatch.setenv('ZEGCLIP_TRACEBACK', '1')
    answer = answer_of(capsys, 'segment', 'a.png', '--classes', 'cat', '--out', 'x')
    assert 'Traceback' in answer[2]

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
"""``zegclip segment``: files that come out, exit codes and the one line after a mistake."""

from collections.abc import Callable
from functools import partial
import json
from pathlib import Path
import subprocess
import sys

from commands import Answer, answer_of, refused
import cv2
import numpy as np
from PIL import Image
import pytest
from segment_stand_ins import ColorSegmenter, half_red, stand_in, write_video
from zegclip_core.cli._account import Account
from zegclip_core.cli._inputs import planned_jobs
from zegclip_core.text.vocabulary import Vocabulary

Run = Callable[..., Answer]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs ``zegclip`` with the stand-in: exit code, stdout, stderr."""
    stand_in(monkeypatch, ColorSegmenter)
    ColorSegmenter.loaded.clear()

    return partial(answer_of, capsys)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_picture_gives_labels_overlay_and_figures(run: Run, tmp_path: Path) -> None:
    photo = half_red(tmp_path / 'photo.png')
    out = tmp_path / 'made' / 'out'
    code, text, _ = run('segment', photo, '--classes', 'tomato, sky', '--out', out)
    assert code == 0
    assert text.strip() == f'{out / "photo_overlay.png"}: tomato 50.0%'
    assert names(out) == ['photo.json', 'photo_label.png', 'photo_overlay.png']

    with Image.open(out / 'photo_label.png') as label:
        # One grey channel of 8 bits without a palette.
        assert (label.mode, label.size) == ('L', (40, 30))
        pixels = np.asarray(label)
    assert np.unique(pixels[:, :20]).tolist() == [0]
    assert np.unique(pixels[:, 20:]).tolist() == [255]

    overlay = np.asarray(Image.open(out / 'photo_overlay.png'))
    assert overlay.shape[1] > 40 or overlay.shape[0] > 30
    assert overlay[5, 30].tolist() == [100, 100, 100]

    figures = json.loads((out / 'photo.json').read_text(encoding='utf-8'))
    colors = Vocabulary.parse('tomato, sky').colors.tolist()
    assert figures['classes'] == [
        {'id': 0, 'name': 'tomato', 'color': colors[0], 'share': 0.5},
        {'id': 1, 'name': 'sky', 'color': colors[1], 'share': 0.0},
    ]
    assert figures['unlabelled'] == {'id': 255, 'share': 0.5}
    assert (figures['width'], figures['height']) == (40, 30)
    assert (figures['model'], figures['device']) == ('colours', 'cpu')
    assert figures['source'] == str(photo)
    assert figures['seconds'] >= 0.0


def test_the_label_png_has_eight_bits_and_no_palette_in_its_header(
    run: Run, tmp_path: Path
) -> None:
    run('segment', half_red(tmp_path / 'a.png'), '--classes', 'a', '--out', tmp_path / 'out')
    content = (tmp_path / 'out' / 'a_label.png').read_bytes()
    # IHDR: width, height, bit depth, colour type 0 = greyscale.
    assert content[12:16] == b'IHDR'
    assert content[24:26] == b'\x08\x00'
    assert b'PLTE' not in content


def test_a_turned_photo_gets_labels_as_it_is_seen(run: Run, tmp_path: Path) -> None:
    picture = Image.open(half_red(tmp_path / 'a.png'))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / 'turned.png', exif=exif)
    run('segment', tmp_path / 'turned.png', '--classes', 'a', '--out', tmp_path / 'out')
    label = np.asarray(Image.open(tmp_path / 'out' / 'turned_label.png'))
    assert label.shape == (40, 30)
    assert (label[:20] == 0).all()


def test_all_options_reach_the_model(run: Run, tmp_path: Path) -> None:
    photo = half_red(tmp_path / 'photo.png')
    options = (
        '--model mine.safetensors --device cuda:1 --precision bf16 --short-side 518 '
        '--threshold 0.25 --threads 3 --negatives wall,floor '
        '--templates plain --attention clip --candidates 9 '
        '--smoothing 0.5 --sharp-edges 8'
    )
    run('segment', photo, '--classes', 'a', '--out', tmp_path / 'out', *options.split())
    run('segment', photo, '--classes', 'a', '--out', tmp_path / 'out')
    assert ColorSegmenter.loaded == [
        {
            'model': 'mine.safetensors',
            'device': 'cuda:1',
            'precision': 'bf16',
            'threads': 3,
            'short_side': 518,
            'threshold': 0.25,
            'negatives': ('wall', 'floor'),
            'templates': 'plain',
            'attention': 'clip',
            'candidates': 9,
            'smoothing': 0.5,
            'sharp_edges': 8,
        },
        {
            **dict.fromkeys(('threads', 'short_side', 'threshold')),
            **dict.fromkeys(('negatives', 'templates', 'attention')),
            **{'model': 'everyday-s', 'device': 'auto', 'precision': 'auto', 'candidates': 0},
            **{'smoothing': 0.0, 'sharp_edges': 0},
        },
    ]


def test_alpha_decides_how_strong_the_colours_are(run: Run, tmp_path: Path) -> None:
    photo = half_red(tmp_path / 'photo.png')
    words = '[{"name": "tomato", "color": "#0000ff"}]'
    for alpha, expected in (('0', [255, 0, 0]), ('1', [0, 0, 255])):
        run('segment', photo, '--classes', words, '--out', tmp_path / alpha, '--alpha', alpha)
        overlay = np.asarray(Image.open(tmp_path / alpha / 'photo_overlay.png'))
        assert overlay[5, 5].tolist() == expected


def test_words_can_stand_in_a_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / 'words.txt').write_text('café\nsky\n', encoding='utf-8')
    photo = half_red(tmp_path / 'photo.png')
    words = tmp_path / 'words.txt'
    code, text, _ = run('segment', photo, '--classes-file', words, '--out', tmp_path / 'out')
    assert (code, 'café 50.0%' in text) == (0, True)
    assert '"café"' in (tmp_path / 'out' / 'photo.json').read_text(encoding='utf-8')


def test_folders_and_files_are_done_once_each(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / 'photos'
    folder.mkdir()
    half_red(folder / 'a.png')
    half_red(folder / 'b.png')
    (folder / 'notes.txt').write_text('notes')
    code, text, _ = run(
        'segment', folder, folder / 'a.png', '--classes', 'a', '--out', tmp_path / 'out'
    )
    assert code == 0
    assert len(text.splitlines()) == 2
    assert len(names(tmp_path / 'out')) == 6


def test_inputs_with_one_stem_do_not_overwrite_one_another(run: Run, tmp_path: Path) -> None:
    for folder in ('x', 'y'):
        (tmp_path / folder).mkdir()
    half_red(tmp_path / 'x' / 'cat.png', (10, 10))
    half_red(tmp_path / 'x' / 'cat.bmp', (20, 20))
    half_red(tmp_path / 'y' / 'Cat.png', (30, 30))
    half_red(tmp_path / 'y' / 'cat-2.png', (40, 40))
    inputs = ('x/cat.png', 'x/cat.bmp', 'y/Cat.png', 'y/cat-2.png')
    code, _, _ = run(
        'segment', *(tmp_path / name for name in inputs), '--classes', 'a', '--out', tmp_path / 'o'
    )
    assert code == 0
    figures = [json.loads(path.read_text()) for path in sorted((tmp_path / 'o').glob('*.json'))]
    assert {entry['width'] for entry in figures} == {10, 20, 30, 40}
    assert json.loads((tmp_path / 'o' / 'cat.json').read_text())['width'] == 10
    assert len({name.casefold() for name in names(tmp_path / 'o')}) == 12


def test_an_output_never_replaces_an_input(run: Run, tmp_path: Path) -> None:
    half_red(tmp_path / 'a.png')
    precious = half_red(tmp_path / 'a_overlay.png').read_bytes()
    line = refused(run('segment', tmp_path, '--classes', 'a', '--out', tmp_path))
    assert 'both an input and an output' in line
    assert (tmp_path / 'a_overlay.png').read_bytes() == precious


def test_a_video_gives_an_overlay_video_and_figures(run: Run, tmp_path: Path) -> None:
    video = write_video(tmp_path / 'walk.avi')
    out = tmp_path / 'out'
    code, text, _ = run('segment', video, '--classes', 'tomato, sky', '--out', out)
    assert code == 0
    assert 'walk_overlay.mp4: tomato 100.0%' in text
    assert names(out) == ['walk.json', 'walk_overlay.mp4']
    figures = json.loads((out / 'walk.json').read_text(encoding='utf-8'))
    assert (figures['frames'], figures['frame_rate']) == (3, 12.0)
    assert (figures['width'], figures['height']) == (64, 48)
    assert [entry['share'] for entry in figures['classes']] == [1.0, 0.0]
    capture = cv2.VideoCapture(str(out / 'walk_overlay.mp4'))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(12.0)
    # The frame with its legend.
    assert capture.get(cv2.CAP_PROP_FRAME_HEIGHT) > 48
    capture.release()


def test_labels_of_video_frames_are_written_on_request(run: Run, tmp_path: Path) -> None:
    video = write_video(tmp_path / 'walk.avi', frames=2)
    run('segment', video, '--classes', 'tomato', '--out', tmp_path / 'out', '--frame-labels')
    labels = tmp_path / 'out' / 'walk_label'
    assert names(labels) == ['000000.png', '000001.png']
    assert (np.asarray(Image.open(labels / '000001.png')) == 0).all()


def test_one_broken_picture_among_several_is_reported_and_the_others_done(
    run: Run, tmp_path: Path
) -> None:
    half_red(tmp_path / 'a.png')
    (tmp_path / 'b.png').write_bytes(b'broken')
    (tmp_path / 'c.mp4').write_bytes(b'broken')
    half_red(tmp_path / 'd.png')
    code, text, err = run('segment', tmp_path, '--classes', 'a', '--out', tmp_path / 'out')
    assert code == 2
    assert len(text.splitlines()) == 2
    errors = [line for line in err.splitlines() if line.startswith('zegclip: error: ')]
    assert len(errors) == 2
    assert 'b.png' in errors[0]
    assert 'c.mp4' in errors[1]
    assert len(names(tmp_path / 'out')) == 6


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        ('', 'COMMAND'),
        ('dance', "invalid choice: 'dance'"),
        ('segment', 'required'),
        ('segment photo.png --out out', '--classes'),
        ('segment photo.png --classes a', '--out'),
        ('segment photo.png --classes a --classes-file b --out out', 'not allowed with'),
        ('segment photo.png --classes , --out out', 'empty text'),
        ('segment photo.png --classes a,A --out out', 'twice'),
        ('segment photo.png --classes [1 --out out', 'JSON'),
        ('segment photo.png --classes-file none.txt --out out', 'none.txt'),
        ('segment photo.png --classes a --out out --alpha 2', '[0, 1]'),
        ('segment photo.png --classes a --out out --alpha high', 'high'),
        ('segment photo.png --classes a --out out --threshold -1', '[0, 1]'),
        ('segment photo.png --classes a --out out --short-side 0', 'positive'),
        ('segment photo.png --classes a --out out --short-side 1.5', '1.5'),
        ('segment photo.png --classes a --out out --what', '--what'),
        ('segment photo.png gone.png --classes a --out out', 'gone.png'),
        ('segment empty --classes a --out out', 'no picture and no video'),
        ('segment photo.png --classes a --out photo.png', 'photo.png to be a folder'),
        ('segment photo.png --classes a --out /proc/no', 'Cannot use /proc/no: No such file'),
    ],
)
def test_mistakes_get_one_line_before_the_model_is_loaded(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    half_red(tmp_path / 'photo.png')
    (tmp_path / 'empty').mkdir()
    assert says in refused(run(*arguments.split()))
    assert ColorSegmenter.loaded == []
    assert names(tmp_path) == ['empty', 'photo.png']


def test_too_many_classes_and_an_unknown_model_get_one_line(run: Run, tmp_path: Path) -> None:
    photo = half_red(tmp_path / 'photo.png')
    words = ','.join(f'thing {number}' for number in range(1025))
    assert '1025' in refused(run('segment', photo, '--classes', words, '--out', tmp_path / 'out'))
    line = refused(
        run('segment', photo, '--classes', 'a', '--out', tmp_path / 'out', '--model', 'unheard-of')
    )
    assert 'unheard-of' in line


def test_a_library_that_is_not_installed_gets_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = half_red(tmp_path / 'photo.png')
    # None in sys.modules makes the import fail as that of a package that is not there.
    monkeypatch.setitem(sys.modules, 'tqdm', None)
    line = refused(run('segment', photo, '--classes', 'a', '--out', tmp_path / 'out'))
    assert 'the Python package tqdm to be installed' in line


def test_a_single_broken_picture_gets_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / 'a.png').write_bytes(b'broken')
    line = refused(run('segment', tmp_path / 'a.png', '--classes', 'a', '--out', tmp_path / 'out'))
    assert 'not a picture' in line
    assert names(tmp_path / 'out') == []


def test_an_interrupted_video_leaves_no_half_file(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ColorSegmenter, 'segment', interrupt)
    video = write_video(tmp_path / 'walk.avi')
    code, _, err = run('segment', video, '--classes', 'a', '--out', tmp_path / 'out')
    assert code == 130
    assert 'interrupted' in err
    assert names(tmp_path / 'out') == []


def test_jobs_name_files_in_the_order_given(tmp_path: Path) -> None:
    photo, video = half_red(tmp_path / 'z.png'), write_video(tmp_path / 'a.avi')
    with planned_jobs([str(photo), str(video)], Account()) as jobs:
        assert [(job.stem, job.video) for job in jobs] == [('z', False), ('a', True)]


def test_help_answers_without_the_heavy_libraries() -> None:
    code = (
        'import sys\n'
        'from zegclip_core.cli.main import build_parser\n'
        'help_text = build_parser().format_help()\n'
        'assert "segment" in help_text\n'
        'heavy = {"torch", "cv2", "numpy", "lightning", "timm", "open_clip", "rclpy"}\n'
        'sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize('arguments', [['--help'], ['--version'], ['segment', '--help']])
def test_help_and_version_exit_with_zero(run: Run, arguments: list[str]) -> None:
    code, out, err = run(*arguments)
    assert (code, err) == (0, '')
    assert 'zegclip' in out

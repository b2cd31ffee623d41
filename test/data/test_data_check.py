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
"""``zegclip data check``: every kind of fault is found, named once, and told by the exit code."""

import ast
from pathlib import Path
import re
import shlex
import subprocess
import sys
from typing import Any

from commands import answer_of, refused
import numpy as np
from PIL import Image
import pytest
from test_datasets import coco, context, mask, names_in, picture, voc
from zegclip_core.cli.main import main
from zegclip_core.data.check import check_part, CheckResult, expected_parts
from zegclip_core.data.datasets import dataset_names, load_spec
from zegclip_core.images.sheets import GAP, LINE, sheet_width, WIDTH
from zegclip_core.text.colors import palette_colors

PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'datasets.md'


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """Return a plain folder of three pictures in one part."""
    return plain_folder(tmp_path)


def plain_folder(root: Path) -> Path:
    for name in 'abc':
        picture(root / f'images/val/{name}.png')
        mask(root / f'labels/val/{name}.png', 0, 1, 255)
    names_in(root / 'classes.txt', 'cat', 'dog')
    return root


def checked(root: Path, name: str = 'folder') -> CheckResult:
    (expected,) = expected_parts(root, name, ['val'])
    return check_part(expected)


def test_a_good_folder_has_no_fault(plain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['data', 'check', str(plain)]) == 0
    shown = capsys.readouterr()
    assert 'val: nothing wrong' in shown.out
    assert 'val: 100%' in shown.err
    rows = {line.split('  ')[0]: line.split()[-3:] for line in shown.out.splitlines()[2:5]}
    # 4 x 6 pixels each: one is a cat, one a dog, the others are not labelled.
    assert rows['cat'] == ['3', '3', '4.17%']
    assert rows['dog'] == ['3', '3', '4.17%']
    assert rows['not labelled'] == ['3', '66', '91.67%']


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:50])


@pytest.mark.parametrize(
    ('spoil', 'expected'),
    [
        (lambda root: (root / 'labels/val/b.png').unlink(), 'labels/val/b.png is missing'),
        (lambda root: (root / 'images/val/b.png').unlink(), 'labels/val/b.png has no picture'),
        (lambda root: mask(root / 'labels/val/b.png', 0, 2), 'b.png to hold 0 to 1'),
        (lambda root: cut(root / 'images/val/b.png'), 'images/val/b.png: it is not a picture'),
        (lambda root: cut(root / 'labels/val/b.png'), 'labels/val/b.png to be an 8-bit mask'),
        (lambda root: picture(root / 'labels/val/b.png'), 'pixels are RGB'),
        (
            lambda root: Image.new('L', (3, 3)).save(root / 'labels/val/b.png'),
            'b.png to have the size of its picture',
        ),
        (lambda root: picture(root / 'images/val/b.jpg'), 'b.png is the mask of 2 pictures'),
    ],
)
def test_a_fault_is_found_and_named_once(
    plain: Path, capsys: pytest.CaptureFixture[str], spoil: object, expected: str
) -> None:
    assert callable(spoil)
    spoil(plain)
    (fault,) = checked(plain).faults
    assert expected in fault
    assert main(['data', 'check', str(plain)]) == 1
    assert capsys.readouterr().out.count(fault) == 1


def test_what_is_good_is_counted_beside_what_is_not(plain: Path) -> None:
    cut(plain / 'labels/val/b.png')
    report = checked(plain)
    assert [pair.image.stem for pair in report.good] == ['a', 'c']
    assert report.pixels[[0, 1, 255]].tolist() == [2, 2, 44]
    assert report.present[[0, 1, 255]].tolist() == [2, 2, 2]


def test_ten_faults_are_shown_and_the_others_counted(
    plain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(14):
        picture(plain / f'images/val/{number:02}.png')
    assert main(['data', 'check', str(plain)]) == 1
    out = capsys.readouterr().out
    assert 'val: 14 wrong' in out
    assert out.count('is missing') == 10
    assert '09.png is missing' in out
    assert '... and 4 more' in out


@pytest.mark.parametrize(
    ('name', 'layout', 'count'),
    [
        ('voc12', voc, 'Expected 1449 pictures in val, but found 1.'),
        ('coco_stuff164k', coco, 'Expected 5000 pictures in val, but found 1.'),
        ('context59', context, 'Expected 5104 or 5105 pictures in val, but found 1.'),
        ('context60', context, 'Expected 5104 or 5105 pictures in val, but found 1.'),
    ],
)
def test_an_incomplete_download_has_too_few_pictures(
    tmp_path: Path, name: str, layout: object, count: str
) -> None:
    assert callable(layout)
    report = checked(layout(tmp_path), name)
    assert report.faults == [count]
    assert len(report.good) == 1


def test_the_published_counts_are_known() -> None:
    counts = {
        f'{name} {part}': load_spec(name).part(part).pictures
        for name in ('voc12', 'coco_stuff164k', 'context59')
        for part in load_spec(name).parts
    }
    assert counts == {
        'voc12 train_aug': (10582,),
        'voc12 val': (1449,),
        'coco_stuff164k train': (118287,),
        'coco_stuff164k val': (5000,),
        'context59 train': (4996, 4998),
        'context59 val': (5104, 5105),
    }


def test_a_name_that_is_listed_twice_is_a_fault(tmp_path: Path) -> None:
    names = voc(tmp_path) / 'VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt'
    names_in(names, '2009_3', '2009_3')
    assert 'is listed 2 times' in checked(tmp_path, 'voc12').faults[1]


def test_masks_that_were_not_converted_give_one_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = coco(tmp_path) / 'annotations/val2017'
    (folder / '000000000009_labelTrainIds.png').rename(folder / '000000000009.png')
    assert main(['data', 'check', str(tmp_path), '--split', 'coco_stuff164k']) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert '000000000009_labelTrainIds.png' in line
    assert line.endswith('there is 000000000009.png.')


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        (['nowhere'], 'Expected a folder with a dataset'),
        (['.'], 'classes.txt'),
        (['.', '--split', 'voc12'], 'JPEGImages'),
        (['.', '--split', 'coco_stuff164k'], 'images/train2017'),
        (['.', '--split', 'context59'], 'VOCdevkit/VOC2010/JPEGImages'),
        (['.', '--split', 'voc13'], "but got 'voc13'"),
        (['.', '--split', 'voc12', '--part', 'test'], 'train_aug, val'),
        (['.', '--split', 'nowhere.yaml'], 'nowhere.yaml'),
        (['.', '--sheet', 'sheet.txt'], 'ends in .png'),
        (['.', '--sheet', 'nowhere/sheet.png'], 'Expected a folder for --sheet'),
        ([], 'DIR'),
    ],
)
def test_a_wrong_request_is_answered_by_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert expected in refused(answer_of(capsys, 'data', 'check', *options))


def test_a_folder_without_parts_is_refused(plain: Path) -> None:
    (plain / 'images/val').rename(plain / 'val')
    assert main(['data', 'check', str(plain)]) == 2
    (plain / 'images').rmdir()
    assert main(['data', 'check', str(plain)]) == 2


def test_one_part_can_be_chosen(plain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(plain / 'images/train/x.png')
    mask(plain / 'labels/train/x.png', 0)
    assert main(['data', 'check', str(plain), '--part', 'train']) == 0
    out = capsys.readouterr().out
    assert 'train: 1 good' in out
    assert 'val:' not in out


def test_the_sheet_shows_pictures_and_masks_in_colors(plain: Path) -> None:
    mask(plain / 'labels/val/a.png', 0)
    assert main(['data', 'check', str(plain), '--sheet', str(plain / 'sheet.png')]) == 0
    sheet = np.array(Image.open(plain / 'sheet.png'))
    # Two tiles a row, each of an image and its mask below a line of text, above their classes.
    assert sheet.shape[1] == 2 * sheet_width(2)
    mask_left, next_left = WIDTH + 2 * GAP, sheet_width(2)
    assert (sheet[80, 100] == 90).all()
    # The first colour of PASCAL VOC, all over the mask of a and beside the name of its class.
    assert (sheet[80, mask_left + 60] == [128, 0, 0]).all()
    below = np.split(sheet[250:], 2)[0]
    assert (below[:, :300] == [128, 0, 0]).all(axis=2).sum() >= 100
    # The last pixel of the mask of b is not labelled.
    assert (sheet[GAP + LINE + 200, next_left + mask_left + 315] == [224, 224, 192]).all()


def test_the_sheet_names_every_class_of_a_picture(plain: Path) -> None:
    names = [f'a rather long name {number}' for number in range(12)]
    (plain / 'classes.txt').write_text('\n'.join(names))
    path = plain / 'labels/val/a.png'
    width, height = Image.open(path).size
    Image.fromarray(np.resize(np.arange(12, dtype=np.uint8), (height, width))).save(path)
    assert main(['data', 'check', str(plain), '--sheet', str(plain / 'sheet.png')]) == 0
    sheet = np.array(Image.open(plain / 'sheet.png'))
    colors = palette_colors('pascal_voc', names, [None] * 12)
    legend = sheet[250:450, : sheet_width(2)].reshape(-1, 3)
    assert all((legend == color).all(axis=1).sum() >= 100 for color in colors)


def test_no_sheet_is_drawn_of_nothing(plain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in 'abc':
        cut(plain / f'images/val/{name}.png')
    assert main(['data', 'check', str(plain), '--sheet', str(plain / 'sheet.png')]) == 1
    assert not (plain / 'sheet.png').exists()
    assert 'No sheet' in capsys.readouterr().out


def test_checking_needs_no_torch(plain: Path) -> None:
    arguments = ['data', 'check', str(plain), '--sheet', str(plain / 'sheet.png')]
    code = (
        'import sys; from zegclip_core.cli.main import main; '
        f"assert main({arguments!r}) == 0; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, '-c', code], check=True, capture_output=True)


def test_the_example_of_captions_and_words_is_true(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, name in (('DATA/images', 'coco_785.jpg'), ('OTHER/images/val', '785.jpg')):
        (tmp_path / folder).mkdir(parents=True)
        Image.new('RGB', (8, 8)).save(tmp_path / folder / name)
    Image.new('RGB', (8, 8)).save(tmp_path / 'DATA/images/cat.jpg')
    lines = 'coco_785.jpg\tA dog .\ncat.jpg\tA cat .\n'
    (tmp_path / 'DATA/captions.tsv').write_text(lines, encoding='utf-8')
    text = PAGE.read_text('utf-8')
    code, _ = re.findall(r'^```python\n(.*?)^```', text, re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    made: dict[str, Any] = {}
    exec(compile(code, 'datasets.md', 'exec'), made)
    assert made['captions'].names == ('cat.jpg',)
    told = re.findall(r'^((?:noun_phrases|unseen\.).*?)  # (.*)$', code, re.MULTILINE)
    assert len(told) == 2
    for expression, value in told:
        assert eval(expression, made) == ast.literal_eval(value)


def test_the_page_on_datasets_is_true(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = PAGE.read_text(encoding='utf-8')
    for link in re.findall(r'\]\(([^)#\s]+)', text):
        assert (PAGE.parent / link).exists(), link
    for name in dataset_names():
        spec = load_spec(name)
        assert f'| `{name}` |' in text
        assert f'| {len(spec.classes)} |' in text
        assert all(f'`{split}`' in text for split in spec.unseen)
    for layout in (voc, coco):
        layout(tmp_path / 'DATA')
    _, code = re.findall(r'^```python\n(.*?)^```', text, re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, 'datasets.md', 'exec'), {})
    assert 'tvmonitor' in capsys.readouterr().out
    block, training = re.findall(r'^```sh\n(.*?)^```', text, re.DOTALL | re.MULTILINE)
    assert (PAGE.parent.parent / shlex.split(training)[-1]).is_file()
    codes = []
    for line in block.splitlines():
        program, *arguments = shlex.split(line)
        assert program == '.venv/bin/zegclip'
        if '--dataset' not in arguments:
            (tmp_path / 'DATA').rename(tmp_path / 'before')
            plain_folder(tmp_path / 'DATA')
        codes.append(main(arguments))
    # Of one picture each, the published sets are not complete.
    assert codes == [1, 1, 0]
    assert (tmp_path / 'sheet.png').is_file()

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
"""Words found in photos whose sentences name them: which photos count, and how."""

from pathlib import Path

from benchmarks import named_photos
import numpy as np
import numpy.typing as npt
from PIL import Image
import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write six photos, each of one colour; blue ones are said to show water, one of them snow."""
    root = tmp_path / 'photos'
    (root / 'images').mkdir(parents=True)
    lines = []
    for number in range(6):
        Image.new('RGB', (20, 10), (0, 0, 40 * number)).save(root / 'images' / f'{number}.png')
        said = 'A lake in the snow .' if number == 5 else 'A lake .' if number > 2 else 'A dog .'
        lines.append(f'{number}.png\t{said}\n')
    (root / 'captions.tsv').write_text(''.join(lines), encoding='utf-8')
    (root / 'words.yaml').write_text('water: {phrases: [lake]}\nsnow:\n', encoding='utf-8')
    return root


class Model:
    """Paints a hundredth of a photo as water if it is bluer than 130, and less as snow."""

    @classmethod
    def load(cls, _: str) -> 'Model':
        return cls()

    def encode(self, vocabulary: object) -> object:
        return vocabulary

    def segment(self, image: npt.NDArray[np.uint8], *_: object, **__: object) -> 'Model':
        self.labels = np.full(image.shape[:2], 255, np.uint8)
        self.labels[0, 0] = 1
        if image[0, 0, 2] > 130:
            self.labels[1, :2] = 0
        return self


def rows_of(folder: Path, capsys: pytest.CaptureFixture[str], *further: str) -> list[list[str]]:
    words = str(folder / 'words.yaml')
    assert named_photos.main(['some', '--photos', str(folder), '--words', words, *further]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]


def test_shares_are_of_photos_that_name_the_word_and_of_the_others(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named_photos, 'Segmenter', Model)
    rows = rows_of(folder, capsys)
    # Photos 3 to 5 name water; 4 and 5 are painted. Snow is named in 5, and gets too few pixels.
    assert rows[0] == ['water', '3', '0.67', 'nan']
    assert rows[1] == ['snow', '1', '0.00', '0.00']


def test_photos_of_another_dataset_are_left_out(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(named_photos, 'Segmenter', Model)
    used = tmp_path / 'used' / 'images' / 'train'
    used.mkdir(parents=True)
    (used / '3.png').touch()
    assert rows_of(folder, capsys, '--without', str(tmp_path / 'used'))[0][1:3] == ['2', '1.00']


def test_photos_that_are_not_there_are_told_in_one_line(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = str(folder / 'words.yaml')
    assert named_photos.main(['some', '--photos', str(tmp_path), '--words', words]) == 2
    assert 'captions.tsv' in capsys.readouterr().err

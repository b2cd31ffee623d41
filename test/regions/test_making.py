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
"""Photos with sentences become a dataset with regions of words."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image
from PIL.ExifTags import Base
import pytest
import torch
from zegclip_core.cli.main import main
from zegclip_core.data.captions import open_captions
from zegclip_core.data.datasets import open_dataset
from zegclip_core.errors import DataError
from zegclip_core.loading import load_model
from zegclip_core.options import UNLABELLED
from zegclip_core.regions import making
from zegclip_core.regions.learning import GRID
from zegclip_core.regions.making import (
    chosen_photos,
    find_regions,
    KnownClasses,
    make_regions,
    named_words,
)
from zegclip_core.training.queries import ClassWords

WORDS = (ClassWords('water', ('lake',)), ClassWords('snow', overlaps=('road',)))
SENTENCES = (
    ('A dog at two lakes .', 'A dog swims .'),
    ('Snow at the water .',),
    ('A watery soup .', 'A snowman .'),
)


def test_a_photo_is_of_the_words_in_its_sentences() -> None:
    assert named_words(SENTENCES, WORDS).tolist() == [
        [True, False],
        [True, True],
        [False, False],
    ]


def test_a_word_that_nobody_names_is_refused() -> None:
    with pytest.raises(DataError, match="none names 'tent'"):
        named_words(SENTENCES, (*WORDS, ClassWords('tent', ('marquee',))))


def test_so_many_photos_of_each_word_and_without_any_are_learnt_from() -> None:
    named = torch.zeros(100, 2, dtype=torch.bool)
    named[:40, 0] = True
    named[30:36, 1] = True
    chosen = chosen_photos(named, 10, 7, 0)
    assert chosen == sorted(set(chosen)) == chosen_photos(named, 10, 7, 0)
    assert set(range(30, 36)) <= set(chosen)
    assert 10 <= sum(index < 40 for index in chosen) <= 16
    assert sum(index >= 40 for index in chosen) == 7
    assert chosen != chosen_photos(named, 10, 7, 1)


def evidence_at(*values: tuple[float, float]) -> torch.Tensor:
    """Return evidence of two words in photos of one row: of each patch, of each word."""
    return torch.tensor(values).T[:, None, :]


HALF = GRID // 2
NOTHING = np.zeros((2, 1, 3), dtype=bool)


@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        (((5.0, 0.0), (0.5, 0.0), (-9.0, 0.0)), [0, UNLABELLED, UNLABELLED]),
        (((5.0, 6.0), (4.0, 0.0), (4.0, 5.0)), [1, 0, 1]),
        (((9.0, 0.0), (3.5, 0.0), (3.7, 0.0)), [0, UNLABELLED, 0]),  # 0.4 of 9 is 3.6.
        (((2.9, 0.0), (2.9, 0.0), (2.9, 0.0)), [UNLABELLED] * 3),  # No patch is sure.
        (((2.9, 3.1), (2.9, 0.0), (2.9, 1.3)), [1, UNLABELLED, 1]),
    ],
)
def test_a_pixel_gets_the_word_with_the_most_evidence_if_it_is_enough(
    values: tuple[tuple[float, float], ...], expected: list[int]
) -> None:
    labels = find_regions(evidence_at(*values), NOTHING)
    assert labels.dtype == np.uint8
    assert labels.tolist() == [expected]


def test_pixels_that_are_taken_from_a_word_stay_unlabelled() -> None:
    taken = NOTHING.copy()
    taken[0, 0, :2] = True
    labels = find_regions(evidence_at((5.0, 0.0), (5.0, 6.0), (5.0, 0.0)), taken)
    assert labels.tolist() == [[UNLABELLED, 1, 0]]


def test_regions_have_the_size_of_the_photo() -> None:
    taken = np.zeros((2, 40, 60), dtype=bool)
    labels = find_regions(evidence_at((5.0, 0.0), (-5.0, 0.0)), taken)
    assert labels.shape == (40, 60)
    assert (labels[:, :15] == 0).all()
    assert (labels[:, 30:] == UNLABELLED).all()


def test_a_known_class_takes_pixels_from_words_that_it_does_not_overlap_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = load_model('everyday-s')
    known = KnownClasses(loaded)
    road, cat = (loaded.settings.seen_classes.index(name) for name in ('road', 'cat'))
    labels = np.array([[road, cat, UNLABELLED]], np.uint8)
    answer = SimpleNamespace(labels=labels)
    monkeypatch.setattr(known._segmenter, 'segment', lambda *_, **__: answer)
    # Case, article and number do not count.
    own = (ClassWords('Kitten', ('the cats',)), ClassWords('Cats'))
    taken = known(np.zeros((1, 3, 3), np.uint8), (*WORDS, *own))
    assert taken[:, 0].tolist() == [
        [True, True, False],
        [False, True, False],
        [True, False, False],
        [True, False, False],
    ]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Write photos of noise; every other one is said to show water."""
    folder = tmp_path / 'photos'
    (folder / 'images').mkdir(parents=True)
    generator, lines = np.random.default_rng(0), []
    for number in range(40):
        pixels = generator.integers(0, 256, (48, 64, 3), np.uint8)
        Image.fromarray(pixels).save(folder / 'images' / f'{number:02}.png')
        lines.append(f'{number:02}.png\t' + ('A dog in a lake .' if number % 2 else 'A dog .'))
    (folder / 'captions.tsv').write_text('\n'.join(lines) + '\n', encoding='utf-8')
    return folder


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the lower half of every other photo look alike to the tower."""

    def tokens(_: object, __: object, indices: list[int]) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        made = 0.2 * torch.randn(len(indices), GRID, GRID, 8, generator=generator)
        for row, index in enumerate(indices):
            made[row, HALF:, :, 0] += 5.0 * (index % 2)
        return made.flatten(1, 2).half()

    monkeypatch.setattr(making, 'whitened_tokens', tokens)
    monkeypatch.setattr(making, 'LEAST_PEAK', 1.0)


@pytest.mark.usefixtures('planted')
def test_the_region_is_what_the_photos_of_a_word_have_in_common(
    photos: Path, tiny: str, tmp_path: Path
) -> None:
    counts = make_regions(tiny, open_captions(photos), WORDS[:1], tmp_path / 'out')
    assert counts == {'water': 20}
    dataset = open_dataset(tmp_path / 'out', 'folder', 'train')
    assert dataset.classes == ('water',)
    found = np.stack([dataset[index].labels == 0 for index in range(len(dataset))])
    assert len(found) == 20
    assert found[:, 26:].mean() > 0.9
    assert found[:, :22].mean() < 0.1
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith('.')] == []


@pytest.mark.usefixtures('planted')
def test_words_keep_their_places_though_a_photo_names_some_of_them(
    photos: Path, tiny: str, tmp_path: Path
) -> None:
    lines = (
        (photos / 'captions.tsv').read_text(encoding='utf-8').replace('02.png\tA', '02.png\tSnow')
    )
    (photos / 'captions.tsv').write_text(lines, encoding='utf-8')
    words = (ClassWords('snow'), *WORDS[:1])
    counts = make_regions(tiny, open_captions(photos), words, tmp_path / 'out')
    assert counts['water'] == 20
    dataset = open_dataset(tmp_path / 'out', 'folder', 'train')
    assert dataset.classes == ('snow', 'water')
    of_water = next(dataset[k] for k in range(len(dataset)) if dataset.name(k) == '01')
    assert set(np.unique(of_water.labels)) <= {1, UNLABELLED}


@pytest.mark.usefixtures('planted')
@pytest.mark.parametrize('orientation', [1, 3, 6])
def test_a_photo_that_is_stored_turned_is_upright_in_the_dataset(
    orientation: int, photos: Path, tiny: str, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[Base.Orientation] = orientation
    pixels = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
    Image.fromarray(pixels).save(photos / 'images' / '03.png', exif=exif)
    make_regions(tiny, open_captions(photos), WORDS[:1], tmp_path / 'out')
    dataset = open_dataset(tmp_path / 'out', 'folder', 'train')
    turned = next(dataset[k] for k in range(len(dataset)) if dataset.name(k) == '03')
    np.testing.assert_array_equal(turned.image, open_captions(photos).image(3))
    assert turned.labels.shape == turned.image.shape[:2]


@pytest.mark.parametrize('name', ['03.jpg', '.03.png', 'photo'])
def test_photos_that_no_dataset_can_hold_are_refused(
    name: str, photos: Path, tmp_path: Path
) -> None:
    captions = open_captions(photos)
    odd = replace(captions, names=(*captions.names, name), sentences=(*captions.sentences, ('A',)))
    with pytest.raises(DataError, match=name):
        make_regions('nowhere', odd, WORDS[:1], tmp_path / 'out')


def test_a_word_that_all_photos_name_is_refused(photos: Path, tmp_path: Path) -> None:
    every = ClassWords('dog')
    with pytest.raises(DataError, match="do not name 'dog', to tell it by, but all 40 do"):
        make_regions('nowhere', open_captions(photos), (every,), tmp_path / 'out')


def test_a_dataset_without_a_region_is_refused(
    photos: Path, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, 'LEAST_PEAK', 1e9)
    with pytest.raises(DataError, match='but found none'):
        make_regions(tiny, open_captions(photos), WORDS[:1], tmp_path / 'new' / 'out')
    assert not (tmp_path / 'new').exists()


def written(photos: Path, model: str, out: Path, *further: object) -> int:
    words = photos / 'words.yaml'
    words.write_text('water: {phrases: [lake]}\n', encoding='utf-8')
    options = {'--photos': photos, '--words': words, '--model': model, '--out': out}
    arguments = [str(part) for pair in options.items() for part in pair]
    return main(['regions', *arguments, *map(str, further)])


@pytest.mark.usefixtures('planted')
def test_the_command_leaves_held_out_photos_out(
    photos: Path, tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = tmp_path / 'masks'
    for part in ('images', 'labels'):
        (masks / part / 'train').mkdir(parents=True)
    for name in ('01', '03', '05'):
        Image.new('RGB', (8, 8)).save(masks / 'images' / 'train' / f'{name}.png')
        Image.new('L', (8, 8)).save(masks / 'labels' / 'train' / f'{name}.png')
    (masks / 'classes.txt').write_text('cat\n', encoding='utf-8')
    out = tmp_path / 'out'
    assert written(photos, tiny, out, '--without', masks, '--hold-out', 2) == 0
    shown = capsys.readouterr().out
    assert '38 photos; 2 are held out, and left out here' in shown
    assert f'Wrote {out}' in shown
    found = {path.stem for path in (out / 'images' / 'train').iterdir()}
    # Of those that are left every other one has the patches of a word.
    assert found
    assert not {'01', '05'} & found


@pytest.mark.parametrize('place', ['there', 'new/..', 'file/out', 'link'])
def test_a_folder_that_cannot_be_made_is_refused_in_one_line(
    place: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'there').mkdir()
    (tmp_path / 'file').touch()
    (tmp_path / 'link').symlink_to('nowhere')
    assert written(photos, 'nowhere', tmp_path / place) == 2
    assert '--out' in capsys.readouterr().err
    assert not (tmp_path / 'new').exists()


def test_held_out_photos_may_be_all(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = tmp_path / 'masks'
    (masks / 'labels' / 'train').mkdir(parents=True)
    (masks / 'images').mkdir()
    (masks / 'images' / 'train').symlink_to(photos / 'images')
    for number in range(40):
        Image.new('L', (64, 48)).save(masks / 'labels' / 'train' / f'{number:02}.png')
    (masks / 'classes.txt').write_text('cat\n', encoding='utf-8')
    out = tmp_path / 'out'
    assert written(photos, 'nowhere', out, '--without', masks, '--hold-out', 1) == 2
    assert capsys.readouterr().err.count('\n') == 1


@pytest.mark.parametrize(
    'text',
    [
        '- water\n',
        '{}\n',
        'water: {phrase: [lake]}\n',
        '3:\n',
        'yes:\n',
        '"":\n',
        '" water":\n',
        '"wa\\nter":\n',
        'dog:\nDog:\n',
    ],
)
def test_words_of_another_form_are_refused_in_one_line(
    text: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = tmp_path / 'other.yaml'
    words.write_text(text, encoding='utf-8')
    assert written(photos, 'nowhere', tmp_path / 'out', '--words', words) == 2
    assert capsys.readouterr().err.count('\n') == 1


def test_nothing_half_written_stays_behind(photos: Path, tiny: str, tmp_path: Path) -> None:
    (photos / 'images' / '07.png').write_bytes(b'no picture')
    assert written(photos, tiny, tmp_path / 'new' / 'out') == 2
    assert not (tmp_path / 'new').exists()

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
"""The alignment of towers: closed forms on made-up features, and what the page gets."""

from dataclasses import replace
import json
from pathlib import Path

from benchmarks import alignment, alignment_features
from benchmarks.alignment_features import Encoder, kept_regions, region_means, Regions
from benchmarks.alignment_map import (
    answer,
    balanced,
    fit,
    Question,
    random_question,
    split_question,
    unseen_shares,
)
from benchmarks.alignment_report import Row, table_of
import numpy as np
from PIL import Image
import pytest
import torch
from torch import Tensor
from zegclip_core.data.folder import FolderDataset
from zegclip_core.errors import DataError

WIDTH = 12


def world(*, linear: bool, words: int = 40, each: int = 4, seed: int = 0) -> Regions:
    """Make features that are a linear function of the embeddings, or have no part in them."""
    generator = np.random.default_rng(seed)
    embeddings = generator.normal(size=(words, WIDTH))
    looks = generator.normal(size=(words, WIDTH))
    if linear:
        looks = embeddings @ generator.normal(size=(WIDTH, WIDTH)) + 3.0
    right = np.repeat(np.arange(words), each)
    return Regions(
        names=tuple(f'word {number}' for number in range(words)),
        embeddings=embeddings,
        features=looks[right] + 1e-3 * generator.normal(size=(len(right), WIDTH)),
        words=right,
        sources=np.zeros_like(right),
        titles=('world',),
    )


def test_ridge_is_least_squares_with_rows_for_the_penalty() -> None:
    generator = np.random.default_rng(1)
    features, embeddings = generator.normal(size=(30, 5)), generator.normal(size=(4, 3))
    words = np.array([0] * 12 + [1] * 3 + [3] * 15)
    mapping = fit(features, words, embeddings, strength=0.2)
    weights = np.array([1 / 12] * 12 + [1 / 3] * 3 + [1 / 15] * 15) / 3
    mean = np.average(features, axis=0, weights=weights)
    scale = np.sqrt(np.average((features - mean) ** 2, axis=0, weights=weights))
    centre = embeddings[[0, 1, 3]].mean(axis=0)
    root = np.sqrt(weights)[:, np.newaxis]
    inputs = np.concatenate([root * (features - mean) / scale, np.sqrt(0.2) * np.eye(5)])
    targets = np.concatenate([root * (embeddings[words] - centre), np.zeros((5, 3))])
    expected = np.linalg.lstsq(inputs, targets, rcond=None)[0]
    np.testing.assert_allclose(mapping.weights, expected, atol=1e-12)
    np.testing.assert_allclose(mapping.mean, mean)
    np.testing.assert_allclose(mapping.centre, centre)


def test_a_word_weighs_the_same_however_many_regions_it_has() -> None:
    regions = world(linear=False)
    few = fit(regions.features, regions.words, regions.embeddings)
    often = np.concatenate(
        [np.arange(len(regions.words)), *[np.flatnonzero(regions.words == 5)] * 9]
    )
    many = fit(regions.features[often], regions.words[often], regions.embeddings)
    np.testing.assert_allclose(many.weights, few.weights, rtol=1e-9)
    np.testing.assert_allclose(many.mean, few.mean, rtol=1e-9)


def test_a_share_is_the_mean_over_the_words() -> None:
    right, words = np.array([True, True, True, False]), np.array([2, 2, 2, 7])
    assert balanced(right, words) == pytest.approx(0.5)
    assert balanced(~right, words) == pytest.approx(0.5)
    assert balanced(np.array([True, False, False, True]), words) == pytest.approx(2 / 3)


def test_a_linear_world_is_solved_by_as_many_words_as_it_has_dimensions() -> None:
    regions = world(linear=True)
    enough = random_question(regions, seen=2 * WIDTH, unseen=10, seed=0)
    assert unseen_shares(regions, enough, strength=1e-6) == (1.0, 1.0)
    few = random_question(regions, seen=2, unseen=10, seed=0)
    among_unseen, among_all = unseen_shares(regions, few, strength=1e-6)
    assert among_unseen < 0.8
    assert among_all < among_unseen


def test_features_that_say_nothing_of_words_give_chance() -> None:
    shares = []
    for seed in range(150):
        regions = world(linear=False, seed=seed)
        question = random_question(regions, seen=20, unseen=10, seed=seed)
        shares.append(unseen_shares(regions, question)[0])
    # A share of ten words has a standard deviation of about 0.1; 150 of them 0.008.
    assert np.mean(shares) == pytest.approx(0.1, abs=0.03)


def test_words_that_were_seen_are_named_in_other_regions() -> None:
    regions = world(linear=False, words=10)
    question = Question(seen=(0, 1, 2, 3), unseen=(7, 8, 9), words=tuple(range(10)))
    found = answer(regions, question)
    assert (found.seen_few, found.seen_every) == (1.0, 1.0)
    assert found.few < 1
    # The later half of each word's regions says nothing that the earlier half could teach.
    later = np.arange(len(regions.words)) % 4 >= 2
    noise = np.random.default_rng(3).normal(size=regions.features.shape)
    strange = replace(regions, features=np.where(later[:, np.newaxis], noise, regions.features))
    assert answer(strange, question).seen_every < 0.6


def test_regions_of_one_dataset_alone_are_asked() -> None:
    regions = world(linear=True)
    sources = np.arange(len(regions.words)) // 2 % 2
    spoilt = np.where(sources[:, np.newaxis] == 1, 0.0, regions.features)
    two = replace(regions, features=spoilt, sources=sources, titles=('good', 'bad'))
    question = Question(tuple(range(30)), tuple(range(30, 40)), tuple(range(40)))
    fitted = replace(two, features=np.where(two.words[:, None] < 30, regions.features, spoilt))
    good, bad = (replace(question, source=source) for source in (0, 1))
    assert unseen_shares(fitted, good, 1e-6)[0] == 1.0
    assert unseen_shares(fitted, bad, 1e-6)[0] == pytest.approx(0.1)
    assert two.only(['bad']).titles == ('bad',)
    assert set(two.only(['bad']).sources) == {0}
    assert not two.only(['bad']).features.any()


def test_more_seen_words_keep_the_fewer_and_the_unseen() -> None:
    regions = world(linear=False)
    once = np.flatnonzero((regions.words > 25) & (np.arange(len(regions.words)) % 4 > 0))
    rare = replace(
        regions,
        features=np.delete(regions.features, once, axis=0),
        words=np.delete(regions.words, once),
        sources=np.delete(regions.sources, once),
    )
    few, many = (random_question(rare, seen=seen, unseen=10, seed=4) for seen in (8, 16))
    assert few.unseen == many.unseen
    assert many.seen[:8] == few.seen
    assert not {*many.seen} & {*many.unseen}
    assert max(many.unseen) <= 25
    assert random_question(rare, seen=8, unseen=10, seed=4) == few
    assert random_question(rare, seen=8, unseen=10, seed=5) != few
    with pytest.raises(DataError, match=r'at least 50 words .* in world, but found 40'):
        random_question(regions, seen=40, unseen=10, seed=0)


def test_a_split_hides_its_words_in_all_datasets() -> None:
    regions = world(linear=False, words=6)
    sources = (regions.words >= 3).astype(np.int64)
    two = replace(regions, sources=sources, titles=('a', 'b'))
    question = split_question(two, ['word 1', 'word 4', 'word 5', 'zebra'], 1)
    assert question == Question(seen=(0, 2, 3), unseen=(4, 5), words=(3, 4, 5), source=1)


def test_a_region_is_the_mean_of_its_patches() -> None:
    tokens = torch.tensor([[[1.0, 2.0, 4.0]], [[0.0, 6.0, 0.0]]])
    labels = torch.tensor([[0, 0, 0, 2, 255, 255], [0, 0, 0, 2, 2, 1]], dtype=torch.uint8)
    found, means = region_means(tokens, labels, 3)
    # Class 0 fills patch 0 and half of patch 1; class 1 a quarter of a patch, which is too little;
    # class 2 half of patch 1 and a quarter of patch 2, too little as well.
    assert found.tolist() == [0]
    assert means.tolist() == [[pytest.approx(4 / 3), pytest.approx(2.0)]]


@pytest.fixture
def streets(tmp_path: Path) -> Path:
    """Two stripes of colour in each picture, which go by other names in turn."""
    folder, names = tmp_path / 'camvid', ['road', 'sky', 'car', 'fence']
    for part in ('images', 'labels'):
        (folder / part / 'train').mkdir(parents=True)
    (folder / 'classes.txt').write_text('\n'.join(names), encoding='utf-8')
    for number in range(8):
        mask = np.repeat(np.array([number % 4, (number + 1) % 4], np.uint8), 8)
        mask = np.tile(mask, (16, 1))
        picture = np.stack([40 * mask, 255 - 60 * mask, np.full_like(mask, 9)], axis=-1)
        Image.fromarray(mask).save(folder / 'labels' / 'train' / f'{number}.png')
        Image.fromarray(picture).save(folder / 'images' / 'train' / f'{number}.png')
    return folder


def colours(picture: Tensor) -> Tensor:
    """Stand for a tower whose tokens are the mean colours of 8 x 8 pixels."""
    return torch.nn.functional.avg_pool2d(picture.permute(2, 0, 1).float(), 8)


def test_features_are_computed_once(
    streets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alignment_features, 'load_encoder', lambda _: Encoder(colours, 8))
    dataset, kept = FolderDataset(streets, 'train'), tmp_path / 'kept'
    features, classes = kept_regions(dataset, 'tower', kept)
    assert classes.tolist() == [0, 1, 1, 2, 2, 3, 0, 3] * 2
    np.testing.assert_allclose(features[:2, 0], [0.0, 40.0], atol=3.0)

    def refuse(reference: str) -> Encoder:
        raise AssertionError(reference)

    monkeypatch.setattr(alignment_features, 'load_encoder', refuse)
    again, same = kept_regions(dataset, 'tower', kept)
    np.testing.assert_array_equal(again, features)
    np.testing.assert_array_equal(same, classes)
    with pytest.raises(AssertionError, match='another tower'):
        kept_regions(dataset, 'another tower', kept)
    monkeypatch.setattr(alignment_features, 'MOST_PICTURES', 4)
    with pytest.raises(AssertionError):
        kept_regions(dataset, 'tower', kept)


def test_the_page_gets_the_tables_and_the_chart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = world(linear=True, words=90, each=2)
    names = ('car', 'pavement', 'fence', 'cat', 'dog', *made.names[5:])
    # Words 80 and up are of CamVid as well as the three; the others are of COCO.
    sources = ((made.words > 2) & (made.words < 80)).astype(np.int64)
    regions = replace(made, names=names, sources=sources, titles=('camvid', 'coco128'))
    page = tmp_path / 'docs' / 'results.md'
    page.parent.mkdir()
    page.write_text('A\n<!-- alignment:begin -->\n<!-- alignment:end -->\nB\n', encoding='utf-8')
    monkeypatch.setattr(alignment, 'PAGE', page)
    monkeypatch.setattr(alignment, 'load_regions', lambda *_: regions)
    out = tmp_path / 'out'
    assert alignment.main(['--out', str(out), '--write-docs']) == 0
    written = page.read_text(encoding='utf-8')
    assert written.startswith('A\n<!-- alignment:begin -->\n| unseen words |')
    assert written.endswith('\n<!-- alignment:end -->\nB\n')
    for beginning in (
        '| any of camvid, coco128 | 50 | 10 | 10.0 | ',
        '| `camvid-5`, on camvid | 10 | 3 | 33.3 | ',
        '| any of camvid | 10 | 3 | 33.3 | ',
        '| `joint-5`, on camvid | 85 | 3 | 33.3 | ',
        '| `joint-5`, on coco128 | 85 | 2 | 50.0 | 100.0 | ',
    ):
        assert written.count(f'\n{beginning}') == 1
    assert '(images/results-alignment.png)' in written
    with Image.open(page.parent / 'images' / 'results-alignment.png') as picture:
        assert picture.width > 500
    assert '| any of camvid |' in capsys.readouterr().out
    rows = json.loads((out / 'alignment.json').read_text(encoding='utf-8'))
    assert len(rows[0]['answers']) == 20


def test_what_cannot_work_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert alignment.main(['--configs', str(tmp_path)]) == 2
    assert 'Cannot read the configuration' in capsys.readouterr().err
    assert alignment.main(['--data', str(tmp_path / 'nowhere')]) == 2
    error = capsys.readouterr().err
    assert error.startswith('alignment: error: Expected ')
    assert error.count('\n') == 1


def test_a_row_without_spread_has_plain_figures() -> None:
    regions = world(linear=False, words=10)
    found = answer(regions, Question((0, 1, 2, 3), (7, 8, 9), tuple(range(10))))
    row = Row('`camvid-5`, on camvid', 4, 3, 10, (replace(found, few=0.25, every=0.0),), ())
    assert '| `camvid-5`, on camvid | 4 | 3 | 33.3 | 25.0 | 0.0 | 100.0 | 100.0 |' in table_of(
        [row]
    )

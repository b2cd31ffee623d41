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
"""What ``zegclip explain`` says: scores, thresholds and rivals, computed, drawn and printed."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
import re
import shlex

import numpy as np
from PIL import Image
import pytest
from tiny_models import write_published
import torch
from torch import Tensor
import torch.nn.functional as F
from zegclip_core.cli._model import read_words
from zegclip_core.cli.main import build_parser, main
from zegclip_core.errors import ImageError, ModelError
from zegclip_core.explanation import (
    explain,
    Explanation,
    explanation_sheet,
    MAX_MAPS,
    MAX_SIDE,
    MAX_VALUES,
    rivals,
    shown_rows,
)
from zegclip_core.images.drawing import BACKGROUND
from zegclip_core.images.sheets import GAP
from zegclip_core.loading import LoadedModel
from zegclip_core.model.training_free import TrainingFreeCLIP, TrainingFreeConfig
from zegclip_core.model.vit import VisionConfig
from zegclip_core.options import SegmenterOptions
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.encoder import TextEncoder
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_core.weights.checkpoint import ModelSettings

WORDS = Vocabulary.parse('cats, dog, tree')


@pytest.fixture(scope='module')
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_published(tmp_path_factory.mktemp('model') / 'tiny.pth'))


@pytest.fixture(scope='module')
def plain(path: str) -> Segmenter:
    return Segmenter.load(path, device='cpu', precision='fp32', engine='plain')


class _HashTower:
    """Encodes every text as a direction of its own."""

    name = 'seeded'
    embed_dim = 20

    def encode(self, texts: Sequence[str]) -> Tensor:
        rows = [torch.Generator().manual_seed(sum(text.encode())) for text in texts]
        return F.normalize(torch.stack([torch.randn(20, generator=g) for g in rows]), dim=-1)


def training_free(**changes: object) -> Segmenter:
    """Return a small CLIP whose scores are a softmax."""
    torch.manual_seed(5)
    vision = VisionConfig(8, 48, 3, 3, 96, (3, 5), embed_dim=20)
    network = TrainingFreeCLIP(TrainingFreeConfig(vision)).eval()
    settings = ModelSettings(templates='plain', short_side=48, threshold=0.2)
    loaded = LoadedModel('tiny', network, TextEncoder(_HashTower(), 'plain'), settings)
    options = SegmenterOptions(device='cpu', precision='fp32', engine='plain', **changes)
    return Segmenter(loaded, options)


def _image(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def made(
    scores: object, *, negatives: tuple[str, ...] = (), bias: Sequence[float] | None = None
) -> Explanation:
    """Return an explanation of scores that a test chose, ``(R, W)``, in one line of pixels."""
    values = np.array(scores, np.float32)[:, None]
    names = [f'thing {row}' for row in range(len(values) - len(negatives))]
    thresholds = [0.1] * len(names) + [np.inf] * len(negatives)
    return Explanation(
        model='made',
        scoring='sigmoid',
        image=_image(*values.shape[1:]),
        vocabulary=Vocabulary.from_names(names),
        phrases=tuple((name,) for name in names),
        negatives=negatives,
        scores=values,
        bias=np.array(bias or [0.0] * len(values), np.float32),
        thresholds=np.array(thresholds, np.float32),
    )


# What it says


def test_labels_and_scores_are_those_of_the_segmenter(plain: Segmenter) -> None:
    image = _image(50, 70)
    cut = float(np.median(plain.segment(image, WORDS).scores))
    words = Vocabulary(tuple(replace(each, threshold=cut) for each in WORDS.classes))
    found = explain(plain, image, words).segmentation
    expected = plain.segment(image, words)
    assert 0.05 < expected.unlabelled_share < 0.95
    assert np.array_equal(found.labels, expected.labels)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)


def test_a_softmax_is_over_classes_and_negatives_and_labels_are_those_of_the_segmenter() -> None:
    segmenter = training_free(negatives=['wall', 'Dog', 'sky'])
    image, words = _image(64, 80), Vocabulary.parse('person, dog')
    found = explain(segmenter, image, words)
    assert found.scoring == 'softmax'
    assert found.negatives == ('wall', 'sky')
    np.testing.assert_allclose(found.scores.sum(axis=0), 1.0, atol=1e-5)
    expected = segmenter.segment(image, words)
    assert 0.0 < expected.unlabelled_share < 1.0
    assert np.array_equal(found.segmentation.labels, expected.labels)
    assert (found.ranks[0] >= 2).any()


def test_the_score_maps_are_the_sigmoids_of_the_network_s_logits(plain: Segmenter) -> None:
    image = _image(32, 48)
    found = explain(plain, image, WORDS)
    encoded = plain.encode(WORDS)
    vision = plain.network.config.vision
    height = plain.short_side // vision.patch_size * vision.patch_size
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    size = (height, int(height * 1.5) // vision.patch_size * vision.patch_size)
    pixels = F.interpolate(pixels, size=size, mode='bilinear', antialias=True)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (vision.mean, vision.std))
    with torch.no_grad():
        logits = plain.network((pixels - mean) / std, encoded.embeddings)
    scores = F.interpolate(logits, size=(32, 48), mode='bilinear').sigmoid()[0]
    np.testing.assert_allclose(found.scores, scores.numpy(), atol=1e-5)


def test_who_took_what_from_whom_is_counted_by_hand() -> None:
    # Columns: 0 before 1 by 0.2 twice, 1 before 0 by 0.1, not close, too low, 2 alone.
    found = made(
        [
            [0.8, 0.6, 0.5, 0.9, 0.08, 0.0],
            [0.6, 0.4, 0.6, 0.2, 0.07, 0.1],
            [0.1, 0.1, 0.1, 0.1, 0.06, 0.9],
        ]
    )
    first, second = found.taken()
    assert (first.winner, first.loser, second.winner, second.loser) == (0, 1, 1, 0)
    assert first.share == pytest.approx(2 / 6)
    assert (first.score, first.rival) == (pytest.approx(0.7), pytest.approx(0.5))
    assert first.margin == pytest.approx(0.2)
    assert (second.share, second.margin) == (pytest.approx(1 / 6), pytest.approx(0.1))
    assert found.under_threshold.tolist() == [[False] * 4 + [True, False]]
    assert found.segmentation.labels.tolist() == [[0, 0, 1, 0, 255, 2]]
    assert [len(pair) for pair in rivals(found)] == [2]


def test_a_bias_decides_and_is_part_of_the_margin_but_not_of_the_score() -> None:
    found = made([[0.7, 0.4], [0.6, 0.5]], bias=[0.2, 0.0])
    assert found.segmentation.labels.tolist() == [[1, 1]]
    (only,) = found.taken()
    assert (only.winner, only.score) == (1, pytest.approx(0.55))
    assert only.margin == pytest.approx(((0.6 - 0.5) + (0.5 - 0.2)) / 2)


def test_a_negative_word_takes_pixels_without_a_label() -> None:
    found = made([[0.5, 0.2], [0.4, 0.3]], negatives=('wall',))
    assert found.segmentation.labels.tolist() == [[0, 255]]
    assert not found.under_threshold.any()
    assert found.names == ('thing 0', 'wall (negative)')
    assert {(one.winner, one.loser) for one in found.taken()} == {(0, 1), (1, 0)}


def test_a_negative_word_takes_nothing_from_a_class_under_its_threshold() -> None:
    low = made([[0.08, 0.2], [0.09, 0.3]], negatives=('wall',))
    assert [(one.winner, one.loser, one.share) for one in low.taken()] == [(1, 0, 0.5)]
    assert not low.contested(1, 0)[0, 0]


def test_the_negative_words_are_those_that_were_encoded() -> None:
    encoded = training_free(negatives=['wall', 'Dog', 'sky']).encode(Vocabulary.parse('dogs, cat'))
    assert encoded.negatives == ('wall', 'sky')


def test_one_word_has_no_rival() -> None:
    found = made([[0.5, 0.05]])
    assert found.segmentation.labels.tolist() == [[0, 255]]
    assert found.taken() == []


def test_the_form_that_was_encoded_is_told_where_it_is_another(plain: Segmenter) -> None:
    words = Vocabulary.parse('The Cats, Dog')
    assert explain(plain, _image(20, 20), words).names == ('The Cats (as cat)', 'Dog')


@pytest.mark.parametrize(('size', 'count'), [((1500, 2000), 2), ((480, 640), 300)])
def test_maps_of_large_pictures_and_many_words_are_smaller(
    plain: Segmenter, size: tuple[int, int], count: int
) -> None:
    words = Vocabulary.from_names(f'thing {number}' for number in range(count))
    found = explain(plain, _image(*size), words)
    rows, height, width = found.scores.shape
    assert found.image.shape == (height, width, 3)
    assert rows == count
    assert max(height, width) <= MAX_SIDE
    assert found.scores.size <= 1.01 * MAX_VALUES
    assert found.scores.size > 0.9 * MAX_VALUES or max(height, width) == MAX_SIDE
    assert width / height == pytest.approx(4 / 3, rel=0.01)


def test_what_cannot_be_explained_is_refused(path: str, plain: Segmenter) -> None:
    lean = Segmenter.load(path, device='cpu', precision='fp32')
    with pytest.raises(ModelError, match='got the engine lean and the mode whole'):
        explain(lean, _image(8, 8), WORDS)
    slide = Segmenter.load(path, device='cpu', precision='fp32', engine='plain', mode='slide')
    with pytest.raises(ModelError, match='mode slide'):
        explain(slide, _image(8, 8), WORDS)
    with pytest.raises(ImageError):
        explain(plain, np.zeros((4, 4), np.uint8), WORDS)


# The sheet


def has_color(sheet: np.ndarray, color: Sequence[int]) -> bool:
    return bool((sheet == np.array(color, np.uint8)).all(axis=2).any())


def test_the_sheet_shows_the_colours_of_rivals_and_thresholds() -> None:
    wide = np.tile([[0.9], [0.7], [0.0]], (1, 60))
    found = replace(made(wide), image=_image(60, 60))
    found = replace(found, scores=np.tile(found.scores, (1, 60, 1)))
    sheet = explanation_sheet(found)
    assert sheet.dtype == np.uint8
    first, second = found.vocabulary.colors[:2]
    # The winner's colour fills the area that the other word contests.
    winner = (sheet == first).all(axis=2)
    bottom = winner[-230:]
    assert bottom.sum() > 10_000
    assert not (sheet[-200:] == second).all(axis=2).any()
    assert has_color(sheet, BACKGROUND)
    narrow = made(wide[:1])
    alone = replace(narrow, image=found.image, scores=np.tile(narrow.scores, (1, 60, 1)))
    assert explanation_sheet(alone).shape[0] < sheet.shape[0]


def test_the_threshold_is_a_white_line_between_low_and_high_scores() -> None:
    scores = np.zeros((1, 240, 320), np.float32)
    scores[:, :, 160:] = 0.6
    base = made([[0.0]])
    found = replace(base, image=np.zeros((240, 320, 3), np.uint8), scores=scores)
    sheet = explanation_sheet(found)
    white = (sheet >= 150).all(axis=2)
    columns = np.flatnonzero(white.sum(axis=0) >= 200)
    # The line stands at the step, after the margin of the sheet: 0.1 lies before 0.6.
    assert columns.size
    assert np.abs(columns - GAP - 160).max() <= 2
    low = replace(found, thresholds=np.array([0.7], np.float32))
    assert not ((explanation_sheet(low) >= 150).all(axis=2).sum(axis=0) >= 200).any()


def test_of_many_words_those_that_matter_have_maps() -> None:
    scores = np.full((40, 50), 0.01)
    scores[7], scores[30, :20], scores[39, 0] = 0.5, 0.9, 0.95
    found = made(scores, negatives=('wall', 'floor'))
    rows = shown_rows(found)
    assert len(rows) == MAX_MAPS
    assert rows == sorted(rows)
    # Row 38 is a negative word that wins nothing.
    assert {7, 30, 39} <= set(rows)
    assert 38 not in rows


# The command


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.fromarray(_image(60, 80)).save(tmp_path / 'photo.png')
    return tmp_path / 'photo.png'


def test_the_command_writes_the_sheet_and_prints_the_figures(
    path: str, photo: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photo.parent)
    options = ['--classes', 'The Cats, dog', '--model', path, '--device', 'cpu']
    assert main(['explain', str(photo), *options, '--precision', 'fp32']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == 'photo_explained.png'
    segmenter = Segmenter.load(path, device='cpu', precision='fp32', engine='plain')
    image = np.asarray(Image.open(photo))
    expected = explain(segmenter, image, Vocabulary.parse('The Cats, dog'))
    shares = expected.segmentation.shares()
    assert lines[1].split() == [
        'The',
        'Cats',
        '(as',
        'cat)',
        f'{shares["The Cats"]:.1%}',
        f'{expected.scores[0].max():.2f}',
        f'{expected.thresholds[0]:.2f}',
    ]
    taken = expected.taken()
    assert sum(' took ' in line for line in lines) == len(taken)
    sheet = np.asarray(Image.open(photo.with_name('photo_explained.png')))
    assert np.array_equal(sheet, explanation_sheet(replace(expected, model=path)))


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (['--classes', 'not a cat'], "got 'not a cat'"),
        (['--classes', 'cat', '--out', 'sheet.jpg'], 'ends in .png'),
        (['--classes', 'cat', '--model', 'nothing'], "got 'nothing'"),
        (['--classes', 'cat', '--model', 'none.onnx'], 'a model that PyTorch runs'),
        (['--classes', 'cat', '--threshold', '2'], '[0, 1]'),
    ],
)
def test_what_is_wrong_is_one_line(
    photo: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(['explain', str(photo), *arguments])
    except SystemExit as leaving:
        code = leaving.code
    assert code == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count('\n') == 1


def test_the_photo_is_not_overwritten(
    photo: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photo.parent)
    before = photo.read_bytes()
    assert main(['explain', str(photo), '--classes', 'cat', '--out', 'photo.png']) == 2
    assert "another file than the photo, but got 'photo.png'" in capsys.readouterr().err
    assert photo.read_bytes() == before


def test_a_file_that_is_no_picture_is_refused_before_the_model_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'a.png').write_bytes(b'no picture')
    command = ['explain', str(tmp_path / 'a.png'), '--classes', 'cat', '--model', 'nothing']
    assert main(command) == 2
    assert 'a.png' in capsys.readouterr().err


def test_the_commands_of_the_page_are_understood_and_their_words_too() -> None:
    page = (Path(__file__).parents[2] / 'docs' / 'words.md').read_text('utf-8')
    lines = re.findall(r'^zegclip .*$', page, re.MULTILINE)
    assert len(lines) >= 3
    for line in lines:
        arguments = build_parser().parse_args(shlex.split(line)[1:])
        assert len(read_words(arguments)) >= 2

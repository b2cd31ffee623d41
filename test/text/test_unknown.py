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
"""What is on no list: negative words that compete, and thresholds that can be changed."""

from dataclasses import replace
import math
from pathlib import Path

import numpy as np
from PIL import Image
import pytest
from tiny_models import write_published
import torch
from zegclip_core.cli import main as command
from zegclip_core.errors import ModelError, VocabularyError
from zegclip_core.loading import load_model, LoadedModel
from zegclip_core.model.training_free import TrainingFreeCLIP, TrainingFreeConfig
from zegclip_core.model.vit import VisionConfig
from zegclip_core.options import SegmenterOptions, UNLABELLED
from zegclip_core.segmenter import Segmenter
from zegclip_core.text import negatives, phrases
from zegclip_core.text.encoder import EncodedVocabulary
from zegclip_core.text.negatives import clean_negatives, competing, parse_negatives
from zegclip_core.text.vocabulary import Vocabulary, VocabularyClass

WORDS = Vocabulary.from_names(['cat', 'traffic light', 'tree'])
NEGATIVES = ('wall', 'floor')


@pytest.fixture(scope='module')
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_published(tmp_path_factory.mktemp('model') / 'tiny.pth'))


@pytest.fixture(scope='module')
def loaded(path: str) -> LoadedModel:
    return load_model(path)


def _segmenter(loaded: LoadedModel, **settings: object) -> Segmenter:
    options = SegmenterOptions(**{'device': 'cpu', 'precision': 'fp32', **settings})
    return Segmenter(loaded, options)


def _image(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _alone(segmenter: Segmenter, image: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Return the scores of every word when it is the only one."""
    entries = [VocabularyClass(name, threshold=0.0) for name in names]
    return np.stack([segmenter.segment(image, Vocabulary((entry,))).scores for entry in entries])


@pytest.mark.parametrize('settings', [{}, {'engine': 'plain'}, {'mode': 'slide'}])
def test_a_pixel_that_a_negative_word_wins_is_unlabelled(
    loaded: LoadedModel, settings: dict[str, str]
) -> None:
    image = _image(40, 70)
    scores = _alone(_segmenter(loaded, **settings), image, (*WORDS.names, *NEGATIVES))
    best = scores.argmax(axis=0)
    assert set(np.unique(best)) > {3}
    found = _segmenter(loaded, negatives=NEGATIVES, **settings).segment(image, WORDS)
    assert np.array_equal(found.labels, np.where(best < len(WORDS), best, UNLABELLED))
    np.testing.assert_allclose(found.scores, scores.max(axis=0), rtol=1e-4, atol=1e-5)
    assert found.vocabulary is WORDS
    assert sum(found.shares().values()) == pytest.approx(1.0 - found.unlabelled_share)


def test_thresholds_hold_beside_negative_words(loaded: LoadedModel) -> None:
    image = _image(40, 70)
    plain = _segmenter(loaded, negatives=NEGATIVES).segment(image, WORDS)
    cut = float(np.median(plain.scores))
    found = _segmenter(loaded, negatives=NEGATIVES, threshold=cut).segment(image, WORDS)
    expected = np.where(plain.scores < np.float32(cut), UNLABELLED, plain.labels)
    assert np.array_equal(found.labels, expected)


def test_softmax_scores_are_shared_with_negative_words(loaded: LoadedModel) -> None:
    torch.manual_seed(0)
    vision = VisionConfig(8, 64, 2, 4, 128, (4, 4), embed_dim=loaded.text_encoder.embed_dim)
    settings = replace(loaded.settings, negatives=NEGATIVES)
    clip = LoadedModel(
        'clip', TrainingFreeCLIP(TrainingFreeConfig(vision)), loaded.text_encoder, settings
    )
    with torch.no_grad():
        for name, parameter in clip.network.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.0 if 'position' in name else 0.5)
    image = _image(40, 70)
    every = Vocabulary.from_names([*WORDS.names, *NEGATIVES])
    wide = _segmenter(clip, negatives=()).segment(image, every)
    found = _segmenter(clip).segment(image, WORDS)
    assert np.array_equal(found.labels, np.where(wide.labels < 3, wide.labels, UNLABELLED))
    assert 0.0 < found.unlabelled_share < 1.0
    np.testing.assert_allclose(found.scores, wide.scores, rtol=1e-4, atol=1e-5)
    alone = _segmenter(clip, negatives=()).segment(image, WORDS)
    kept = ~found.unlabelled
    assert (alone.scores[kept] > found.scores[kept]).all()


def test_the_type_of_labels_follows_the_users_words(loaded: LoadedModel) -> None:
    names = [f'thing {number}' for number in range(255)]
    image = _image(40, 70)
    wide = _segmenter(loaded).segment(image, Vocabulary.from_names(names))
    assert wide.labels.dtype == np.uint16
    winner = names.pop(int(np.bincount(wide.labels.ravel()).argmax()))
    found = _segmenter(loaded, negatives=(winner,)).segment(image, Vocabulary.from_names(names))
    assert found.labels.dtype == np.uint8
    assert np.array_equal(found.unlabelled, wide.mask(winner))


def test_the_models_own_words_compete_unless_told_otherwise(loaded: LoadedModel) -> None:
    own = replace(loaded, settings=replace(loaded.settings, negatives=NEGATIVES))
    assert _segmenter(own).negatives == NEGATIVES
    assert _segmenter(own, negatives=()).negatives == ()
    assert _segmenter(own, negatives=['sky']).negatives == ('sky',)
    assert _segmenter(loaded).negatives == ()


def test_words_that_are_asked_for_do_not_compete(loaded: LoadedModel) -> None:
    words = Vocabulary((VocabularyClass('Wall'), VocabularyClass('house', phrases=('sky',))))
    assert competing(('a wall', 'floor', 'Skies'), words) == ('floor',)
    typed = Vocabulary.parse('Walls, the floor')
    assert competing(('sky', 'wall', 'floors'), typed) == ('sky',)
    image = _image(40, 70)
    found = _segmenter(loaded, negatives=('wall', 'sky')).segment(image, words)
    assert np.array_equal(found.labels, _segmenter(loaded).segment(image, words).labels)
    assert found.unlabelled_share == 0.0


def test_words_that_stand_as_they_are_need_no_dictionary(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_dictionary(phrase: str) -> str:
        raise AssertionError(phrase)

    for module in (phrases, negatives):
        monkeypatch.setattr(module, 'standard_form', no_dictionary)
    words = Vocabulary.from_names(['clouds', 'cat'])
    assert words.encoded_phrases(['skis']) == (('clouds',), ('cat',))
    assert competing((), words) == ()


def test_negative_words_have_neither_bias_nor_threshold(loaded: LoadedModel) -> None:
    settings = replace(
        loaded.settings, negatives=('wall',), seen_classes=('cat', 'wall'), seen_bias=0.1
    )
    encoded = _segmenter(replace(loaded, settings=settings), threshold=0.3).encode(WORDS)
    assert encoded.bias.tolist() == pytest.approx([0.1, 0.0, 0.0, 0.0])
    # Whatever a negative word scores, it is no label.
    assert encoded.thresholds.tolist() == pytest.approx([0.3, 0.3, 0.3, math.inf])
    wall = loaded.text_encoder.encode_phrases(['wall'])[0]
    torch.testing.assert_close(encoded.embeddings[3], wall)


def test_the_form_in_which_words_are_typed_does_not_count(loaded: LoadedModel) -> None:
    settings = replace(loaded.settings, seen_classes=('cat',), seen_bias=0.1)
    segmenter = _segmenter(replace(loaded, settings=settings), negatives=('Walls',))
    typed, plain = (segmenter.encode(Vocabulary.parse(text)) for text in ('The Cats', 'cat'))
    assert torch.equal(typed.embeddings, plain.embeddings)
    assert typed.bias.tolist() == plain.bias.tolist() == [pytest.approx(0.1), 0.0]
    wall = loaded.text_encoder.encode_phrases(['wall'])[0]
    torch.testing.assert_close(typed.embeddings[1], wall)
    # A dataset's names are taken as they stand.
    exact = segmenter.encode(Vocabulary.from_names(['The Cats']))
    assert not torch.allclose(exact.embeddings, plain.embeddings)
    assert exact.bias.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(('rows', 'negatives'), [(2, ()), (3, ('wall',)), (5, ('wall',))])
def test_rows_that_are_not_those_of_the_words_are_refused(
    rows: int, negatives: tuple[str, ...]
) -> None:
    zeros = torch.zeros(rows)
    with pytest.raises(ValueError, match=f'`embeddings` of [34] rows.* but got {rows}'):
        EncodedVocabulary(WORDS, zeros[:, None], zeros, zeros, negatives=negatives)


def test_threshold_and_negatives_hold_for_what_is_encoded_with_them(loaded: LoadedModel) -> None:
    segmenter = _segmenter(loaded)
    image = _image(40, 70)
    assert segmenter.segment(image, WORDS).unlabelled_share == 0.0
    strict = segmenter.encode(WORDS, threshold=1.0)
    assert (strict.threshold, strict.negatives) == (1.0, ())
    assert segmenter.segment(image, strict).unlabelled_share == 1.0
    both = segmenter.encode(WORDS, negatives=NEGATIVES)
    assert (both.threshold, both.negatives) == (0.0, NEGATIVES)
    expected = _segmenter(loaded, negatives=NEGATIVES).segment(image, WORDS)
    assert np.array_equal(segmenter.segment(image, both).labels, expected.labels)
    assert (segmenter.threshold, segmenter.negatives) == (0.0, ())
    assert segmenter.segment(image, WORDS).unlabelled_share == 0.0
    with pytest.raises(ModelError, match='threshold'):
        segmenter.encode(WORDS, threshold=-0.1)
    for refused in (_segmenter, lambda _, **more: segmenter.encode(WORDS, **more)):
        with pytest.raises(VocabularyError, match="list of negative words, but got 'wall'"):
            refused(loaded, negatives='wall')


def test_negative_words_are_read_as_users_write_them() -> None:
    assert parse_negatives(' wall,  white   floor ,,Wall') == ('wall', 'white floor')
    assert parse_negatives('none') == ()
    assert parse_negatives(' None') == parse_negatives('NONE') == ()
    assert parse_negatives('wall\nfloor') == parse_negatives('["wall", "floor"]')
    assert clean_negatives(['sky', 'a wall', 'SKY ', 'the walls']) == ('sky', 'a wall')


@pytest.mark.parametrize(
    'text',
    ['', ' , ', 'wall\0', f'wall, {"w" * 300}', 'wall, no floor', 'wall, none', '{"a": 1}', '[1]'],
)
def test_negative_words_that_cannot_be_used_are_refused(text: str) -> None:
    with pytest.raises(VocabularyError, match='Expected'):
        parse_negatives(text)


def test_the_command_takes_negative_words(path: str, loaded: LoadedModel, tmp_path: Path) -> None:
    image = _image(40, 70)
    Image.fromarray(image).save(tmp_path / 'a.png')
    arguments = ['segment', str(tmp_path / 'a.png'), '--classes', ', '.join(WORDS.names)]
    options = ['--model', path, '--precision', 'fp32', '--out', str(tmp_path / 'out')]
    assert command.main([*arguments, *options, '--negatives', 'wall, floor']) == 0
    expected = _segmenter(loaded, negatives=NEGATIVES).segment(image, WORDS).labels
    assert (expected == UNLABELLED).any()
    written = np.array(Image.open(tmp_path / 'out' / 'a_label.png'))
    assert np.array_equal(written, expected)


def test_the_command_refuses_bad_negative_words(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match='2'):
        command.main(['segment', 'a.png', '--classes', 'cat', '--out', 'x', '--negatives', ' ,'])
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    assert 'argument --negatives: Expected negative words such as "wall, floor"' in error

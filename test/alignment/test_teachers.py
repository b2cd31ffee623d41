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
"""What teachers ask for equals slow computations of what they say, on towers without weights."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
import torch.nn.functional as F
from zegclip_core.alignment.config import GeometryConfig, SentencesConfig
from zegclip_core.alignment.teachers import (
    GeometryTeacher,
    MaskTeacher,
    NameTeacher,
    SentenceTeacher,
    SynonymTeacher,
)
from zegclip_core.alignment.texts import TextStore
from zegclip_core.data.captions import CaptionedImages, NamedImages
from zegclip_core.data.word_geometry import WordGeometry
from zegclip_core.data.wordnet import Synset
from zegclip_core.model.alignment import AlignedTowers, AlignmentConfig
from zegclip_core.model.vit import VisionConfig
from zegclip_core.options import UNLABELLED
from zegclip_core.text.encoder import TextEncoder
from zegclip_core.text.withheld import Withheld
from zegclip_core.training.config import SourceConfig
from zegclip_core.training.queries import ClassSet, ClassWords, PhraseTable, QueryMaker

DIM = 8
NOTHING = Withheld({})
TOWERS = AlignedTowers(
    AlignmentConfig(
        VisionConfig(8, 32, 1, 2, 32, (2, 2), embed_dim=DIM), DIM, dim=DIM, projections=False
    )
)


class Words:
    """A text tower whose embeddings follow from the text alone, and that counts its texts."""

    name = 'test'
    embed_dim = DIM

    def __init__(self) -> None:
        self.encoded = 0

    def encode(self, texts: Sequence[str]) -> Tensor:
        self.encoded += len(texts)
        rows = [
            torch.randn(DIM, generator=torch.Generator().manual_seed(sum(text.encode())))
            for text in texts
        ]
        return F.normalize(torch.stack(rows), dim=-1)


class Recorded(AlignedTowers):
    """Towers that keep what they are asked for."""

    def __init__(self, config: AlignmentConfig) -> None:
        super().__init__(config)
        self.asked: list[Tensor] = []

    def project_text(self, text_embeddings: Tensor) -> Tensor:
        self.asked.append(text_embeddings)
        return super().project_text(text_embeddings)


@pytest.fixture
def store(tmp_path: Path) -> TextStore:
    return TextStore(tmp_path / 'texts', TextEncoder(Words(), ['{}', 'a photo of a {}']))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(text: Tensor, side: int = 2) -> Tensor:
    """Return patch tokens (B, C, side, side), all of an image alike."""
    return text[:, :, None, None].expand(-1, -1, side, side)


def test_texts_are_encoded_once_and_kept(store: TextStore) -> None:
    tower = store.encoder.tower
    assert isinstance(tower, Words)
    phrases, sentences = store.phrases(['cup', 'cat']), store.sentences(['cup', 'cat'])
    torch.testing.assert_close(sentences, tower.encode(['cup', 'cat']), rtol=0, atol=1e-3)
    expected = store.encoder.encode_phrases(['cup', 'cat'])
    torch.testing.assert_close(phrases, expected, rtol=0, atol=1e-3)
    assert not torch.allclose(phrases, sentences, atol=0.1)
    count = tower.encoded
    again = TextStore(store.folder, TextEncoder(tower, ['{}', 'a photo of a {}']))
    assert torch.equal(again.phrases(['cup', 'cat']), phrases)
    assert torch.equal(again.sentences(['cup', 'cat']), sentences)
    assert tower.encoded == count
    # Other texts, another order and other templates are others.
    assert torch.equal(again.sentences(['cat', 'cup']), sentences.flip(0))
    bare = TextStore(store.folder, TextEncoder(tower, ['{}'])).phrases(['cup', 'cat'])
    torch.testing.assert_close(bare, sentences)
    assert store.phrases([]).shape == store.sentences([]).shape == (0, DIM)


def test_masks_cost_the_cross_entropy_over_the_words_that_count() -> None:
    encoder = TextEncoder(Words(), ['{}'])

    def class_set(*names: str, unseen: tuple[int, ...] = ()) -> ClassSet:
        words = tuple(map(ClassWords, names))
        return ClassSet(words, PhraseTable(words, encoder, varied=False), frozenset(unseen))

    own = class_set('cup', 'cat', 'sofa', 'dog', unseen=(2,))
    others = [class_set('cat', 'tree', 'car')]
    source = SourceConfig(
        root='', split='', unlabelled='unknown', foreign_words=3, balance=0.5, absent_words=1
    )
    maker = QueryMaker(source, own, others, torch.tensor([9.0, 1.0, 5.0, 0.0]))
    labels = torch.randint(0, 4, (2, 6, 8), generator=generator(1)).to(torch.uint8)
    labels[labels == 3] = UNLABELLED
    tokens = F.normalize(torch.randn(2, DIM, 3, 4, generator=generator(2)), dim=1)
    teacher = MaskTeacher([maker], stride=2)
    found = teacher.losses(TOWERS, tokens, labels, 0, generator(3))['masks']
    query = maker.make(labels, generator(3))
    total, count = 0.0, 0
    for image in range(2):
        for row in range(3):
            for column in range(4):
                label = int(labels[image, 2 * row, 2 * column])
                if label in (2, UNLABELLED):
                    continue
                word = int(query.index[label])
                logits = 20.0 * query.text @ tokens[image, :, row, column]
                shares = (logits - logits.max()).exp() * query.valid[:, label]
                total -= float(query.weights[word] * (shares[word] / shares.sum()).log())
                count += 1
    assert 0 < count < 24
    assert query.text.shape[0] == 6
    assert found.item() == pytest.approx(total / count, rel=1e-4)


def test_without_labelled_pixels_masks_cost_nothing() -> None:
    words = (ClassWords('cup'),)
    table = PhraseTable(words, TextEncoder(Words(), ['{}']), varied=False)
    source = SourceConfig(root='', split='')
    maker = QueryMaker(source, ClassSet(words, table), [], torch.ones(1))
    labels = torch.full((1, 2, 2), UNLABELLED, dtype=torch.uint8)
    tokens = torch.zeros(1, DIM, 2, 2)
    assert MaskTeacher([maker], 1).losses(TOWERS, tokens, labels, 0, generator())['masks'] == 0


CAPTIONS = CaptionedImages(
    Path('root'),
    ('a.png', 'b.png', 'c.png', 'd.png'),
    (('A cup .',), ('A dog runs .', 'A dog .'), ('A cat .',), ('A car and a cup .',)),
)


def sentence_teacher(store: TextStore, **settings: float) -> SentenceTeacher:
    config = SentencesConfig.model_validate({'least_often': 1, **settings})
    return SentenceTeacher(CAPTIONS, [1, 2, 3], store, NOTHING, config)


def test_images_are_compared_with_sentences_of_their_own(store: TextStore) -> None:
    teacher = sentence_teacher(store, weight=2.0, noun_weight=0.0)
    assert teacher.sentences == ['A dog runs .', 'A dog .', 'A cat .', 'A car and a cup .']
    text = store.sentences(teacher.sentences)
    # Taught images 2, 1 and 1 are d, c and c.
    shown = text[[3, 2]]
    own = teacher.losses(TOWERS, images(shown), shown, [2, 1], generator())
    logits = 20.0 * shown @ shown.T
    expected = (
        F.cross_entropy(logits, torch.arange(2)) + F.cross_entropy(logits.T, torch.arange(2))
    ) / 2
    assert own.keys() == {'sentences'}
    assert own['sentences'].item() == pytest.approx(2.0 * expected.item(), rel=1e-3)
    other = teacher.losses(TOWERS, images(shown), shown, [1, 2], generator())
    assert other['sentences'] > own['sentences'] + 1.0
    # Of b each of both sentences is drawn.
    losses = {
        round(
            teacher.losses(TOWERS, images(text[[0, 2]]), text[[0, 2]], [0, 1], generator(k))[
                'sentences'
            ].item(),
            4,
        )
        for k in range(20)
    }
    assert len(losses) == 2


def test_images_are_compared_with_all_nouns_that_are_drawn(store: TextStore) -> None:
    teacher = sentence_teacher(store, weight=0.0, noun_weight=0.5, nouns=9)
    assert teacher.nouns == ['car', 'cat', 'cup', 'dog']
    words = store.phrases(teacher.nouns)
    shown = words[[1, 0]]
    found = teacher.losses(TOWERS, images(shown), shown, [1, 2], generator())
    logits = (20.0 * shown @ words[:3].T).detach()  # The dog is in neither image.
    rows = logits.log_softmax(dim=1)
    columns = logits.log_softmax(dim=0)
    per_row = -(rows[0, 1] + (rows[1, 0] + rows[1, 2]) / 2) / 2
    per_column = -(columns[1, 0] + columns[0, 1] + columns[1, 2]) / 3
    expected = 0.5 * (per_row + per_column) / 2
    assert found['nouns'].item() == pytest.approx(expected.item(), rel=1e-3)
    rare = sentence_teacher(store, weight=0.0, least_often=2)
    assert rare.nouns == []
    assert rare.losses(TOWERS, images(shown), shown, [1, 2], generator()) == {}


def test_photos_are_compared_with_all_names(store: TextStore) -> None:
    photos = NamedImages(Path('root'), tuple('abcd'), ('cup', 'tench', 'cat', 'cup'))
    teacher = NameTeacher(photos, [0, 2, 3], store, 0.25)
    assert teacher.texts == ('cat', 'cup')
    words = store.phrases(teacher.texts)
    # Taught photos 1 and 2 show a cat and a cup.
    found = teacher.losses(TOWERS, images(words[[0, 0]]), [1, 2])['names']
    logits = 20.0 * words[[0, 0]] @ words.T
    expected = 0.25 * F.cross_entropy(logits, torch.tensor([0, 1]))
    assert found.item() == pytest.approx(expected.item(), rel=1e-3)


def test_geometry_goes_by_names_synonyms_and_definitions(store: TextStore) -> None:
    words = (('cup', 'mug'), ('cat',), ('tree',), ('car', 'auto'))
    rows = F.normalize(torch.randn(4, 5, generator=generator()), dim=1).numpy()
    geometry = WordGeometry(words, ('to drink', '', 'a plant', ''), rows.astype(np.float32))
    config = GeometryConfig(batch_size=3, weight=2.0)
    teacher = GeometryTeacher(geometry, store, NOTHING, config)
    assert teacher.texts == ('cup', 'mug', 'to drink', 'cat', 'tree', 'a plant', 'car', 'auto')
    towers = Recorded(TOWERS.config)
    for seed in range(60):
        assert teacher.losses(towers, generator(seed))['geometry'] > 0
    table = store.phrases(teacher.texts)
    drawn = torch.cdist(torch.cat(towers.asked), table).argmin(dim=1)
    counts = torch.bincount(drawn, minlength=8)
    assert (counts > 0).all()
    # Half the time a word goes by its name, else by any of its texts: of the cup 2 in 3.
    assert counts[0] / counts[:3].sum() == pytest.approx(2 / 3, abs=0.15)
    assert all(len(rows) == 3 for rows in towers.asked)


def test_synonyms_are_pairs_of_one_meaning(store: TextStore) -> None:
    synsets = [
        Synset(('cup', 'mug'), 'to drink'),
        Synset(('cat',), 'a pet'),
        Synset(('car', 'auto', 'machine'), 'it drives'),
    ]
    teacher = SynonymTeacher(synsets, store, NOTHING, weight=0.5, batch_size=9)
    assert teacher.texts == ('cup', 'mug', 'car', 'auto', 'machine', 'to drink', 'it drives')
    groups = ({0, 1, 5}, {2, 3, 4, 6})
    towers = Recorded(TOWERS.config)
    for seed in range(60):
        teacher.losses(towers, generator(seed))
    table = store.sentences(teacher.texts)
    pairs = torch.cdist(torch.cat(towers.asked), table).argmin(dim=1).unflatten(0, (-1, 2, 2))
    for one_side, other_side in pairs.tolist():
        for one, other in zip(one_side, other_side, strict=True):
            assert one != other
            assert any({one, other} <= group for group in groups)
    told = (pairs[:, 1] >= 5).float().mean().item()
    assert told == pytest.approx(0.3, abs=0.12)
    assert set(pairs.flatten().tolist()) == set(range(7))

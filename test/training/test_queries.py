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
"""The words that training asks for, and in which pixels they count."""

from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from zegclip_core.errors import ConfigError
from zegclip_core.model.losses import UNSEEN
from zegclip_core.options import UNLABELLED
from zegclip_core.text.encoder import TextEncoder
from zegclip_core.training.batches import batch_order
from zegclip_core.training.config import SourceConfig
from zegclip_core.training.queries import (
    balance_weights,
    ClassSet,
    ClassWords,
    PhraseTable,
    Query,
    QueryMaker,
    read_words,
)

LABELS = torch.tensor([[[0, 1], [3, UNLABELLED]]], dtype=torch.uint8)
ROAD, CAR, TREE, CAT = (ClassWords(name) for name in ('road', 'car', 'tree', 'cat'))


class _Words:
    """A text tower whose embeddings follow from the text alone."""

    name = 'test'
    embed_dim = 8

    def encode(self, texts: list[str]) -> torch.Tensor:
        rows = [
            torch.randn(8, generator=torch.Generator().manual_seed(sum(t.encode()))) for t in texts
        ]
        return F.normalize(torch.stack(rows), dim=-1)


ENCODER = TextEncoder(_Words(), ['{}', 'a photo of a {}'])


def class_set(*words: ClassWords, unseen: tuple[int, ...] = ()) -> ClassSet:
    return ClassSet(words, PhraseTable(words, ENCODER, varied=False), frozenset(unseen))


STREET = class_set(ROAD, CAR, TREE, CAT, unseen=(1, 3))


def query(
    own: ClassSet, *others: ClassSet, transductive: bool = False, **settings: object
) -> Query:
    """Return what a batch of LABELS is asked for."""
    source = SourceConfig.model_validate({'root': '', 'split': '', **settings})
    counts = torch.ones(len(own.words))
    maker = QueryMaker(source, own, others, counts, transductive=transductive)
    return maker.make(LABELS, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ('entry', 'named'),
    [
        ('car: {phrase: [auto]}', r"phrases, overlaps in car, but got 'phrase' .*mean phrases"),
        ('car: {phrases: [1]}', r'car\.phrases\.0 to be text, but got 1'),
        ('car: auto', r"car to be a mapping of settings, but got 'auto'"),
        ('bus: {}', 'map the classes car, tree, ... to their words, but got .bus.'),
        ('- car', r"but got \['car'\]"),
    ],
)
def test_words_that_do_not_fit_are_named(tmp_path: Path, entry: str, named: str) -> None:
    path = tmp_path / 'words.yaml'
    path.write_text('car: {phrases: [auto], overlaps: }\ntree:\n')
    expected = (ClassWords('car', ('auto',)), ClassWords('tree'))
    assert read_words(str(path), ['car', 'tree']) == expected
    path.write_text(entry)
    with pytest.raises(ConfigError, match=f'words.yaml.*{named}'):
        read_words(str(path), ['car', 'tree'])


def test_batches_visit_every_view_and_resume_where_they_stopped() -> None:
    def order(start: int) -> list[tuple[int, list[int]]]:
        stream = batch_order([10, 4], [0.75, 0.25], batch_size=2, seed=3, start=start)
        return list(islice(stream, 400 - start))

    full = order(0)
    assert order(17) == full[17:]
    sources = Counter(source for source, _ in full)
    assert sources[0] / 400 == pytest.approx(0.75, abs=0.06)
    drawn = [view for source, views in full if source == 0 for view in views]
    # Each round has every view once, in another order.
    for begin in range(0, 100, 10):
        once = drawn[begin:][:10]
        assert sorted(once) == list(range(begin, begin + 10))
    assert [view % 10 for view in drawn[:10]] != [view % 10 for view in drawn[10:20]]


def test_balance_evens_out_frequencies() -> None:
    counts = torch.tensor([900.0, 100.0, 0.0])
    assert balance_weights(counts, 0.0).tolist() == pytest.approx([1, 1, 1])
    weights = balance_weights(counts, 1.0)
    assert weights[0] * 900 == pytest.approx(weights[1] * 100)
    assert (weights[:2] * counts[:2]).sum() / 1000 == pytest.approx(1.0)
    assert weights[2] == 1.0


def test_a_foreign_word_counts_only_where_it_cannot_be_true() -> None:
    own = class_set(ClassWords('pedestrian', overlaps=('person',)), ROAD, CAR, TREE)
    foreign = class_set(ClassWords('person'), CAT, CAR)
    found = query(own, foreign, unlabelled='unknown', foreign_words=3)
    assert found.text.shape == (7, 8)
    assert sorted(found.index[:4].tolist()) == [0, 1, 2, 3]
    assert found.index[255] == 255
    assert found.valid[:4, :4].all()
    assert not found.valid[:, 255].any()
    # Which foreign word stands where is random; what may be true of them is not.
    expected = [[0, 1, 1, 1], [1, 1, 0, 1], [1, 1, 1, 1]]
    assert sorted(found.valid[4:, :4].int().tolist()) == expected


def test_an_unlabelled_pixel_is_none_of_the_own_classes_where_the_set_says_so() -> None:
    assert query(class_set(ROAD, CAR, TREE, CAT), unlabelled='none_of_these').valid.all()


def test_a_class_goes_by_its_name_half_the_time() -> None:
    table = PhraseTable([ClassWords('cat', ('kitten', 'tabby cat'))], ENCODER)
    generator = torch.Generator().manual_seed(0)
    name = table.canonical([0])
    same = [torch.equal(table.sample([0], generator), name) for _ in range(200)]
    # One in nine of the other draws is the averaged name as well.
    assert 0.4 < np.mean(same) < 0.7


def test_further_templates_are_drawn_but_are_not_the_name() -> None:
    words = [ClassWords('cat', ('kitten',))]
    table = PhraseTable(words, ENCODER, further=('an old {}',))
    assert torch.equal(table.canonical([0]), PhraseTable(words, ENCODER).canonical([0]))
    generator = torch.Generator().manual_seed(0)
    drawn = torch.cat([table.sample([0], generator) for _ in range(200)])
    old = F.normalize(ENCODER.tower.encode(['an old cat', 'an old kitten']), dim=-1)
    for embedding in old:
        assert (drawn == embedding).all(dim=1).any()
    plain = PhraseTable(words, ENCODER)
    drawn = torch.cat([plain.sample([0], generator) for _ in range(200)])
    assert not (drawn == old[0]).all(dim=1).any()


def test_inductive_training_is_told_nothing_of_unseen_classes() -> None:
    found = query(STREET)
    # Words: road and tree. A car or a cat is a pixel like any other that is not labelled.
    assert torch.equal(found.text, STREET.table.canonical([0, 2]))
    assert found.index[LABELS.long()].tolist() == [[[0, UNLABELLED], [UNLABELLED, UNLABELLED]]]
    assert torch.equal(found.valid[:, 1], found.valid[:, UNLABELLED])
    assert found.guessed == ()


def test_transductive_training_is_told_where_unseen_classes_are_but_not_which() -> None:
    found = query(STREET, transductive=True)
    assert found.index[LABELS.long()].tolist() == [[[0, UNSEEN], [UNSEEN, UNLABELLED]]]
    assert found.guessed == (2, 3)
    assert torch.equal(found.text[2:], STREET.table.canonical([1, 3]))


@pytest.mark.parametrize('transductive', [False, True])
def test_unseen_pixels_tell_nothing_where_unlabelled_ones_do_not(transductive: bool) -> None:
    other = class_set(CAR, ClassWords('dog'), unseen=(0,))
    found = query(STREET, other, transductive=transductive, unlabelled='unknown', foreign_words=2)
    own = 4 if transductive else 2
    # Of the other set only the dog may be asked for, and never where an unseen class is.
    assert len(found.text) == own + 1
    assert not found.valid[own:, [1, 3, UNLABELLED]].any()
    assert found.valid[own:, [0, 2]].all()
    assert found.valid[:own, [1, 3]].all() == transductive

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
"""Which ids words get, on a clock that is moved by hand."""

import random

import pytest
from zegclip_core.errors import VocabularyError
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_ros.kept_ids import KeptIds, QUIET


class Node:
    """Uses words as the node does: a frame is published with each."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.kept = KeptIds(lambda: self.now)
        self.words: Vocabulary | None = None

    def use(self, *names: str, publish: bool = True) -> dict[str, int]:
        return self.take(Vocabulary.from_names(names), publish=publish)

    def take(self, words: Vocabulary, *, publish: bool = True) -> dict[str, int]:
        self.words = self.kept.number(words, [self.words] if self.words else [])
        if publish:
            self.kept.published(self.words)
        return dict(zip(self.words.names, self.words.ids, strict=True))


def test_words_that_stay_keep_their_ids_and_new_ones_take_the_lowest_free() -> None:
    node = Node()
    assert node.use('cat', 'dog', 'cow') == {'cat': 0, 'dog': 1, 'cow': 2}
    assert node.use('cow', 'hen', 'cat') == {'cow': 2, 'hen': 3, 'cat': 0}
    # One that comes back at once has its own id, which no other got.
    assert node.use('dog', 'ant') == {'dog': 1, 'ant': 4}


def test_an_id_is_free_ten_seconds_after_the_last_frame_that_had_it() -> None:
    node = Node()
    node.use('cat', 'dog')
    node.now += 100.0  # Words are in use, however old their last frame is.
    assert node.use('dog', 'cow') == {'dog': 1, 'cow': 2}
    assert node.use('dog') == {'dog': 1}
    node.now += QUIET + 0.01
    assert node.use('ant', 'cow') == {'ant': 0, 'cow': 2}
    node.use('ant', 'cow', 'dog')
    old, node.words = node.words, None
    node.kept.published(old)
    node.now += QUIET
    assert node.use('hen', publish=False) == {'hen': 3}
    node.words = None
    node.now += 0.01
    assert node.use('hen') == {'hen': 0}


def test_ids_that_no_frame_had_are_free_at_once() -> None:
    node = Node()
    node.use('cat')
    for number in range(1000):
        node.use('cat', f'thing {number}', publish=False)
        assert max(node.words.ids) <= 2


def test_a_clock_that_is_set_back_frees_nothing_early_and_nothing_late() -> None:
    node = Node()
    node.use('cat')
    node.words = None
    node.now = 5.0
    assert node.use('dog', publish=False) == {'dog': 1}
    node.words = None
    node.now += QUIET + 0.01
    assert node.use('cow') == {'cow': 0}


def test_more_classes_than_8_bits_hold_are_refused() -> None:
    node = Node()
    with pytest.raises(VocabularyError, match=r'^Expected at most 254 classes .* but got 255\.$'):
        node.use(*map(str, range(255)))
    assert node.use(*map(str, range(254)))['253'] == 253


def test_when_no_id_is_left_it_is_told_and_later_there_are_some() -> None:
    node = Node()
    node.use(*map(str, range(200)))
    with pytest.raises(VocabularyError, match=r'^Expected ids for 100 words, but only 55 of 0 to'):
        node.use(*(f'new {number}' for number in range(100)))
    assert node.use(*(f'new {number}' for number in range(55)))['new 54'] == 254
    node.now += QUIET + 0.01
    assert node.use(*(f'other {number}' for number in range(100)))['other 0'] == 0


def test_ids_that_the_user_chose_stand_unless_they_are_another_word_s() -> None:
    node = Node()
    chosen = Vocabulary.parse('[{"name": "cat", "id": 9}, {"name": "dog", "id": 0}]')
    assert node.take(chosen) == {'cat': 9, 'dog': 0}
    assert node.use('cow', 'cat') == {'cow': 1, 'cat': 9}
    taken = Vocabulary.parse('[{"name": "hen", "id": 0}]')
    with pytest.raises(VocabularyError, match=r"'hen' is to have the id 0 of 'dog'\.$"):
        node.take(taken)
    node.now += QUIET + 0.01
    assert node.take(taken) == {'hen': 0}


def test_no_id_is_of_two_words_within_ten_seconds() -> None:
    chance, node = random.Random(0), Node()
    last: dict[int, tuple[str, float]] = {}
    names = [f'thing {number}' for number in range(60)]
    refused = 0
    for _ in range(2000):
        node.now += chance.choice([0.01, 0.5, 3.0])
        try:
            ids = node.use(*chance.sample(names, chance.randint(1, 40)))
        except VocabularyError:
            refused += 1
            continue
        for name, number in ids.items():
            owner, when = last.get(number, (name, 0.0))
            assert owner == name or node.now - when > QUIET
            last[number] = (name, node.now)
    assert not refused  # Sixty words never need more than 255 ids.

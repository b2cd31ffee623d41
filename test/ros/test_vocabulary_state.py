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
"""Which words are active and what is announced of them."""

import json
from typing import Any

import pytest
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_ros.vocabulary_state import AcceptedRequest, Stamp, VocabularyState


@pytest.fixture
def heard() -> list[dict[str, Any]]:
    """Return what was announced, decoded."""
    return []


@pytest.fixture
def state(heard: list[dict[str, Any]]) -> VocabularyState:
    return VocabularyState(lambda text: heard.append(json.loads(text)), lambda: 0.0)


def request(state: VocabularyState, *names: str) -> AcceptedRequest:
    topics = {'': [f'/masks/{name}' for name in names]}
    vocabulary = Vocabulary.from_names(names)
    return state.accept(vocabulary, topics, vocabulary)


def activate(state: VocabularyState, *names: str) -> AcceptedRequest:
    request(state, *names)
    taken = state.take()
    state.activate(taken)
    return taken


def activate_numbered(state: VocabularyState, *names: str) -> AcceptedRequest:
    """Have words with ids that stay in use."""
    asked = Vocabulary.from_names(names)
    state.accept(state.with_kept_ids(asked), {'': [None] * len(names)}, asked)
    taken = state.take()
    state.activate(taken)
    return taken


def test_only_the_last_words_that_wait_are_taken(state: VocabularyState) -> None:
    request(state, 'cat')
    request(state, 'dog')
    taken = state.take()
    assert taken.vocabulary.names == ('dog',)
    assert state.take() is None


def test_each_request_is_acknowledged_with_its_version(
    state: VocabularyState, heard: list
) -> None:
    first, second = request(state, 'cat'), request(state, 'dog')
    assert (first.version, second.version) == (1, 2)
    assert [(one['requested'], one['version']) for one in heard] == [(1, 0), (2, 0)]
    taken = state.take()
    assert taken is second
    state.activate(taken)
    assert (heard[-1]['requested'], heard[-1]['version']) == (2, 2)
    assert heard[-1]['classes'][0]['topic'] == '/masks/dog'


def test_the_first_frame_of_a_vocabulary_is_announced_and_one_that_is_older(
    state: VocabularyState, heard: list
) -> None:
    cat = activate(state, 'cat')
    heard.clear()
    stamps = [Stamp(5, 5), Stamp(5, 5), Stamp(6, 0), Stamp(2, 9), Stamp(3, 0)]
    told = [state.labelled(cat, stamp) for stamp in stamps]
    assert told == [True, False, False, True, False]
    assert [one['stamp'] for one in heard] == [
        {'sec': 5, 'nanosec': 5},
        {'sec': 2, 'nanosec': 9},
    ]


def test_a_frame_that_began_with_earlier_words_is_not_the_first_of_the_new_ones(
    state: VocabularyState, heard: list
) -> None:
    cat = activate(state, 'cat')
    dog = activate(state, 'dog')
    assert not state.labelled(cat, Stamp(1, 0))
    assert heard[-1]['stamp'] is None
    assert state.labelled(dog, Stamp(2, 0))


def test_ids_of_a_frame_in_work_stay_its_words_however_often_words_change(
    state: VocabularyState,
) -> None:
    # The first frame with a cat is slow, and no frame had that id before.
    cat = activate_numbered(state, 'cat')
    dog = activate_numbered(state, 'dog')
    hen = activate_numbered(state, 'hen')
    state.labelled(cat, Stamp(1, 0))
    assert [one.vocabulary.ids for one in (cat, dog, hen)] == [(0,), (1,), (2,)]


def test_a_refusal_is_announced_until_a_request_is_accepted(
    state: VocabularyState, heard: list
) -> None:
    activate(state, 'cat')
    state.refuse('bad ' * 100, ValueError('why'))
    assert heard[-1]['error'] == state.error == 'why'
    assert heard[-1]['refused'].startswith('bad bad')
    assert len(heard[-1]['refused']) < 120
    assert [entry['name'] for entry in heard[-1]['classes']] == ['cat']
    request(state, 'dog')
    assert heard[-1]['error'] is None
    assert heard[-1]['refused'] is None


def test_a_refusal_outlives_the_activation_of_earlier_words(
    state: VocabularyState, heard: list
) -> None:
    request(state, 'dog')
    state.refuse('bad', ValueError('why'))
    taken = state.take()
    state.activate(taken)
    assert heard[-1]['error'] == 'why'
    assert heard[-1]['version'] == heard[-1]['requested'] == 1


def test_masks_stay_in_use_while_their_words_wait_are_taken_or_active(
    state: VocabularyState,
) -> None:
    activate(state, 'cat')
    request(state, 'dog')
    assert state.topics_in_use() == {'/masks/cat', '/masks/dog'}
    taken = state.take()
    later = Vocabulary.parse('cow, pig')
    state.accept(later, {'': ('/masks/cow', None)}, later)
    assert state.topics_in_use() == {'/masks/cat', '/masks/dog', '/masks/cow'}
    state.activate(taken)
    assert state.topics_in_use() == {'/masks/dog', '/masks/cow'}


def test_words_that_cannot_be_encoded_leave_the_active_ones(
    state: VocabularyState, heard: list
) -> None:
    activate(state, 'cat')
    request(state, 'dog')
    taken = state.take()
    state.give_up(taken, ValueError('too rare'))
    assert heard[-1]['error'] == 'too rare'
    assert heard[-1]['refused'] == 'dog'
    assert state.topics_in_use() == {'/masks/cat'}


@pytest.mark.parametrize('later', [(), ('dog',)])
def test_without_a_model_the_newest_words_wait_for_the_next_one(
    state: VocabularyState, heard: list, later: tuple[str, ...]
) -> None:
    cat = activate(state, 'cat')
    state.labelled(cat, Stamp(1, 0))
    newest = request(state, *later) if later else cat
    state.retire()
    assert (heard[-1]['version'], heard[-1]['classes'], heard[-1]['stamp']) == (0, [], None)
    assert state.newest is newest
    assert state.take() is newest

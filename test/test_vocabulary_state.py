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
from zegclip_core.vocabulary import Vocabulary
from zegclip_ros.vocabulary_state import Stamp, VocabularyState, Words


def words(*names: str) -> Words:
    return Words(Vocabulary.from_names(names), tuple(f'/masks/{name}' for name in names))


class Announcements(list[dict[str, Any]]):
    """What was announced, decoded."""

    def add(self, text: str) -> None:
        self.append(json.loads(text))


@pytest.fixture
def heard() -> Announcements:
    return Announcements()


@pytest.fixture
def state(heard: Announcements) -> VocabularyState:
    return VocabularyState(heard.add)


def test_only_the_last_words_that_wait_are_taken(state: VocabularyState) -> None:
    state.request(words('cat'))
    state.request(words('dog'))
    taken = state.take()
    assert taken is not None
    assert taken.vocabulary.names == ('dog',)
    assert state.take() is None


def test_versions_count_what_became_active(state: VocabularyState, heard: Announcements) -> None:
    for name in ('cat', 'dog'):
        state.activate(words(name))
    assert [one['version'] for one in heard] == [1, 2]
    assert heard[-1]['classes'][0]['topic'] == '/masks/dog'


def test_only_the_first_frame_of_a_vocabulary_is_announced(
    state: VocabularyState, heard: Announcements
) -> None:
    state.activate(words('cat'))
    state.labelled(Stamp(1, 5))
    state.labelled(Stamp(2, 5))
    state.activate(words('dog'))
    assert [one['stamp'] for one in heard] == [None, {'sec': 1, 'nanosec': 5}, None]


def test_a_refusal_is_announced_until_a_request_is_accepted(
    state: VocabularyState, heard: Announcements
) -> None:
    state.activate(words('cat'))
    state.refuse('bad ' * 100, ValueError('why'))
    assert heard[-1]['error'] == 'why'
    assert heard[-1]['refused'].startswith('bad bad')
    assert len(heard[-1]['refused']) < 120
    assert [entry['name'] for entry in heard[-1]['classes']] == ['cat']
    state.request(words('dog'))
    assert heard[-1]['error'] is None
    assert heard[-1]['refused'] is None


def test_a_refusal_outlives_the_activation_of_earlier_words(
    state: VocabularyState, heard: Announcements
) -> None:
    state.request(words('dog'))
    state.refuse('bad', ValueError('why'))
    taken = state.take()
    assert taken is not None
    state.activate(taken)
    assert heard[-1]['error'] == 'why'
    assert heard[-1]['version'] == 1


def test_masks_stay_in_use_while_their_words_wait_are_taken_or_active(
    state: VocabularyState,
) -> None:
    state.activate(words('cat'))
    state.request(words('dog'))
    assert state.topics_in_use() == {'/masks/cat', '/masks/dog'}
    taken = state.take()
    assert taken is not None
    state.request(words('cow'))
    assert state.topics_in_use() == {'/masks/cat', '/masks/dog', '/masks/cow'}
    state.activate(taken)
    assert state.topics_in_use() == {'/masks/dog', '/masks/cow'}


def test_words_that_cannot_be_encoded_leave_the_active_ones(
    state: VocabularyState, heard: Announcements
) -> None:
    state.activate(words('cat'))
    state.request(words('dog'))
    taken = state.take()
    assert taken is not None
    state.give_up(taken, ValueError('too rare'))
    assert heard[-1]['error'] == 'too rare'
    assert heard[-1]['refused'] == 'dog'
    assert state.topics_in_use() == {'/masks/cat'}

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
"""What listeners understand of a node's announcements, and how they put its frames together."""

import json
from typing import Any

import numpy as np
import pytest
from zegclip_core.errors import ConfigError, VocabularyError
from zegclip_core.messages.outputs import announcement
from zegclip_core.text.vocabulary import Vocabulary, VocabularyClass
from zegclip_ros.listening import Announcement, FrameParts, places_of, version_at

WORDS = Vocabulary.from_names(['cat', 'dog'])
STAMP = {'sec': 5, 'nanosec': 7}


def told(words: Vocabulary | None = WORDS, version: int = 3, **changed: object) -> str:
    """Return what a node announces, with some fields changed."""
    topics = [None] * len(words or ())
    fields = announcement(words, topics, version=version, stamp=STAMP, requested=4, error='why')
    return json.dumps({**fields, **changed})


@pytest.mark.parametrize('ids', [(0, 1), (7, 254)])
def test_an_announcement_is_read_as_it_was_written(ids: tuple[int, int]) -> None:
    words = WORDS if ids == (0, 1) else WORDS.numbered(ids)
    found = Announcement.read(told(words))
    assert found.vocabulary is not None
    assert (found.version, found.requested, found.error, found.warning) == (3, 4, 'why', None)
    assert (found.vocabulary.names, found.vocabulary.ids) == (words.names, ids)
    assert np.array_equal(found.vocabulary.colors, words.colors)
    assert found.first('') == 5 * 10**9 + 7
    assert Announcement.read(told(None, 0)).vocabulary is None


@pytest.mark.parametrize(
    ('given', 'known', 'said'),
    [
        ('', ('front', 'rear'), 'one of front, rear'),
        ('side', ('front', 'rear'), 'one of front, rear'),
        ('front', (), 'empty for one camera'),
    ],
)
def test_a_camera_that_the_node_lacks_is_refused_in_one_line(
    given: str, known: tuple[str, ...], said: str
) -> None:
    stamps: dict[str, Any] = {'stamps': dict.fromkeys(known)} if known else {}
    with pytest.raises(ConfigError, match=rf"^Expected .* be {said}, but got '{given}'\.$"):
        Announcement.read(told(**stamps)).first(given)


MALFORMED = (
    '',
    'no json',
    '[]',
    '{}',
    '[' * 100_000,
    told(version=-1),
    told(version='many'),
    told(version=1e400),
    told(classes=None),
    told(classes=[]),
    told(classes=['cat']),
    told(classes=[{'name': 'cat'}]),
    told(classes=[{'name': 3, 'phrases': [], 'color': [0, 0, 0], 'threshold': None, 'id': 0}]),
    told(classes=[{'name': 'a', 'phrases': [], 'color': None, 'threshold': None, 'id': 0}]),
    told(classes=[{'name': 'a', 'phrases': [], 'color': [0, 0, 0], 'threshold': None, 'id': 'x'}]),
    told(stamp='now'),
    told(stamp={'sec': 1}),
    told(stamps=['front']),
    told(error=3),
)


@pytest.mark.parametrize('text', MALFORMED)
def test_what_is_no_announcement_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(VocabularyError, match=r'^Expected what a node announces') as caught:
        Announcement.read(text)
    assert len(str(caught.value)) < 250


def test_a_frame_has_the_newest_words_that_were_there() -> None:
    firsts = {1: 10, 2: 20, 3: None, 4: 40}
    found = [version_at(stamp, firsts) for stamp in (9, 10, 19, 20, 39, 40)]
    assert found == [None, 1, 1, 2, 2, 4]


def test_ids_of_label_images_become_places() -> None:
    vocabulary = Vocabulary(
        (VocabularyClass('cat', class_id=7), VocabularyClass('dog', class_id=2))
    )
    ids = np.array([[7, 2], [255, 9]], np.uint8)
    assert places_of(ids, vocabulary).tolist() == [[0, 1], [255, 255]]
    assert places_of(np.array([[0, 1, 255]], np.uint8), WORDS).tolist() == [[0, 1, 255]]
    many = Vocabulary.from_names([f'word {number}' for number in range(300)])
    assert places_of(np.array([[299, 65535]], np.uint16), many).tolist() == [[299, 65535]]
    # Labels from before there were that many words: 255 is none of them there.
    assert places_of(np.array([[3, 255]], np.uint8), many).tolist() == [[3, 65535]]


def test_parts_are_put_together_by_their_stamps() -> None:
    frames = FrameParts[str](('image', 'labels'), len, 6)
    assert frames.add(1, 'image', 'aa') is None
    assert frames.add(2, 'labels', 'BB') is None
    assert frames.add(2, 'image', 'bb') == {'image': 'bb', 'labels': 'BB'}
    assert frames.add(2, 'image', 'cc') is None  # It is a new one.
    assert frames.add(3, 'image', 'dd') is None
    assert frames.add(4, 'image', 'e') is None  # The first one has to make room.
    assert frames.add(1, 'labels', '') is None
    assert frames.add(3, 'labels', 'DD') == {'image': 'dd', 'labels': 'DD'}

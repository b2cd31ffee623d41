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
"""Ids that words are given, in every form that words are read from."""

import json
from pathlib import Path

import pytest
from zegclip_core.errors import VocabularyError
from zegclip_core.text.vocabulary import Vocabulary


def words(*ids: object) -> str:
    return json.dumps([{'name': f'thing {at}', 'id': one} for at, one in enumerate(ids)])


def test_words_have_the_ids_that_they_are_given_or_their_places(tmp_path: Path) -> None:
    text = words(254, 0, 7)
    file = tmp_path / 'words.json'
    file.write_text(text, encoding='utf-8')
    for given in (Vocabulary.parse(text), Vocabulary.from_file(file)):
        assert given.ids == (254, 0, 7)
        assert given.has_ids
        assert given.painted('pascal_voc').ids == (254, 0, 7)
        assert given.index('thing 1') == 1
    places = Vocabulary.parse('cat, dog')
    assert (places.ids, places.has_ids) == ((0, 1), False)
    assert places.numbered([3, 1]).ids == (3, 1)
    assert Vocabulary.parse(words(None, None)).ids == (0, 1)


def test_ids_change_no_colour() -> None:
    plain = Vocabulary.parse('cat, dog, person')
    for palette in ('by_name', 'color_blind', 'pascal_voc'):
        own = plain.numbered([9, 200, 4]).painted(palette)
        assert (own.colors == plain.painted(palette).colors).all()


@pytest.mark.parametrize('one', [255, -1, 1.0, True, '1', [1], 10**30])
def test_what_is_no_id_is_refused(one: object) -> None:
    with pytest.raises(VocabularyError, match=r'^Expected the "id" of class \'thing 0\' .* 254, '):
        Vocabulary.parse(words(one))


def test_ids_for_some_words_only_and_equal_ids_are_refused() -> None:
    for text in (words(1, None), words(None, 1), '[{"name": "a", "id": 1}, "thing 1"]'):
        with pytest.raises(VocabularyError, match=r'for every class or for none, but .* has none'):
            Vocabulary.parse(text)
    with pytest.raises(VocabularyError, match=r"but 'thing 0' and 'thing 2' both have 3\.$"):
        Vocabulary.parse(words(3, 4, 3))

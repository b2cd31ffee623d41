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
"""What users type in the place of words: lists in other forms, files, scores, JSON."""

from collections.abc import Callable, Iterable
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
import pytest
from zegclip_core.errors import VocabularyError
from zegclip_core.text.negatives import clean_negatives
from zegclip_core.text.vocabulary import MAX_TEXT, Vocabulary


@pytest.mark.parametrize(
    ('text', 'says'),
    [
        ('person\u3001cat', 'CJK comma'),
        ('person\uff0ccat', 'full-width comma'),
        ('person\uff1bcat', 'Expected a comma or a line break between words'),
        ('person\u060c cat', 'Expected a comma or a line break between words'),
        ('person; cat', 'semicolon'),
        ('words.txt', 'looks like a file: give it as --classes-file'),
        ('config/words/street.yaml', 'looks like a file'),
        ('person, words.JSON', 'looks like a file'),
        ('person, [cat]', 'looks like a part of a list or of JSON'),
        ('cat, {"name": "dog"}', 'looks like a part of a list or of JSON'),
        ('cat:0.3', r'\[{"name": "cat", "threshold": 0.3}\]'),
        ('person, traffic light = .25', r'{"name": "traffic light", "threshold": 0.25}'),
        ('cat (0.5)', r'"threshold": 0.5'),
        ('cat |', 'a phrase of class'),
        ('| cat', 'a class name'),
    ],
)
def test_what_is_no_word_is_refused_with_the_right_form(text: str, says: str) -> None:
    with pytest.raises(VocabularyError, match=says):
        Vocabulary.parse(text)


@pytest.mark.parametrize(
    ('entries', 'says'),
    [
        (['person, cat'], r'give \["person", "cat"\]'),
        (['dog', 'person,cat'], r'give \["person", "cat"\]'),
        (['person\ncat'], r'give \["person", "cat"\]'),
        (['["person", "cat"]'], 'looks like a part of a list or of JSON'),
        (['words.txt'], 'parameter vocabulary_file'),
        (['cat:0.3'], '"threshold": 0.3'),
        (['person\u3001cat'], 'CJK comma'),
    ],
)
def test_a_list_has_one_word_in_each_entry(entries: list[str], says: str) -> None:
    with pytest.raises(VocabularyError, match=says):
        Vocabulary.from_list(entries)


@pytest.mark.parametrize(
    'text', ['couch | sofa, cat', 'couch|sofa\ncat', '\ufeffcouch | sofa, cat']
)
def test_a_bar_gives_a_class_several_phrases(text: str) -> None:
    couch, cat = Vocabulary.parse(text).classes
    assert (couch.name, couch.phrases) == ('couch', ('sofa',))
    assert (cat.name, cat.phrases) == ('cat', ())
    assert Vocabulary.from_list(['couch | sofa', 'cat']) == Vocabulary.parse(text)


def test_json_says_what_it_says() -> None:
    text = '["salt, pepper", "a|b", "cat:0.3", "x.txt", {"name": "[dog]"}]'
    assert Vocabulary.parse(text).names == ('salt, pepper', 'a|b', 'cat:0.3', 'x.txt', '[dog]')


@pytest.mark.parametrize(
    'name', ['a 16:9 screen', 'No. 5', 'm&m', 'size 0.5 bolt', 'train (railway)', 'v1.0 box', '3d']
)
def test_names_that_look_a_little_like_it_stay(name: str) -> None:
    assert Vocabulary.parse(name).names == (name,)


@pytest.mark.timeout(60)  # Milliseconds; hours where time grows with the square of the length.
@pytest.mark.parametrize(
    ('text', 'says'),
    [
        ('x' * MAX_TEXT, f'1 to 200 characters, but got .* with {MAX_TEXT}'),
        ('cat ' * (MAX_TEXT // 4), f'1 to 200 characters, but got .* with {MAX_TEXT - 1}'),
        ('cat' + '=' * (MAX_TEXT - 5) + '.5', r'"cat=+\.\.\.", "threshold": 0.5'),
        ('cat:' + '.5' * (MAX_TEXT // 2 - 2), f'1 to 200 characters, but got .* with {MAX_TEXT}'),
        ('cat' + '(' * (MAX_TEXT - 3), f'1 to 200 characters, but got .* with {MAX_TEXT}'),
        ('[' * MAX_TEXT, 'cannot be read: maximum recursion depth'),
        ('cat,' * (MAX_TEXT // 4), f'1 to 1024 classes, but got {MAX_TEXT // 4}'),
    ],
    ids=['letters', 'words', 'equals', 'points', 'brackets', 'json', 'commas'],
)
def test_the_longest_text_is_refused_at_once(text: str, says: str) -> None:
    assert len(text) <= MAX_TEXT
    with pytest.raises(VocabularyError, match=says):
        Vocabulary.parse(text)


@pytest.mark.timeout(60)
def test_the_longest_word_with_spaces_in_it_is_read_at_once() -> None:
    spaces = ' ' * (MAX_TEXT - 6)
    assert Vocabulary.parse(f'cat{spaces}dog').names == ('cat dog',)


@pytest.mark.timeout(60)
@pytest.mark.parametrize('read', [Vocabulary.from_list, clean_negatives])
def test_too_many_words_are_refused_before_each_is_looked_at(
    read: Callable[[Iterable[str]], object],
) -> None:
    words = [f'thing {number}' for number in range(2000)]
    with pytest.raises(VocabularyError, match=r'1024 .*, but got 2002'):
        read([*words, 'not a word', ''])


@given(st.text(max_size=40))
def test_any_text_is_words_or_one_line(text: str) -> None:
    for read in (Vocabulary.parse, lambda one: Vocabulary.from_list([one])):
        try:
            assert len(read(text)) >= 1
        except VocabularyError as error:
            assert len(str(error).splitlines()) == 1  # noqa: PT017 - either outcome is allowed


@pytest.mark.parametrize('ends', ['\n', '\r\n', '\r'])
@pytest.mark.parametrize('mark', [b'', b'\xef\xbb\xbf'])
def test_a_file_of_words_has_any_line_ends_and_a_byte_order_mark(
    tmp_path: Path, ends: str, mark: bytes
) -> None:
    path = tmp_path / 'words.txt'
    path.write_bytes(mark + ends.join(['# mine', 'couch | sofa', 'cat', '']).encode())
    assert Vocabulary.from_file(path).names == ('couch', 'cat')


def test_a_file_in_utf_16_is_called_so(tmp_path: Path) -> None:
    (tmp_path / 'words.txt').write_text('cat\ndog', encoding='utf-16')
    with pytest.raises(VocabularyError, match=r'to be text in UTF-8, but it is in UTF-16'):
        Vocabulary.from_file(tmp_path / 'words.txt')

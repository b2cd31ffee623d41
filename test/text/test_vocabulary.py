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
"""Vocabularies as users write them, and the colours that classes get."""

from collections.abc import Sequence
import json
from pathlib import Path
import subprocess
import sys
import unicodedata

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from zegclip_core.errors import ConfigError, VocabularyError, ZegCLIPError
from zegclip_core.options import MAX_CLASSES, UNLABELLED
from zegclip_core.segmentation import label_type, Segmentation
from zegclip_core.text.colors import assign_colors, MIN_DISTANCE, PALETTE, PALETTE_NAMES
from zegclip_core.text.phrases import is_negated, MAX_NAME
from zegclip_core.text.vocabulary import MAX_TEXT, Vocabulary, VocabularyClass

# Letters of any script, which need no trimming; commas and line ends separate names.
# Negations are refused where users type them.
WORDS = st.text(
    st.characters(categories=['L', 'N'], exclude_characters=',[{'), min_size=1, max_size=20
).filter(lambda word: not is_negated(word) and unicodedata.is_normalized('NFC', word))


def refusal(text: str) -> str:
    """Return the one line with which a vocabulary message is refused."""
    with pytest.raises(VocabularyError) as error:
        Vocabulary.parse(text)
    # Programs may catch it as either.
    assert isinstance(error.value, ZegCLIPError)
    assert isinstance(error.value, ValueError)
    message = str(error.value)
    assert '\n' not in message
    assert len(message) < 300
    return message


@pytest.mark.parametrize(
    'text',
    [
        'person, traffic light',
        'person\ntraffic light',
        ' person ,\r\n\r\n traffic   light,, ',
        '- person\n-  traffic light\n',
        '* person\n\u2022 traffic light',
        '# what moves, and what does not\nperson\n  #\tlamps\ntraffic light\n',
    ],
)
def test_lists_by_comma_and_by_line_give_the_same_names(text: str) -> None:
    assert Vocabulary.parse(text).names == ('person', 'traffic light')


def test_json_lists_of_names_and_objects_can_be_mixed() -> None:
    vocabulary = Vocabulary.parse(
        '["person", {"name": "car", "phrases": ["automobile", "car"], "color": "#0a0B0c", '
        '"threshold": 0.25}]'
    )
    assert vocabulary.names == ('person', 'car')
    car = vocabulary.classes[1]
    assert car == VocabularyClass('car', ('automobile', 'car'), (10, 11, 12), 0.25, exact=False)
    assert car.all_phrases == ('car', 'automobile')
    assert vocabulary.colors[1].tolist() == [10, 11, 12]


@pytest.mark.parametrize(
    ('text', 'names'),
    [
        ('["salt, pepper"]', ['salt, pepper']),
        ('cafe\u0301', ['caf\u00e9']),  # Letters are composed,
        ('\U0001f468\u200d\U0001f469', ['\U0001f468\u200d\U0001f469']),  # pictographs whole,
        # and quotes around words are taken off.
        ('"car", \'dog\', \u201ccat\u201d, 5" pipe', ['car', 'dog', 'cat', '5" pipe']),
    ],
)
def test_names_are_read_as_they_are_meant(text: str, names: list[str]) -> None:
    assert list(Vocabulary.parse(text).names) == names


def test_ids_follow_the_order_of_the_words() -> None:
    vocabulary = Vocabulary.parse('b, a, c')
    assert [vocabulary.index(name) for name in ('b', 'a', 'c')] == [0, 1, 2]
    with pytest.raises(VocabularyError, match=r'one of the classes b, a, c, but got .d'):
        vocabulary.index('d')


@pytest.mark.parametrize(
    ('text', 'says'),
    [
        ('', 'empty text'),
        (' ,\n, ', 'empty text'),
        ('[]', '1 to 1024 classes, but got 0'),
        (f'[{"1" * 5000}]', 'in JSON'),
        ('cat, dog, Cat', "'Cat' twice"),
        ('["cat", "CAT"]', "'CAT' twice"),
        ('[', 'cannot be read'),
        ('["cat"', 'cannot be read'),
        ('{"name": "cat"}', 'JSON list'),
        ('[1]', 'string or an object'),
        ('[null]', 'string or an object'),
        ('[["cat"]]', 'string or an object'),
        ('[{}]', 'no "name"'),
        ('[{"name": 3}]', 'string'),
        ('[{"name": ""}]', '1 to 200 characters'),
        ('[{"name": "cat", "colour": "#ffffff"}]', "unknown key 'colour'"),
        ('[{"name": "cat", "phrases": "kitten"}]', 'list of strings'),
        ('[{"name": "cat", "phrases": [7]}]', 'string'),
        ('[{"name": "cat", "color": [1, 2]}]', 'integers from 0 to 255'),
        ('[{"name": "cat", "color": [1, 2, 256]}]', 'integers from 0 to 255'),
        ('[{"name": "cat", "color": [1, 2, true]}]', 'integers from 0 to 255'),
        ('[{"name": "cat", "color": "red"}]', '#rrggbb'),
        ('[{"name": "cat", "threshold": 1.5}]', '[0, 1]'),
        ('[{"name": "cat", "threshold": NaN}]', '[0, 1]'),
        ('[{"name": "cat", "threshold": true}]', '[0, 1]'),
        ('[{"name": "cat", "exact": 1}]', 'true or false'),
        ('...', 'a letter or a digit'),
        ('cat, -', 'a letter or a digit'),
        ('[{"name": "cat", "phrases": ["?!"]}]', 'a letter or a digit'),
        ('not a car', "got 'not a car'"),
        ('cat, no person', "got 'no person'"),
        ('["cat", {"name": "road", "phrases": ["street without cars"]}]', 'street without cars'),
        ('cat\x00', 'UTF-8'),
        ('c\u200bat', 'UTF-8'),
        ('c\u00adat', 'UTF-8'),
        ('cat;dog', 'comma or a line break'),
        ('"salt, pepper", cup', 'as JSON'),
        ('caf\u00e9, cafe\u0301', 'twice'),
        ('c\ufffdt', 'UTF-8'),
        ('\udcff', 'UTF-8'),
        ('a' * (MAX_NAME + 1), '1 to 200 characters'),
        ('x,' * MAX_TEXT, f'at most {MAX_TEXT} characters'),
        ('[' * 60_000, 'cannot be read'),
    ],
)
def test_what_cannot_be_used_is_refused_with_one_line(text: str, says: str) -> None:
    assert says in refusal(text)


def test_1024_classes_are_the_limit() -> None:
    names = [f'thing {number}' for number in range(MAX_CLASSES + 1)]
    assert len(Vocabulary.from_names(names[:-1])) == 1024
    assert 'but got 1025' in refusal(','.join(names))


def test_files_hold_what_messages_hold(tmp_path: Path) -> None:
    (tmp_path / 'words.txt').write_text('café\ncat\n', encoding='utf-8')
    assert Vocabulary.from_file(tmp_path / 'words.txt').names == ('café', 'cat')
    (tmp_path / 'words.json').write_text('[{"name": "cat"}]', encoding='utf-8')
    assert Vocabulary.from_file(str(tmp_path / 'words.json')).names == ('cat',)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / 'latin.txt').write_bytes('café'.encode('latin-1'))
    for path in (tmp_path / 'nothing.txt', tmp_path):
        with pytest.raises(VocabularyError, match='Cannot read the vocabulary file'):
            Vocabulary.from_file(path)
    with pytest.raises(VocabularyError, match=r'latin\.txt to be text in UTF-8'):
        Vocabulary.from_file(tmp_path / 'latin.txt')


@given(st.lists(WORDS, min_size=1, max_size=30, unique_by=str.casefold))
def test_any_distinct_words_come_back_by_every_way(words: list[str]) -> None:
    expected = tuple(words)
    assert Vocabulary.from_names(words).names == expected
    assert Vocabulary.parse(json.dumps(words)).names == expected
    assert Vocabulary.parse(','.join(words)).names == expected
    assert Vocabulary.parse('\n'.join(words)).names == expected


@given(
    st.text(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=10),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(['name', 'phrases', 'color', 'threshold', 'x']), inner
            )
        ),
        max_leaves=12,
    ).map(json.dumps)
)
def test_no_text_raises_anything_but_a_vocabulary_error(text: str) -> None:
    try:
        vocabulary = Vocabulary.parse(text)
    except VocabularyError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017 - either outcome is allowed
    else:
        assert 1 <= len(vocabulary) <= MAX_CLASSES
        assert vocabulary.colors.shape == (len(vocabulary), 3)


def test_a_byte_order_mark_is_no_part_of_the_words(tmp_path: Path) -> None:
    for text in ('cat, dog', '["cat", "dog"]'):
        (tmp_path / 'words.txt').write_text(text, encoding='utf-8-sig')
        assert Vocabulary.from_file(tmp_path / 'words.txt').names == ('cat', 'dog')
        assert Vocabulary.parse(f'\ufeff{text}').names == ('cat', 'dog')


# The form that is encoded


@pytest.mark.parametrize('text', ['Cars, the TREE', 'car\na tree', '["an Car", "trees"]'])
def test_what_users_type_is_encoded_without_article_case_and_plural(text: str) -> None:
    vocabulary = Vocabulary.parse(text)
    assert vocabulary.encoded_phrases() == (('car',), ('tree',))
    assert Vocabulary.from_words(vocabulary.names) == vocabulary


def test_names_that_a_program_gives_are_encoded_as_they_stand() -> None:
    # The classes of COCO-Stuff must be encoded as published.
    names = ('clouds', 'building-other', 'stairs', 'The Skis')
    assert Vocabulary.from_names(names).encoded_phrases() == tuple((name,) for name in names)
    typed = Vocabulary.parse('[{"name": "not Clouds", "exact": true}, "Clouds"]')
    assert typed.encoded_phrases() == (('not Clouds',), ('cloud',))


@pytest.mark.parametrize(
    ('text', 'known', 'encoded'),
    [
        # Classes that would become one stay as they are,
        ('person, People, the dogs', '', 'person; People; dog'),
        # and so does a phrase that is another class in the plural.
        (
            '[{"name": "person"}, {"name": "crowd", "phrases": ["people", "mobs"]}]',
            '',
            'person; crowd, people, mob',
        ),
        # Words of the training are taken in the form that the model knows.
        (
            'Ski, the clouds, STOP SIGNS, dogs',
            'skis, clouds, Stop sign',
            'skis; clouds; Stop sign; dog',
        ),
        # Phrases have the same form as names, and each form is there once.
        ('[{"name": "Cars", "phrases": ["a car", "Vans", "van"]}]', '', 'car, van'),
    ],
)
def test_forms_tell_classes_apart_and_follow_the_training(
    text: str, known: str, encoded: str
) -> None:
    found = Vocabulary.parse(text).encoded_phrases(known.split(', ') if known else ())
    assert found == tuple(tuple(row.split(', ')) for row in encoded.split('; '))


# Colours


def seen_distance(first: Sequence[int], second: Sequence[int]) -> float:
    """Return the distance of two RGB colours in OKLab, written anew from its definition."""

    def oklab(color: Sequence[int]) -> np.ndarray:
        red, green, blue = (
            value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
            for value in (part / 255 for part in color)
        )
        long = (0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue) ** (1 / 3)
        medium = (0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue) ** (1 / 3)
        short = (0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue) ** (1 / 3)
        return np.array(
            [
                0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short,
                1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short,
                0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short,
            ]
        )

    return float(np.linalg.norm(oklab(first) - oklab(second)))


def test_the_distance_of_black_and_white_is_one() -> None:
    assert seen_distance((0, 0, 0), (255, 255, 255)) == pytest.approx(1.0, abs=1e-3)


@given(st.lists(WORDS, min_size=2, max_size=12, unique_by=str.casefold))
def test_a_dozen_classes_never_look_alike(words: list[str]) -> None:
    colors = Vocabulary.from_names(words).colors.tolist()
    for place, color in enumerate(colors):
        for other in colors[:place]:
            assert seen_distance(color, other) > MIN_DISTANCE - 1e-6


def test_a_word_has_its_colour_in_every_vocabulary_where_it_is_free() -> None:
    alone = Vocabulary.parse('person').colors[0].tolist()
    assert Vocabulary.parse('PERSON').colors[0].tolist() == alone
    assert Vocabulary.parse('person, cat, car').colors[0].tolist() == alone
    others = [Vocabulary.from_names([f'thing {n}', 'person']).colors[1].tolist() for n in range(9)]
    assert others.count(alone) >= 5


def test_a_word_has_the_same_colour_in_every_process() -> None:
    # Python's own hash of a text differs from run to run.
    code = (
        'from zegclip_core.text.vocabulary import Vocabulary as V; print(V.parse("cat, a").colors)'
    )
    runs = {
        subprocess.run(
            [sys.executable, '-c', code],
            env={'PYTHONHASHSEED': seed, 'PYTHONPATH': str(Path(__file__).parents[2])},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ('1', '2')
    }
    assert len(runs) == 1


def test_all_classes_have_a_colour_of_their_own() -> None:
    colors = Vocabulary.from_names(f'thing {number}' for number in range(MAX_CLASSES)).colors
    assert len({tuple(color) for color in colors.tolist()}) == MAX_CLASSES
    assert colors.dtype == np.uint8


def test_chosen_colours_are_kept_and_avoided() -> None:
    own = assign_colors(['cat'], [None])[0]
    assert assign_colors(['a', 'b'], [own, own]) == (own, own)
    beside_its_own = assign_colors(['cat', 'x'], [None, own])[0]
    assert seen_distance(beside_its_own, own) >= MIN_DISTANCE
    assert beside_its_own in PALETTE


@pytest.mark.parametrize('palette', PALETTE_NAMES)
def test_a_palette_keeps_chosen_colours_and_repeats_none(palette: str) -> None:
    words = Vocabulary.parse('["cat", {"name": "dog", "color": "#010203"}, "cow", "a", "b", "c"]')
    painted = words.painted(palette)
    assert painted.names == words.names
    assert painted.colors[1].tolist() == [1, 2, 3]
    assert len({tuple(color) for color in painted.colors.tolist()}) == 6
    assert (painted.colors == words.colors).all() == (palette == 'by_name')


def test_the_palette_of_pascal_voc_is_that_of_its_devkit() -> None:
    # aeroplane, bicycle, bird, boat; 20: tvmonitor.
    painted = Vocabulary.from_names(f'thing {number}' for number in range(20)).painted(
        'pascal_voc'
    )
    first = [[128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128]]
    assert painted.colors[:4].tolist() == first
    assert painted.colors[19].tolist() == [0, 64, 128]


def test_a_palette_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigError, match="by_name, color_blind, pascal_voc, but got 'rainbow'"):
        Vocabulary.parse('cat').painted('rainbow')


# What a segmentation says about its classes


def test_labels_of_many_classes_have_16_bits() -> None:
    assert label_type(254) is np.uint8
    assert label_type(255) is np.uint16
    names = Vocabulary.from_names(f'thing {number}' for number in range(300))
    labels = np.array([[0, 255, 299, 65535]], dtype=np.uint16)
    found = Segmentation(labels, np.ones((1, 4), np.float32), names)
    assert found.unlabelled.tolist() == [[False, False, False, True]]
    assert found.shares()['thing 255'] == 0.25
    assert found.unlabelled_share == 0.25


def test_masks_and_shares_follow_the_labels() -> None:
    labels = np.array([[0, 0, 1, UNLABELLED]], dtype=np.uint8)
    found = Segmentation(labels, np.ones((1, 4), np.float32), Vocabulary.parse('cat, dog, cow'))
    assert found.mask('cat').tolist() == [[True, True, False, False]]
    assert found.shares() == {'cat': 0.5, 'dog': 0.25, 'cow': 0.0}
    assert found.unlabelled_share == 0.25
    with pytest.raises(VocabularyError):
        found.mask('horse')

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
"""The form of phrases, by hand-written pairs and by the class names of published datasets."""

from pathlib import Path
import re

from nouns import PAIRS, SINGULAR_ONLY
from open_clip import IMAGENET_CLASSNAMES
import pytest
from zegclip_core.data.datasets import known_names, load_spec
from zegclip_core.text.phrases import is_negated, standard_form, StandardForms

PLURALS = (
    'people: person, men: man, children: child, feet: foot, mice: mouse, geese: goose, '
    'buses: bus, boxes: box, glass: glass, cherries: cherry, knives: knife, '
    'potatoes: potato, photos: photo, horses: horse, shoes: shoe, sofas: sofa, '
    'daisies: daisy, magpies: magpie, traffic lights: traffic light, '
    'potted plants: potted plant, cups of tea: cup of tea, men in suits: man in suits, '
    'persons on bicycles: person on bicycles'
)
STAY = (
    'bus gas lens GPS grass canvas atlas mattress tennis cactus octopus walrus sheep series '
    'species glasses scissors jeans clothes stairs iris Straße кошки 猫 a the as of '
    'cola chili media opera graffiti crossroads premises eyeglasses fries'
)
THINGS = (
    'car, forget-me-not, no parking sign, knot, cannon, notebook, piano, Norman, '
    'no smoking sign on the wall, no smoking area, No 1, No. 5 bus, no frills bag, '
    'forget me not, never ending staircase, no-fly zone, no left turn sign, '
    "do not enter sign, nor'easter, do-not-enter signs, don't walk sign, no dogs allowed sign, "
    'no cell phone zone, "No Parking" sign, no U turn sign, sugar-free drink'
)
NEGATIONS = (
    'not a car, no person, No people, road without cars, everything except cars, '
    "man who isn't walking, man who isn\u2019t walking, neither cat nor dog, nothing, "
    'none of these, not a traffic sign, no sign, no traffic signs, pole without sign, '
    'nothing but signs, there is no car, car with no wheels, a person with no hat, no-one, '
    '"not a car", (no car), anything but cars, no parking sign without pole, car w/o wheels, '
    'man who isnt walking, anything other than cars, a cat rather than a dog, '
    'road instead of grass, street free of cars, absence of people, car lacking wheels, '
    'no_person, \uff4e\uff4f person, no dogs on the road, !car'
)
TRUE_PLURALS = {'bars', 'clogs', 'clouds', 'leaves', 'potatoes', 'shelves', 'skis', 'waterdrops'}
"""Plurals among the names of the datasets; the published name is the plural."""


@pytest.mark.parametrize('pair', PLURALS.split(', '))
def test_plurals_become_singular(pair: str) -> None:
    plural, _, singular = pair.partition(': ')
    assert standard_form(plural) == standard_form(singular) == singular


@pytest.mark.parametrize('word', STAY.split())
def test_what_is_no_plural_or_means_something_else_stays(word: str) -> None:
    assert standard_form(word) == word.lower()


@pytest.mark.parametrize('phrase', ['The Red  Car', 'a red car', 'an RED cars', 'Red Cars'])
def test_article_and_case_do_not_count(phrase: str) -> None:
    assert standard_form(phrase) == 'red car'


def test_singular_and_plural_of_things_are_encoded_alike() -> None:
    assert len(PAIRS) >= 150
    nouns = {noun for pair in PAIRS for noun in pair}
    forms = {noun: standard_form(noun) for noun in nouns}
    alike = [pair for pair in PAIRS if forms[pair[0]] == forms[pair[1]] == pair[0]]
    assert len(alike) >= 0.99 * len(PAIRS), set(PAIRS) - set(alike)
    assert set(forms.values()) <= nouns


def test_words_that_end_as_plurals_do_are_not_cut() -> None:
    assert {word: standard_form(word) for word in SINGULAR_ONLY} == {
        word: word for word in SINGULAR_ONLY
    }


@pytest.mark.parametrize(
    ('phrase', 'form'),
    [
        ('man with a hat', 'man with a hat'),
        ('TVs', 'tv'),
        ('macOS', 'macos'),
        ('United States', 'united states'),
        ('"chairs"', 'chair'),
        ('the chairs.', 'chair'),
        ('U.S.', 'u.s.'),
        ('cars and trucks', 'car and truck'),
        ('the Cats/dogs', 'cat/dog'),
        ('men in suits and ties', 'man in suits and ties'),
        ('two cars', 'two cars'),
        ('some of the 12 chairs', 'some of the 12 chairs'),
        ('all cars', 'all cars'),
        ('Coca-Colas', 'coca-cola'),
        ('OSes', 'os'),
        ('Zorblaxes', 'zorblax'),
        ('Priuses', 'prius'),
        ('(the cars)', 'car'),
        ('"[cars]".', 'car'),
        ('cars (parked)', 'car (parked)'),
        ('(red) cars', '(red) car'),
        ('Traffic_Lights', 'traffic light'),
        ('the_red_cars', 'red car'),
        ('\ufb01re trucks', 'fire truck'),
        ('\uff23\uff21\uff32\uff33', 'car'),
    ],
)
def test_a_phrase_is_never_undone_by_half(phrase: str, form: str) -> None:
    assert standard_form(phrase) == form


def test_names_of_published_classes_keep_their_number() -> None:
    names = {name for title in known_names() for name in _classes(title)}
    names |= {name.partition(' (')[0] for name in IMAGENET_CLASSNAMES}
    assert len(names) > 1000
    changed = {name for name in names if standard_form(name) != name.lower()}
    assert {name.split()[-1].rpartition('-')[2] for name in changed} == TRUE_PLURALS


def _classes(title: str) -> tuple[str, ...]:
    return () if title in {'folder', 'shapes'} else tuple(load_spec(title).classes)


def test_the_plural_of_most_imagenet_classes_is_undone() -> None:
    nouns = {name.split()[-1].lower() for name in IMAGENET_CLASSNAMES if name.isascii()}
    regular = {noun for noun in nouns if noun.isalpha() and standard_form(f'{noun}s') == noun}
    endings = ('s', 'x', 'z', 'ch', 'sh', 'y', 'f', 'fe', 'o', 'man', 'fish', 'sheep')
    expected = {noun for noun in nouns if noun.isalpha() and not noun.endswith(endings)}
    assert len(expected) > 500
    # Rare animals and dogs are in neither source, and stay as they are typed.
    assert len(expected - regular) < 0.12 * len(expected), expected - regular


def test_a_model_s_own_names_win() -> None:
    forms = StandardForms(['skis', 'person', 'People'])
    assert forms.of('The ski') == 'skis'
    assert forms.of('PERSON') == 'person'
    assert forms.of('people') == 'People'
    assert forms.of('dogs') == 'dog'


@pytest.mark.parametrize('phrase', NEGATIONS.split(', '))
def test_negations_are_noticed(phrase: str) -> None:
    assert is_negated(phrase)


@pytest.mark.parametrize('phrase', THINGS.split(', '))
def test_things_are_not_taken_for_negations(phrase: str) -> None:
    assert not is_negated(phrase)


def test_the_page_s_examples_are_true() -> None:
    page = (Path(__file__).parents[2] / 'docs' / 'words.md').read_text('utf-8')
    table = page.partition('<!-- forms:begin -->')[2].partition('<!-- forms:end -->')[0]
    rows = re.findall(r'^\| `(.+)` \| `(.+)` \|$', table, re.MULTILINE)
    assert len(rows) >= 5
    assert {typed: standard_form(typed) for typed, _ in rows} == dict(rows)
    refused = page.partition('## What is refused')[2].partition('\n| two classes')[0]
    negated = refused.splitlines()[-1].split('|')[1]
    assert all(is_negated(phrase) for phrase in re.findall(r'`(.+?)`', negated))
    assert len(re.findall(r'`(.+?)`', negated)) >= 3

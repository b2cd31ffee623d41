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
"""Names that are kept from training, by names and sentences written by hand."""

import pytest
from zegclip_core.text.withheld import Withheld

WITHHELD = Withheld(
    {
        'sofa': ['couch', 'studio couch'],
        'tvmonitor': ['tv', 'television', 'monitor', 'screen', 'entertainment center'],
        'train': ['bullet train', 'freight car'],
        'sheep': ['ram', 'bighorn', 'lamb'],
        'pottedplant': ['potted plant', 'pot'],
        'loaf of bread': [],
    }
)
NAMES = (
    'sofa, Sofas, the couch, studio_couches, Sheep, the TVs, T.V., TV, "televisions", '
    'potted_plants, pottedplant, potted-plants, TV monitor, tv-monitors, tvmonitors, Tv_Monitor, '
    'freight cars, train_(railroad_vehicle), loaves of bread, Entertainment  Center, ram'
)
OTHERS = (
    'trainer, training, pot holder, screen door, sofa bed, trains station, potter, plant, '
    'center, car, program, lambda, pots and pans, bread, freight, tvs stand, screenshot, '
    'sheepdog, a, the'
)
MENTIONS = (
    'A cat sleeps on a couch .; Two TVs; the TV\u2019s remote; a man on the train; '
    'POTTED PLANTS!; a pot holder; freight-cars pass; three lambs, one ram; '
    'He eats loaves of bread; a flat-screen; tv; a potted_plant'
)
SILENT = (
    'A trainer is training a sheepdog .; potter; a car with freight; ; . ,; a screenshot; '
    'the plant of a program'
)


@pytest.mark.parametrize('name', NAMES.split(', '))
def test_a_name_is_withheld_however_it_is_written(name: str) -> None:
    """Case, number, article, hyphens, underscores and spaces make no difference."""
    assert WITHHELD.is_withheld(name)


@pytest.mark.parametrize('name', OTHERS.split(', '))
def test_other_names_are_not(name: str) -> None:
    """A withheld word may be a part of a name, or of a word."""
    assert not WITHHELD.is_withheld(name)


@pytest.mark.parametrize('name', ['Monitor/TV', 'table, sofa', 'studio couch, day bed'])
def test_a_list_of_names_is_withheld_by_one(name: str) -> None:
    """As Objects365 and ImageNet write several names of a class."""
    assert WITHHELD.is_withheld(name)
    assert not WITHHELD.is_withheld('Barrel/bucket')


@pytest.mark.parametrize('sentence', MENTIONS.split('; '))
def test_a_sentence_mentions_a_word(sentence: str) -> None:
    """Also as a part of a longer name."""
    assert WITHHELD.mentions(sentence)


@pytest.mark.parametrize('sentence', SILENT.split('; '))
def test_other_sentences_mention_none(sentence: str) -> None:
    """Parts of words do not count."""
    assert not WITHHELD.mentions(sentence)


@pytest.mark.parametrize(
    ('sentence', 'nouns', 'kept'),
    [
        ('a big potted plant by a tree', ['big potted plant', 'plant', 'tree'], ['tree']),
        ('a screen door', ['screen door', 'door'], ['screen door', 'door']),
        ('two leather couches', ['leather couch', 'couch'], []),
        ('loaves of bread', ['loaf', 'bread'], []),
        ('a flat-screen', ['flat-screen'], []),
        ('a plant', ['plant'], ['plant']),
        (
            'a trainer at a train station',
            ['trainer', 'train station'],
            ['trainer', 'train station'],
        ),
        ('T.V. monitors', ['monitor'], []),
    ],
)
def test_nouns_of_what_a_sentence_mentions_are_left_out(
    sentence: str, nouns: list[str], kept: list[str]
) -> None:
    """The head of a withheld phrase alone as well, a longer name with another head not."""
    assert WITHHELD.without_mentioned(nouns, sentence) == kept


def test_nothing_is_withheld_by_no_groups() -> None:
    """As for a training without unseen classes."""
    empty = Withheld({})
    assert not empty.is_withheld('sofa')
    assert not empty.is_withheld('')
    assert not empty.mentions('a sofa')
    assert empty.without_mentioned(['sofa'], 'a sofa') == ['sofa']
    assert not Withheld({'sofa': ['', ' ']}).is_withheld(' ')

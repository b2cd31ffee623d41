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
"""Noun phrases of captions, by sentences and phrases written by hand."""

import pytest
from zegclip_core.text.nouns import MAX_WORDS, noun_phrases

SENTENCES = {
    # Modifiers and heads; what names no thing is left out.
    'A child in a pink dress is climbing up a set of stairs in an entry way .': (
        'child, pink dress, dress, stairs, entry way'
    ),
    'A group of people walk in front of the background .': 'person',
    'a picture of two hot dogs and a teddy bear': 'hot dog, teddy bear',
    'THE TREES': 'tree',
    'a very old rusty blue truck': 'rusty blue truck, truck',
    'A man in a t-shirt': 'man, t-shirt',
    'a trash can near a traffic light': 'trash can, can, traffic light, light',
    'A light blue car can be seen .': 'light blue car, car',
    'A dog runs with the dog': 'dog',
    # Nouns that could be verbs, and verbs that could be nouns.
    'A boy plays on a green swing .': 'boy, green swing, swing',
    'A boy swings a bat .': 'boy, bat',
    'Two dogs run through waves .': 'dog, wave',
    'A man in black holds a bat': 'man, bat',
    'A man in colorful shorts spikes a volleyball': ('man, colorful shorts, shorts, volleyball'),
    'A man and woman stand in snow and watch the birds': 'man, woman, snow, bird',
    'A woman who looks at the water': 'woman, water',
    'He wants to fish in a lake': 'lake',
    # Participles before a noun and behind one.
    'A smiling girl wearing goggles is running .': 'smiling girl, girl, goggles',
    'a parked car and a cat sleeping inside a building': 'parked car, car, cat, building',
    'people playing cards': 'person, card',
    # Genitives, and nothing at all.
    "The dog 's mouth and the dogs\u2019 bones": 'dog, mouth, bone',
    "A man's hat": 'man, hat',
    'It is up there .': '',
    '': '',
    '. 3 ,': '',
}


@pytest.mark.parametrize('sentence', SENTENCES)
def test_a_sentence_names_its_things(sentence: str) -> None:
    """Each once and in its order, the phrase before its head."""
    assert ', '.join(noun_phrases(sentence)) == SENTENCES[sentence]


def test_phrases_are_short() -> None:
    """Of many words before a head the nearest are kept."""
    assert MAX_WORDS == 3
    found = noun_phrases('a big old fluffy lazy brown dog')
    assert found == ('lazy brown dog', 'dog')

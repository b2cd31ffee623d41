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
"""Words that a text tower cannot know are taken, and told."""

from functools import lru_cache

import pytest
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.unfamiliar import unfamiliar
from zegclip_core.text.vocabulary import Vocabulary


@lru_cache(maxsize=1)
def bundled() -> Segmenter:
    return Segmenter.load('everyday-s', device='cpu')


def told(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    found = unfamiliar(Vocabulary.parse(text), bundled().text_encoder.tower)
    return found.unknown, found.doubtful


@pytest.mark.parametrize('word', ['猫', 'кошка', 'γάτα', 'ネコ', '고양이', 'قطة', 'cat 猫'])
def test_words_of_another_script_cannot_be_known(word: str) -> None:
    assert told(f'person, {word}') == ((word,), ())


@pytest.mark.parametrize('word', ['Katze', 'chien', 'xqzvwk', 'asdfgh', 'Fahrrad', 'red xqzvwk'])
def test_words_of_another_language_and_gibberish_may_not_be_known(word: str) -> None:
    assert told(f'person, {word}') == ((), (word,))


@pytest.mark.parametrize(
    'words',
    [
        'person, cat, dog, dining table, potted plant, traffic light, wine glass, hair drier',
        'smartphone, laptop, skateboard, teddy bears, the cars, café, TV, x-ray, forklift',
        'two dogs in a box, 3d printer, people',
        '猫 | cat, Katze | cat',
        '[{"name": "猫", "exact": true}, {"name": "pottedplant", "exact": true}]',
    ],
)
def test_english_words_and_those_with_an_english_phrase_are_known(words: str) -> None:
    assert told(words) == ((), ())


def test_a_tower_of_many_languages_or_without_a_tokenizer_is_not_judged() -> None:
    class Many:
        name = 'open_clip:xlm-roberta-base-ViT-B-32/laion5b'

        def pieces(self, texts: list[str]) -> list[int]:
            return [0 for _ in texts]

    words = Vocabulary.parse('猫, Katze')
    for tower in (Many(), object()):
        assert str(unfamiliar(words, tower)) == ''


def test_an_encoded_vocabulary_and_the_log_tell_it(caplog: pytest.LogCaptureFixture) -> None:
    encoded = bundled().encode(Vocabulary.parse('猫, Katze, cat'))
    (line,) = caplog.messages
    assert str(encoded.unfamiliar) in line
    assert "cannot read '猫' and the model may not know 'Katze'" in line
    assert 'has learnt English' in line
    caplog.clear()
    assert str(bundled().encode(Vocabulary.parse('cat')).unfamiliar) == ''
    assert caplog.messages == []

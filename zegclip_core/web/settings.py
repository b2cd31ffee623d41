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
"""What a page asks for: its words and sliders, checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zegclip_core.errors import VocabularyError, ZegCLIPError
from zegclip_core.options import OPTIONS
from zegclip_core.text.negatives import NONE, parse_negatives
from zegclip_core.text.vocabulary import Vocabulary


class BoxError(ZegCLIPError):
    """Something that was typed or sent cannot be used.

    Attributes:
        box: What caused it: ``words``, ``negatives``, ``threshold``, ``smoothing`` or ``image``.
    """

    def __init__(self, box: str, text: str) -> None:
        super().__init__(text)
        self.box = box


@dataclass(frozen=True)
class Settings:
    """What a page looks for, and how.

    Attributes:
        number: The page's own count of its requests.
        text: The words as they were typed.
        vocabulary: The words.
        threshold: Least score of a labelled pixel, in [0, 1]; ``None`` is the model's.
        negatives: Words that compete; ``None`` are the model's.
        smoothing: Share of the frames before in a video, in [0, 1].
    """

    number: int
    text: str
    vocabulary: Vocabulary
    threshold: float | None = None
    negatives: tuple[str, ...] | None = None
    smoothing: float = 0.0

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> 'Settings':
        """Read what a page has sent.

        Raises:
            BoxError: If the content of one of its boxes cannot be used.
        """
        number, words, negatives = (fields.get(key) for key in ('number', 'words', 'negatives'))
        if not isinstance(number, int) or not isinstance(words, str):
            raise BoxError('words', 'Expected words and their number.')
        threshold, smoothing = fields.get('threshold'), fields.get('smoothing', 0.0)
        for name, value in (('threshold', threshold), ('smoothing', smoothing)):
            try:
                OPTIONS[name].check(value)
            except ZegCLIPError as error:
                raise BoxError(name, str(error)) from error
        try:
            vocabulary = Vocabulary.parse(words)
        except VocabularyError as error:
            raise BoxError('words', str(error)) from error
        return cls(number, words, vocabulary, threshold, _negatives(negatives), float(smoothing))


def _negatives(text: object) -> tuple[str, ...] | None:
    """Return negative words; ``None`` for nothing typed, which takes the model's own."""
    if text is None or text == '':
        return None
    if not isinstance(text, str):
        raise BoxError('negatives', f'Expected negative words, or {NONE}.')
    try:
        return parse_negatives(text)
    except VocabularyError as error:
        raise BoxError('negatives', str(error)) from error

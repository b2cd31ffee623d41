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
"""Encoding words with the threshold and the negative words that the parameters say."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zegclip_core.errors import VocabularyError
from zegclip_ros.parameters import NodeParameters
from zegclip_ros.words.state import Words

if TYPE_CHECKING:
    from zegclip_core.segmenter import EncodedVocabulary
    from zegclip_ros.frames.labeller import SegmenterLike


@dataclass(frozen=True)
class UsedWords:
    """Words as frames are labelled with them.

    Attributes:
        words: The request.
        encoded: What the model made of it.
        threshold: Least score of a labelled pixel, for classes without one of their own.
    """

    words: Words
    encoded: 'EncodedVocabulary'
    threshold: float


class NegativesError(VocabularyError):
    """The model cannot take negative words.

    Attributes:
        negatives: The words.
    """

    def __init__(self, negatives: tuple[str, ...], reason: Exception) -> None:
        super().__init__(f'Cannot use the negatives, so that those before stay: {reason}')
        self.negatives = negatives


class WordEncoder:
    """Encodes words for a model.

    Negative words that the model cannot take do not keep it from others: those that it took last
    stay.

    Args:
        segmenter: The model, with a threshold and negative words of its own.
        parameters: Returns the values of the moment.
    """

    def __init__(
        self, segmenter: 'SegmenterLike', parameters: Callable[[], NodeParameters]
    ) -> None:
        self._segmenter = segmenter
        self._parameters = parameters
        self._own = segmenter.threshold, segmenter.negatives
        self._last = segmenter.negatives

    def encode(self, words: Words) -> tuple[UsedWords, NegativesError | None]:
        """Encode words; return with them what is wrong with the negative ones, if they are.

        Raises:
            Exception: If the words cannot be encoded.
        """
        chosen = self._parameters().options
        threshold, negatives = chosen.threshold, chosen.negatives
        threshold = self._own[0] if threshold is None else threshold
        negatives = self._own[1] if negatives is None else negatives
        try:
            used = self._encode(words, threshold, negatives)
        except VocabularyError as error:
            if negatives == self._last:
                raise
            # What fails with these as well is the fault of the words.
            used = self._encode(words, threshold, self._last)
            return used, NegativesError(negatives, error)
        self._last = negatives
        return used, None

    def _encode(self, words: Words, threshold: float, negatives: tuple[str, ...]) -> UsedWords:
        self._segmenter.threshold = threshold
        self._segmenter.negatives = negatives
        return UsedWords(words, self._segmenter.encode(words.vocabulary), threshold)

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
"""A vocabulary with its text embeddings, and those of the words that compete with it."""

from collections.abc import Sequence
from dataclasses import dataclass
import math

import torch
from torch import Tensor
from zegclip_core.devices import side_stream
from zegclip_core.text.encoder import TextEncoder
from zegclip_core.text.negatives import competing
from zegclip_core.text.phrases import StandardForms
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_core.weights.checkpoint import ModelSettings


@dataclass(frozen=True, eq=False)
class EncodedVocabulary:
    """A vocabulary with its text embeddings, and what they were encoded with.

    The tensors have ``R`` rows, the classes first and then the negative words. They are on the
    CPU, from where an engine takes them without waiting for a frame.

    Attributes:
        vocabulary: The classes.
        embeddings: L2-normalised text embeddings, float32 ``(R, C)``.
        bias: Calibration of each row, float32 ``(R,)``, 0 for what was not seen in training.
        thresholds: Least score of a labelled pixel, float32 ``(R,)`` in [0, 1]; infinite for
            negative words, which are never a label.
        threshold: That of the classes without one of their own.
        negatives: Words that compete with the classes: where one of them wins, a pixel is
            unlabelled. Words that the vocabulary asks for are not among them.

    Raises:
        ValueError: If there is not one row for each class and negative word.
    """

    vocabulary: Vocabulary
    embeddings: Tensor
    bias: Tensor
    thresholds: Tensor
    threshold: float = 0.0
    negatives: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Count the rows."""
        expected = len(self.vocabulary) + len(self.negatives)
        for name in ('embeddings', 'bias', 'thresholds'):
            rows = len(getattr(self, name))
            if rows != expected:
                raise ValueError(
                    f'Expected `{name}` of {expected} rows, one for each class and negative word, '
                    f'but got {rows}.'
                )


def encode_vocabulary(
    vocabulary: Vocabulary,
    encoder: TextEncoder,
    settings: ModelSettings,
    *,
    threshold: float,
    negatives: Sequence[str],
    device: torch.device,
) -> EncodedVocabulary:
    """Encode the words of a vocabulary and those that compete with it.

    Args:
        vocabulary: The classes.
        encoder: The text tower with its templates.
        settings: Those of the model: which classes it was trained on, and their bias.
        threshold: Least score of a labelled pixel, in [0, 1], for classes without their own.
        negatives: Words that compete, less those that the vocabulary asks for.
        device: Where the text tower computes.

    Raises:
        VocabularyError: If the words cannot be encoded.
    """
    phrases = vocabulary.encoded_phrases(settings.seen_classes)
    forms = StandardForms(settings.seen_classes)
    rivals = competing(negatives, vocabulary)
    with side_stream(device):
        embeddings = encoder.encode_classes([*phrases, *((forms.of(word),) for word in rivals)])
    seen = set(settings.seen_classes)
    bias = [settings.seen_bias if name in seen else 0.0 for name, *_ in phrases]
    thresholds = [
        threshold if entry.threshold is None else entry.threshold for entry in vocabulary.classes
    ]
    return EncodedVocabulary(
        vocabulary,
        embeddings,
        torch.tensor([*bias, *[0.0] * len(rivals)]),
        torch.tensor([*thresholds, *[math.inf] * len(rivals)]),
        threshold,
        rivals,
    )

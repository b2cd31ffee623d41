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
"""A vocabulary with what a model makes of its words, and of the words that compete with them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
import torch.nn.functional as F
from zegclip_core.devices import beside
from zegclip_core.engines.contract import Engine, PreparedWords
from zegclip_core.text.encoder import TextEncoder
from zegclip_core.text.negatives import competing
from zegclip_core.text.phrases import StandardForms
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_core.weights.checkpoint import ModelSettings


@dataclass(frozen=True, eq=False)
class EncodedVocabulary:
    """A vocabulary with its text embeddings.

    Attributes:
        vocabulary: The words.
        embeddings: L2-normalised text embeddings, float32 ``(K, C)``; like all here on the CPU,
            from where an engine takes them without waiting for a frame.
        bias: Calibration of each class, float32 ``(K,)``, 0 for classes not seen in training.
        thresholds: Least score of a labelled pixel, float32 ``(K,)``.
        negatives: Embeddings of words that compete with the classes and are not labelled,
            ``(N, C)`` as above; ``None`` for none.
        rivals: Those words, as they were given.
    """

    vocabulary: Vocabulary
    embeddings: Tensor
    bias: Tensor
    thresholds: Tensor
    negatives: Tensor | None = None
    rivals: tuple[str, ...] = ()

    def prepare(self, engine: Engine) -> PreparedWords:
        """Return what an engine keeps of the words: the classes first, then what competes."""
        if self.negatives is None:
            return engine.prepare(self.embeddings, self.bias, self.thresholds)
        # Whatever a negative word scores, it makes a pixel unlabelled: it needs no threshold.
        room = (0, len(self.negatives))
        return engine.prepare(
            torch.cat([self.embeddings, self.negatives]),
            F.pad(self.bias, room),
            F.pad(self.thresholds, room),
            classes=len(self.embeddings),
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
    """Encode a vocabulary's words.

    Args:
        vocabulary: The words.
        encoder: Encodes them.
        settings: Those of the model.
        threshold: Least score of a labelled pixel, for classes without one of their own.
        negatives: Words that compete; those that the vocabulary asks for do not.
        device: Where the text tower computes.
    """
    classes, known = vocabulary.classes, settings.seen_classes
    phrases = vocabulary.encoded_phrases(known)
    forms = StandardForms(known)
    rivals = competing(negatives, vocabulary)
    with beside(device):
        found = encoder.encode_classes([*phrases, *((forms.of(word),) for word in rivals)])
    words, others = found.split((len(classes), len(rivals)))
    seen = set(known)
    bias = [settings.seen_bias if name in seen else 0.0 for name, *_ in phrases]
    thresholds = [threshold if entry.threshold is None else entry.threshold for entry in classes]
    return EncodedVocabulary(
        vocabulary,
        words,
        torch.tensor(bias),
        torch.tensor(thresholds),
        others if rivals else None,
        rivals,
    )

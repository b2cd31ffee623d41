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
"""What every engine does: pixels and a vocabulary in, a label and a score for every pixel out.

``zegclip_core.segmenter`` connects an engine with NumPy and with words. Engines take and give
tensors. Letters in shapes: ``B`` images, ``R`` rows of a vocabulary, ``(h, w)`` the grid of the
mask logits, ``(H, W)`` pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor
from zegclip_core.model.alignment import AlignedTowers
from zegclip_core.model.training_free import TrainingFreeCLIP
from zegclip_core.model.zegclip import ZegCLIP
from zegclip_core.text.encoder import EncodedVocabulary
from zegclip_core.text.vocabulary import Vocabulary

Network = ZegCLIP | TrainingFreeCLIP | AlignedTowers
"""What an engine runs."""


@dataclass(frozen=True, eq=False)
class EngineVocabulary:
    """What an engine keeps of a vocabulary; an engine may add what it computes once.

    Attributes:
        vocabulary: The classes, which are the first rows.
        negatives: The words of the rows after them, which compete and are never a label.
        embeddings: L2-normalised text embeddings, float32 ``(R, C)`` on the engine's device.
        bias: What is subtracted from each row's score, float32 ``(R,)`` on that device.
        thresholds: Least score of a labelled pixel, float32 ``(R,)`` on that device; infinite
            for negative words.
    """

    vocabulary: Vocabulary
    negatives: tuple[str, ...]
    embeddings: Tensor
    bias: Tensor
    thresholds: Tensor

    @property
    def classes(self) -> int:
        """How many classes there are; it sets the type of the labels."""
        return len(self.vocabulary)

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the rows: names of the classes, then negative words."""
        return (*self.vocabulary.names, *self.negatives)


@dataclass(frozen=True, eq=False)
class Prediction:
    """What an engine says about a batch of images; the tensors are the caller's to keep.

    Attributes:
        labels: Class indices, uint8 ``(B, H, W)``, uint16 above 254 classes; the greatest value
            of the type where no class reaches its threshold.
        scores: The best row's score without its bias, float32 ``(B, H, W)`` in [0, 1].
        mask_logits: What the labels were made of, before the upsampling, the bias and the
            sigmoid or softmax, float32 ``(B, R, h, w)``; ``None`` if nobody asked.
    """

    labels: Tensor
    scores: Tensor
    mask_logits: Tensor | None = None


class PostprocessStep(Protocol):
    """A step between mask logits and labels, such as a temporal smoother or an edge refiner.

    A step that remembers frames belongs to one stream of images, hence to one segmenter. It
    starts anew where ``vocabulary.words`` or a shape changes, as after the warm-up.
    """

    def __call__(
        self, mask_logits: Tensor, vocabulary: EngineVocabulary, images: Tensor
    ) -> Tensor:
        """Return other mask logits.

        Args:
            mask_logits: Float32 ``(B, R, h, w)``, before the sigmoid or softmax, on the engine's
                device. With sliding windows, ``B`` counts those of all images, first every
                image's first window.
            vocabulary: The words of the ``R`` rows.
            images: RGB, float32 ``(B, 3, H, W)`` in [0, 255], at the working size, on that
                device; ``H`` and ``W`` are whole multiples of the patch size.

        Returns:
            Float32 ``(B, R, h', w')``, a grid as fine or finer. The tensor goes to the caller: a
            step that remembers it keeps a copy.
        """


class Engine(Protocol):
    """Labels the pixels of images. One thread runs it, but ``prepare`` may be in another.

    Attributes:
        steps: Called in this order between mask logits and labels.
    """

    steps: Sequence[PostprocessStep]

    def prepare(self, encoded: EncodedVocabulary) -> EngineVocabulary:
        """Return what ``run`` needs of a vocabulary."""

    def run(
        self,
        pixels: Tensor,
        size: tuple[int, int],
        vocabulary: EngineVocabulary,
        output_size: tuple[int, int],
        *,
        mask_logits: bool = False,
    ) -> Prediction:
        """Label every pixel of images of one size.

        Args:
            pixels: RGB, uint8 ``(B, H, W, 3)``, on the CPU or the engine's device.
            size: Working size ``(height, width)`` that the images are brought to, in pixels.
            vocabulary: What ``prepare`` of this engine returned.
            output_size: ``(H, W)`` of labels and scores.
            mask_logits: Whether to return the mask logits as well. Of sliding windows they are
                the mean, on the grid that the whole image would have.
        """

    def release_memory(self) -> None:
        """Let go of what the next image can make again: recorded graphs, tables, buffers."""


def run_steps(
    steps: Sequence[PostprocessStep],
    mask_logits: Tensor,
    vocabulary: EngineVocabulary,
    images: Tensor,
) -> Tensor:
    """Return the mask logits after all steps; arguments and result as in ``PostprocessStep``.

    Raises:
        ValueError: If a step returns another type, or another number of images or rows.
    """
    expected = (mask_logits.dtype, mask_logits.shape[:2])
    for step in steps:
        mask_logits = step(mask_logits, vocabulary, images)
        if mask_logits.ndim != 4 or (mask_logits.dtype, mask_logits.shape[:2]) != expected:
            raise ValueError(
                f'Expected the step {step!r} to return mask logits {expected[0]} of shape '
                f'{(*expected[1], "h", "w")}, but got {mask_logits.dtype} of '
                f'{tuple(mask_logits.shape)}.'
            )
    return mask_logits

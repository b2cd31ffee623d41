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
"""What the node needs of a segmenter, and how it loads the one that its parameters name."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, TYPE_CHECKING

from zegclip_core.images.checks import RgbImage
from zegclip_core.options import OPTIONS, wait_without_spinning
from zegclip_core.segmentation import Moment, Segmentation
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_ros.parameters import NodeParameters

if TYPE_CHECKING:
    from zegclip_core.segmenter import EncodedVocabulary


class SegmenterLike(Protocol):
    """The part of ``zegclip_core.segmenter.Segmenter`` that the node uses.

    ``encode`` is called from one thread while the other methods run in another.

    Attributes:
        runs_on: Name of the device.
    """

    runs_on: str

    @property
    def negatives(self) -> tuple[str, ...]:
        """The negative words that ``encode`` takes unless it is given others."""

    def warm_up(self) -> None:
        """Run once, which loads and compiles what runs the model."""

    def prepare_frames(
        self, vocabulary: 'EncodedVocabulary', size: tuple[int, int], batch: int = 1
    ) -> None:
        """Make the next frames of a size ``(H, W)`` as fast with new words as later ones."""

    def encode(
        self,
        vocabulary: Vocabulary,
        *,
        threshold: float | None = None,
        negatives: Sequence[str] | None = None,
    ) -> 'EncodedVocabulary':
        """Return a vocabulary with its text embeddings; ``None`` takes the model's own value.

        Raises:
            VocabularyError: If the model cannot take a word.
        """

    def segment(
        self,
        image: RgbImage,
        vocabulary: 'EncodedVocabulary',
        *,
        scores: bool = True,
        moment: Moment | None = None,
    ) -> Segmentation:
        """Label an RGB image, uint8 ``(H, W, 3)``, of a moment of a camera.

        ``scores`` says whether somebody wants them.
        """

    def segment_batch(
        self,
        images: Sequence[RgbImage],
        vocabulary: 'EncodedVocabulary',
        *,
        scores: bool = True,
        moments: Sequence[Moment] | None = None,
    ) -> list[Segmentation]:
        """Label RGB images of one size, each uint8 ``(H, W, 3)``, in one run of the model."""

    def release_memory(self) -> None:
        """Give unused memory back to the device."""

    def close(self) -> None:
        """Release the model and its memory; no method may be called afterwards."""

    def memory_bytes(self) -> int | None:
        """Return how much of the device's memory is held; ``None`` on a CPU."""


def load_segmenter(parameters: NodeParameters) -> SegmenterLike:
    """Load the model that the parameters name.

    Options that may change at once stay the model's own: they go with each vocabulary.
    A ``ZegCLIPError`` says in one line why it cannot be loaded.
    """
    wait_without_spinning()
    from zegclip_core.segmenter import Segmenter  # Takes seconds: it imports PyTorch.

    own = {name: known.default for name, known in OPTIONS.items() if known.change == 'at once'}
    return Segmenter.load(parameters.model, replace(parameters.options, **own))

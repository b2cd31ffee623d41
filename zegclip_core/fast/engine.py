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
"""The lean engine: what the plain one computes, without what need not be computed."""

import torch
from torch import Tensor
from zegclip_core.fast.contract import Engine, LeanOptions, PreparedWords, Windows
from zegclip_core.fast.model import LeanModel, LeanWords
from zegclip_core.fast.pixels import resized
from zegclip_core.fast.plain import label_maps, PlainEngine
from zegclip_core.fast.tail import label_logits
from zegclip_core.fast.windows import label_windows
from zegclip_core.model import ZegCLIP

__all__ = ['Engine', 'LeanEngine', 'LeanOptions', 'PlainEngine', 'PreparedWords', 'Windows']


class LeanEngine:
    """Labels as ``PlainEngine`` does, faster.

    Args:
        network: The model; it is moved to ``device`` and ``dtype``.
        dtype: Floating-point type of the model.
        device: Where it runs.
        options: Which savings are made; ``None`` for all.
        windows: Windows to look at; ``None`` for the whole image.
    """

    def __init__(
        self,
        network: ZegCLIP,
        *,
        dtype: torch.dtype,
        device: torch.device,
        options: LeanOptions | None = None,
        windows: Windows | None = None,
    ) -> None:
        """Compute what depends on the model alone."""
        self.device, self.dtype = device, dtype
        self.options = options or LeanOptions()
        self.windows = windows
        self.model = LeanModel(network, dtype=dtype, device=device, options=self.options)

    @torch.inference_mode()
    def prepare(self, embeddings: Tensor, bias: Tensor, thresholds: Tensor) -> PreparedWords:
        """Compute what depends on the words alone; see ``Engine``."""
        embeddings = embeddings.to(self.device)
        text, queries = self.model.words(embeddings)
        return LeanWords(
            embeddings, bias.to(self.device), thresholds.to(self.device), text, queries
        )

    @torch.inference_mode()
    def run(
        self,
        pixels: Tensor,
        size: tuple[int, int],
        words: PreparedWords,
        output_size: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:
        """Label every pixel; see ``Engine``."""
        if not isinstance(words, LeanWords):
            raise TypeError(f'Expected words that this engine prepared, but got {words!r}.')
        images = resized(pixels.to(self.device), size)
        if self.windows is not None:
            return label_windows(
                images,
                lambda batch: self.model.logits(batch, words),
                self.windows,
                words,
                output_size,
            )
        return self._tail(self.model.logits(images, words), output_size, words)

    def release_memory(self) -> None:
        """Let go of what the next frame can make again."""
        self.model.tower.forget_grids()

    def _tail(
        self, logits: Tensor, size: tuple[int, int], words: LeanWords
    ) -> tuple[Tensor, Tensor]:
        """Return labels and scores of mask logits."""
        if self.options.fused_tail and self.device.type == 'cpu':
            return label_logits(logits, size, words)
        return label_maps(logits, size, words, are_logits=True)

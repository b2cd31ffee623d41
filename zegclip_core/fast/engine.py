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
from zegclip_core.fast.plain import PlainEngine
from zegclip_core.model import ZegCLIP

__all__ = ['Engine', 'LeanEngine', 'LeanOptions', 'PlainEngine', 'PreparedWords', 'Windows']


class LeanEngine:
    """Labels as ``PlainEngine`` does, faster.

    Args:
        network: The model; it is moved to ``device`` and ``dtype``.
        dtype: Floating-point type of the model.
        device: Where it runs.
        options: Which savings are made.
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
        self._plain = PlainEngine(network.to(device, dtype).eval(), windows=windows)

    def prepare(self, embeddings: Tensor, bias: Tensor, thresholds: Tensor) -> PreparedWords:
        """Compute what depends on the words alone; see ``Engine``."""
        return self._plain.prepare(embeddings, bias, thresholds)

    def run(
        self,
        pixels: Tensor,
        size: tuple[int, int],
        words: PreparedWords,
        output_size: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:
        """Label every pixel; see ``Engine``."""
        return self._plain.run(pixels, size, words, output_size)

    def release_memory(self) -> None:
        """Let go of what the next frame can make again."""
        self._plain.release_memory()

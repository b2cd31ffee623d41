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

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
import logging

import torch
from torch import Tensor
from zegclip_core.devices import on
from zegclip_core.engines.contract import (
    Engine,
    LeanOptions,
    Network,
    PreparedWords,
    thresholds_of,
    Windows,
)
from zegclip_core.engines.lean.candidates import label_candidates
from zegclip_core.engines.lean.graphs import Frame, GraphCache
from zegclip_core.engines.lean.model import lean_model
from zegclip_core.engines.lean.pixels import resized
from zegclip_core.engines.lean.postprocess_cpu import label_logits
from zegclip_core.engines.lean.staging import Uploads
from zegclip_core.engines.lean.vocabulary import bucket_of, LeanWords, padded, penalties_of
from zegclip_core.engines.lean.windows import label_windows
from zegclip_core.engines.plain import label_maps, PlainEngine
from zegclip_core.errors import ModelError
from zegclip_core.model.scoring import Scoring
from zegclip_core.segmentation import label_type, unlabelled_id

__all__ = ['Engine', 'LeanEngine', 'LeanOptions', 'PlainEngine', 'PreparedWords', 'Windows']


logger = logging.getLogger(__name__)


class LeanEngine:
    """Labels as ``PlainEngine`` does, faster.

    Args:
        network: The model; it is moved to ``device`` and ``dtype``.
        dtype: Floating-point type of the model.
        device: Where it runs.
        options: Which savings are made; ``None`` for all.
        windows: Windows to look at; ``None`` for the whole image.
        candidates: Of more rows of a vocabulary than these, only so many are brought to full
            size in each image, those that win patches or come nearest to it; 0 for all. Their
            logits do not change. The softmax of a training-free model is then one over them.

    Raises:
        ModelError: If ``candidates`` is negative, or not 0 where there are windows.
    """

    def __init__(
        self,
        network: Network,
        *,
        dtype: torch.dtype,
        device: torch.device,
        options: LeanOptions | None = None,
        windows: Windows | None = None,
        candidates: int = 0,
    ) -> None:
        """Compute what depends on the model alone."""
        _check_candidates(candidates, windows)
        self.candidates = candidates
        self.device, self.dtype = device, dtype
        self.options = options or LeanOptions()
        self.windows = windows
        self._scoring = network.scoring
        self.model = lean_model(network, dtype=dtype, device=device, options=self.options)
        on_cuda = device.type == 'cuda'
        self._uploads = Uploads(device) if on_cuda else None
        self._graphs = GraphCache(device) if on_cuda and self.options.cuda_graphs else None
        self._beside = torch.cuda.Stream(device) if on_cuda else None
        self._has_kernel = on_cuda and self.options.fused_tail and _kernel_runs(device)
        self._latest: LeanWords | None = None

    def prepare(
        self, embeddings: Tensor, bias: Tensor, thresholds: Tensor, classes: int | None = None
    ) -> PreparedWords:
        """Compute what depends on the words alone; see ``Engine``.

        On CUDA this has a stream of its own: frames go on meanwhile.
        """
        parts = (embeddings, bias, thresholds)
        with torch.inference_mode(), on(self.device), self._aside(parts):
            words = self._prepare(embeddings, bias, *thresholds_of(thresholds, classes))
            if self._beside is not None:
                self._beside.synchronize()
        return words

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
        frame = partial(self._frame, size=size, output_size=output_size)
        if self._uploads is None:
            return frame(pixels, words)
        with on(self.device):
            return self._run_on_cuda(frame, self._uploads(pixels), words, (size, output_size))

    def _run_on_cuda(
        self, frame: Frame, there: Tensor, words: LeanWords, sizes: tuple[object, object]
    ) -> tuple[Tensor, Tensor]:
        """Label pixels on the device, as a graph if there are any."""
        if words is not self._latest:
            for tensor in words.tensors():  # They were made on another stream.
                tensor.record_stream(torch.cuda.current_stream(self.device))
            self._latest = words
        if self._graphs is None:
            return frame(there, words)
        key = (tuple(there.shape), *sizes, words.shape_key, self.candidates)
        return self._graphs.run(key, frame, there, words, self.model.tower.tables)

    def release_memory(self) -> None:
        """Let go of what the next frame can make again."""
        with on(self.device):
            if self._graphs is not None:
                self._graphs.clear()
            if self._uploads is not None:
                self._uploads.clear()
        self.model.tower.forget_grids()

    def _aside(self, parts: Sequence[Tensor]) -> AbstractContextManager[object]:
        """Return a context for what is made of these parts beside the frames."""
        if self._beside is None:
            return nullcontext()
        if any(part.device.type == 'cuda' for part in parts):
            self._beside.wait_stream(torch.cuda.current_stream(self.device))
        return torch.cuda.stream(self._beside)

    def _prepare(
        self, embeddings: Tensor, bias: Tensor, thresholds: Tensor, classes: int
    ) -> LeanWords:
        """Return a vocabulary, in a bucket where graphs are recorded for it."""
        number = len(bias)
        embeddings, bias, thresholds = (
            part.to(self.device) for part in (embeddings, bias, thresholds)
        )
        # The average over windows mixes scores, where what stands for no class would spread.
        if self._graphs is not None and self.windows is None:
            embeddings, bias, thresholds = padded(embeddings, bias, thresholds, bucket_of(number))
        text, queries = self.model.words(embeddings)
        penalties, calibrated = penalties_of(bias, number)
        return LeanWords(
            embeddings, bias, thresholds, classes, text, queries, penalties, calibrated
        )

    def _frame(
        self,
        pixels: Tensor,
        words: LeanWords,
        *,
        size: tuple[int, int],
        output_size: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:
        """Label the pixels of frames on the device."""
        images = resized(pixels, size)
        if 0 < self.candidates < len(words.embeddings):
            logits, rows = self.model.best_logits(images, words, self.candidates)
            return label_candidates(logits, rows, output_size, words, self._tail)
        predict = partial(self.model.logits, words=words)
        if self.windows is not None:
            return label_windows(images, predict, self.windows, words, output_size, self._scoring)
        return self._tail(predict(images), output_size, words)

    def _tail(
        self, logits: Tensor, size: tuple[int, int], words: LeanWords
    ) -> tuple[Tensor, Tensor]:
        """Return labels and scores of mask logits."""
        # The scores of a softmax with several biases are in no order that logits tell.
        fused = self.options.fused_tail and not (words.calibrated and self._scoring == 'softmax')
        if fused and self.device.type == 'cpu':
            return label_logits(logits, size, words, self._scoring)
        if fused and self._has_kernel:
            return _in_one_kernel(logits, size, words, self._scoring)
        return label_maps(logits, size, words, scoring=self._scoring)


def _check_candidates(candidates: int, windows: Windows | None) -> None:
    """Refuse a number of candidates that cannot be.

    Raises:
        ModelError: As ``LeanEngine``.
    """
    if candidates < 0:
        raise ModelError(
            f'Expected the candidates to be 0, for all classes, or more, but got {candidates}.'
        )
    if candidates and windows is not None:
        raise ModelError(
            'Expected the candidates to be 0 with sliding windows, each of which would have '
            f'others, but got {candidates}.'
        )


def _kernel_runs(device: torch.device) -> bool:
    """Return whether the tail can be one kernel there; if not, the log says why."""
    with on(device):
        one = torch.ones(1, device=device)
        words = LeanWords(one, one, one, 1, one, one, one, False)
        try:
            _in_one_kernel(one.view(1, 1, 1, 1), (1, 1), words, 'sigmoid')
        # It is missing, or finds no compiler, or no headers of Python: each its own kind of error.
        except Exception as error:
            reason = str(error).strip().partition('\n')[0] or type(error).__name__
            logger.warning(
                'Frames take longer than they need to, as Triton cannot compile here (it needs a '
                "C compiler and Python's headers, such as gcc and python3-dev): %s",
                reason,
            )
            return False
    return True


def _in_one_kernel(
    logits: Tensor, size: tuple[int, int], words: LeanWords, scoring: Scoring
) -> tuple[Tensor, Tensor]:
    """Return labels and scores of mask logits on a CUDA device."""
    # Triton is not everywhere that torch is, and only CUDA needs it.
    from zegclip_core.engines.lean.postprocess_cuda import label_logits_in_one_kernel

    kind = label_type(words.classes)
    return label_logits_in_one_kernel(
        logits,
        size,
        penalties=words.penalties,
        bias=words.bias,
        thresholds=words.thresholds,
        calibrated=words.calibrated,
        scoring=scoring,
        unlabelled=unlabelled_id(kind),
        kind=getattr(torch, kind.__name__),
    )

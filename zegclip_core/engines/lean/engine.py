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

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from itertools import product
import logging

import torch
from torch import Tensor
from zegclip_core.devices import device_guard, is_of_device, reason_of, side_stream
from zegclip_core.engines.contract import (
    EngineVocabulary,
    Network,
    PostprocessStep,
    Prediction,
    run_steps,
)
from zegclip_core.engines.lean.attention import CudnnTrial, shapes_of
from zegclip_core.engines.lean.graphs import GraphCache, padded_count, RECORD_AT, Recordable
from zegclip_core.engines.lean.model import Features, lean_form, LeanModel
from zegclip_core.engines.lean.pixels import CENTRE, resized, Uploads
from zegclip_core.engines.lean.postprocess_cpu import label_logits
from zegclip_core.engines.lean.vocabulary import (
    best_rows,
    bucket_of,
    label_candidates,
    LeanVocabulary,
    padded,
    penalties_of,
)
from zegclip_core.engines.plain import label_maps, with_unlabelled
from zegclip_core.errors import ModelError
from zegclip_core.model.blocks import PYTORCH
from zegclip_core.model.scoring import (
    average_windows,
    best_of,
    Corners,
    cut_windows,
    Maps,
    resize_maps,
    scores_of,
    whole_logits,
    Windows,
)
from zegclip_core.model.zegclip import ZegCLIP
from zegclip_core.text.encoder import EncodedVocabulary
from zegclip_core.text.vocabulary import Vocabulary

WINDOW_VALUES = 2**23
"""Scores of windows that are averaged at once; a class has as many as an image has pixels."""
Sizes = tuple[tuple[int, int], tuple[int, int]]
"""Working size, and ``(H, W)`` of labels and scores."""

logger = logging.getLogger(__name__)


class LeanEngine:
    """Labels as ``PlainEngine`` does, faster.

    On CUDA all of it is one recorded graph; with steps, all up to the mask logits is one.

    Args:
        network: The model; it stays as it is.
        dtype: Floating-point type of the model's products.
        device: Where it runs.
        windows: Sliding windows; ``None`` for the whole image.
        candidates: Of more rows of a vocabulary than these, only so many are brought to full
            size in each image, those that win patches or come nearest to it; 0 for all. Their
            logits do not change. The softmax of a training-free model is then one over them.
            Steps see the logits of all rows, and the candidates are chosen after them.
        compiler: Makes of the model in float32, on a CPU, what computes the features of images
            in place of PyTorch; ``None`` for PyTorch.

    Raises:
        ModelError: If ``candidates`` is not 0 where there are windows.
    """

    steps: Sequence[PostprocessStep] = ()

    def __init__(
        self,
        network: Network,
        *,
        dtype: torch.dtype,
        device: torch.device,
        windows: Windows | None = None,
        candidates: int = 0,
        compiler: Callable[[LeanModel], Callable[[Tensor], Features]] | None = None,
    ) -> None:
        """Compute what depends on the model alone."""
        if candidates and windows is not None:
            raise ModelError(
                'Expected the candidates to be 0 with sliding windows, each of which would have '
                f'others, but got {candidates}.'
            )
        self.candidates = candidates
        self.device, self.dtype = device, dtype
        self.windows = windows
        self._scoring = network.scoring
        kernels = None if compiler is None else PYTORCH
        self.model = lean_form(network, dtype=dtype, device=device, kernels=kernels)
        if compiler is not None:
            self.model.look = compiler(self.model)
        on_cuda = device.type == 'cuda'
        self._uploads = Uploads(device) if on_cuda else None
        self._graphs = GraphCache(device) if on_cuda else None
        self._cudnn = CudnnTrial(dtype, device) if on_cuda else None
        self._has_kernel = self.model.rows.fused = on_cuda
        self._latest: LeanVocabulary | None = None
        if self._has_kernel and windows is None:
            self._try_kernel()

    @property
    def slow_frames(self) -> int:
        """How many frames of a new size or with new words are slower than those that follow."""
        return RECORD_AT if self._graphs is not None and self._graphs.works else 0

    def prepare(self, encoded: EncodedVocabulary) -> LeanVocabulary:
        """Compute what depends on the words alone.

        On CUDA this happens on a side stream: frames go on meanwhile.
        """
        with torch.inference_mode(), device_guard(self.device), side_stream(self.device):
            embeddings, bias, thresholds = (
                part.to(self.device)
                for part in (encoded.embeddings, encoded.bias, encoded.thresholds)
            )
            rows, used = len(bias), None
            # Padded so that one graph serves all vocabularies of a bucket. Not with windows:
            # their average mixes scores, where the infinite bias of the padding would spread.
            if self._graphs is not None and self.windows is None:
                embeddings, bias, thresholds = padded(
                    embeddings, bias, thresholds, bucket_of(rows)
                )
                used = torch.tensor([rows], dtype=torch.int32, device=self.device)
            vocabulary = LeanVocabulary(
                encoded.vocabulary,
                encoded.negatives,
                embeddings,
                bias,
                thresholds,
                *self.model.queries(embeddings),
                *penalties_of(bias, rows),
                used,
            )
            if self.device.type == 'cuda':
                torch.cuda.current_stream(self.device).synchronize()
        return vocabulary

    @torch.inference_mode()
    def run(
        self,
        pixels: Tensor,
        size: tuple[int, int],
        vocabulary: EngineVocabulary,
        output_size: tuple[int, int],
        *,
        mask_logits: bool = False,
    ) -> Prediction:
        """Label every pixel of images of one size."""
        if not isinstance(vocabulary, LeanVocabulary):
            raise TypeError(
                f'Expected a vocabulary that this engine prepared, but got {vocabulary!r}.'
            )
        sizes = size, output_size
        with device_guard(self.device):
            if self._uploads is not None:
                pixels = self._uploads(pixels)
            self._try_attention(len(pixels), size, len(vocabulary.bias))
            if self.steps:
                images = self._images(pixels, size)
                (every,) = self._replay(
                    'logits',
                    lambda *read: (self.model.logits(*read).float(),),
                    images,
                    vocabulary,
                    # Of windows there are always as many, for most cameras.
                    pads=self.windows is None,
                )
                vocabulary = vocabulary.unpadded()
                every = every[:, : len(vocabulary.bias)]
                every = run_steps(self.steps, every, vocabulary, images + CENTRE)
                prunes = self._prunes(vocabulary)
                rows = best_rows(every, vocabulary, self.candidates) if prunes else None
                found = self._label(every, rows, vocabulary, sizes, mask_logits)
            else:
                frame = partial(self._label_pixels, sizes=sizes, mask_logits=mask_logits)
                found = self._replay((sizes, mask_logits), frame, pixels, vocabulary)
        labels, scores, *logits = found
        if not mask_logits:
            return Prediction(labels, scores)
        # Without the padding of the bucket.
        return Prediction(labels, scores, logits[0][:, : len(vocabulary.words)])

    def release_memory(self) -> None:
        """Let go of what the next frame can make again."""
        with device_guard(self.device):
            if self._graphs is not None:
                self._graphs.clear()
            if self._uploads is not None:
                self._uploads.clear()
        self.model.tower.forget_grids()

    def _replay(
        self,
        key: Hashable,
        frame: Recordable,
        images: Tensor,
        vocabulary: LeanVocabulary,
        *,
        pads: bool = True,
    ) -> tuple[Tensor, ...]:
        """Call a function of images and a vocabulary, on CUDA as a graph if it was seen often."""
        if self._graphs is None:
            return frame(images, vocabulary)
        if vocabulary is not self._latest:
            for tensor in vocabulary.tensors():  # They were made on another stream.
                tensor.record_stream(torch.cuda.current_stream(self.device))
            self._latest = vocabulary
        key = (key, vocabulary.shape_key, self.candidates)
        run = partial(self._graphs.run, key, frame, images, vocabulary, self.model.tower.tables)
        try:
            return run(pads=pads)
        except Exception as error:
            if self._cudnn is None or not self._cudnn.gives_up(error):
                raise
        return run(pads=pads)

    def _try_attention(self, count: int, size: tuple[int, int], rows: int) -> None:
        """Have cuDNN's attention tried at the shapes of so many images, with and without graph."""
        if self._cudnn is None or not self._cudnn.watches:
            return
        windows = 1
        if self.windows is not None:
            corners = self.windows.corners(size)
            (down, across), *_ = corners
            size, windows = (down.stop - down.start, across.stop - across.start), len(corners)
        patch = self.model.network.config.vision.patch_size
        grid = size[0] // patch, size[1] // patch
        for images in {count, padded_count(count)}:
            self._cudnn(*shapes_of(self.model.network, images * windows, grid, rows))

    def _images(self, pixels: Tensor, size: tuple[int, int]) -> Tensor:
        """Return what the model takes: resized images, or their windows."""
        images = resized(pixels, size)
        return images if self.windows is None else cut_windows(images, self.windows.corners(size))

    def _prunes(self, vocabulary: LeanVocabulary) -> bool:
        """Return whether only candidates are brought to full size."""
        return 0 < self.candidates < len(vocabulary.bias)

    def _label_pixels(
        self, pixels: Tensor, vocabulary: LeanVocabulary, *, sizes: Sizes, mask_logits: bool
    ) -> tuple[Tensor, ...]:
        """Return labels, scores and, if asked, mask logits of pixels on the device."""
        images, rows = self._images(pixels, sizes[0]), None
        if self._prunes(vocabulary):
            logits, rows = self.model.best_logits(
                images, vocabulary, self.candidates, complete=mask_logits
            )
        else:
            logits = self.model.logits(images, vocabulary)
        return self._label(logits, rows, vocabulary, sizes, mask_logits)

    def _label(
        self,
        logits: Tensor,
        rows: Tensor | None,
        vocabulary: LeanVocabulary,
        sizes: Sizes,
        mask_logits: bool,
    ) -> tuple[Tensor, ...]:
        """Return labels, scores and, if asked, the mask logits, float32, of whole images.

        The given logits, float ``(B, R, h, w)``, are those of images or windows; ``rows``, int64
        ``(B, C)``, the candidates of each image if not all rows are.
        """
        size, output_size = sizes
        if self.windows is not None:
            corners = self.windows.corners(size)
            logits = logits.unflatten(0, (len(corners), -1)).float()  # (N, B, R, h, w)
            found = self._label_windows(logits, corners, sizes, vocabulary)
            logits = whole_logits(logits, corners, size) if mask_logits else logits
        elif rows is not None:
            found = label_candidates(logits, rows, output_size, vocabulary, self._postprocess)
        else:
            found = self._postprocess(logits, output_size, vocabulary)
        return (*found, logits.float()) if mask_logits else found

    def _label_windows(
        self, logits: Tensor, corners: Corners, sizes: Sizes, vocabulary: EngineVocabulary
    ) -> tuple[Tensor, Tensor]:
        """Label every pixel by the average of the windows ``(N, B, R, h, w)`` it lies in."""
        (size, output_size), scoring = sizes, self._scoring
        largest = max(size[0] * size[1], output_size[0] * output_size[1])
        at_once = max(WINDOW_VALUES // largest, 1)

        def best(image: Tensor) -> tuple[Tensor, Tensor]:
            """Label an image of windows ``(N, 1, R, h, w)``."""

            def average(chunk: slice) -> Tensor:
                bias = vocabulary.bias[chunk] if scoring == 'sigmoid' else None
                maps = average_windows(image[:, :, chunk], corners, size, bias)
                return resize_maps(maps, output_size)[0]  # (k, H, W)

            scores: Maps = average
            if scoring == 'softmax':
                scores = scores_of(average, vocabulary.bias, scoring, at_once=at_once)
            return best_of(scores, output_size, vocabulary.bias, at_once=at_once)

        return with_unlabelled([best(image) for image in logits.split(1, dim=1)], vocabulary)

    def _postprocess(
        self, logits: Tensor, size: tuple[int, int], vocabulary: LeanVocabulary
    ) -> tuple[Tensor, Tensor]:
        """Return labels and scores ``(B, *size)`` of mask logits ``(B, R, h, w)``."""
        # The scores of a softmax with several biases are in no order that logits tell.
        ordered = not (vocabulary.calibrated and self._scoring == 'softmax')
        if ordered and self.device.type == 'cpu':
            return label_logits(logits, size, vocabulary, self._scoring)
        if ordered and self._has_kernel:
            try:
                # Triton is not everywhere that torch is, and only CUDA needs it.
                from zegclip_core.engines.lean.postprocess_cuda import label_logits_in_one_kernel

                return label_logits_in_one_kernel(logits, size, vocabulary, self._scoring)
            # It is missing, or finds no compiler, or no headers of Python, or too few registers:
            # each its own kind of error.
            except Exception as error:
                self._go_without_kernel(error)
        return label_maps(logits, size, vocabulary, scoring=self._scoring)

    def _try_kernel(self) -> None:
        """Compile the kernel's variants that frames use, so that it fails here if it does."""
        words = Vocabulary.from_names(['object', 'other'])
        one = torch.ones(2, device=self.device)
        # Words have it, candidates have not.
        used = torch.tensor([2], dtype=torch.int32, device=self.device)
        counts = (used, None) if self.candidates else (used,)
        kind = self.dtype if isinstance(self.model.network, ZegCLIP) else torch.float32
        biases = (False, True) if self._scoring == 'sigmoid' else (False,)
        with device_guard(self.device):
            for calibrated, count in product(biases, counts):
                vocabulary = LeanVocabulary(
                    words, (), one, one, one, one, one, one, calibrated, count
                )
                logits = torch.zeros((1, 2, 3, 5), dtype=kind, device=self.device)
                self._postprocess(logits, (7, 11), vocabulary)

    def _go_without_kernel(self, error: Exception) -> None:
        """Label without the kernel from now on, unless the error is of the device."""
        if is_of_device(error):
            raise error
        self._has_kernel = self.model.rows.fused = False
        logger.warning(
            'Frames take longer than they need to, as the kernel for labels fails here (Triton '
            "needs a C compiler and Python's headers, such as gcc and python3-dev): %s.",
            reason_of(error),
        )

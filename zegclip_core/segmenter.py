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
"""The segmenter: an RGB array and words in, a label for every pixel out.

Here NumPy and torch meet: callers have arrays, engines tensors.
"""

from collections.abc import Sequence
from dataclasses import replace
import gc
from os import fspath, PathLike
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
from zegclip_core.devices import device_errors, pick_device, pick_precision, use_threads
from zegclip_core.engines.backends import pick_backend
from zegclip_core.engines.contract import EngineVocabulary, PostprocessStep, Prediction
from zegclip_core.engines.lean.downloads import Downloads
from zegclip_core.engines.lean.engine import LeanEngine
from zegclip_core.engines.making import make_engine
from zegclip_core.engines.onnx import ExportedModel, load_exported
from zegclip_core.errors import DeviceMemoryError, ModelError
from zegclip_core.images.checks import check_batch, working_size
from zegclip_core.loading import DEFAULT_MODEL, load_model, LoadedModel
from zegclip_core.model.scoring import Scoring
from zegclip_core.options import MAX_SHORT_SIDE, OPTIONS, SegmenterOptions
from zegclip_core.refinement.on_demand import sharpened, smoother_of
from zegclip_core.segmentation import Moment, Segmentation
from zegclip_core.text.encoder import encode_vocabulary, EncodedVocabulary
from zegclip_core.text.negatives import clean_negatives
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_core.weights.checkpoint import ModelSettings

__all__ = ['EncodedVocabulary', 'Segmenter']

MaskLogits = bool | Literal['all']


class Segmenter:
    """Labels every pixel of an image with a class of a vocabulary.

    One thread uses it at a time, but ``encode`` may run in another one beside ``segment``.

    Args:
        loaded: The model; an exported one brings its own engine.
        options: How it runs and which pixels it labels. Those that are read while a
            model is loaded (attention, templates, threads) do nothing here; the backend auto is
            PyTorch here, and for an exported model its own.
        steps: Called in this order between mask logits and labels, after the smoothing if the
            options ask for it.

    Attributes:
        options: The options; of those of ``load`` the backend is what auto stood for.
        device: Where its tensors are; onnxruntime brings them to its own device.
        runs_on: Where the model runs: ``cpu``, ``cuda:0``, ``tensorrt``.
        scoring: How mask logits become scores.
        dtype: Floating-point type of the image tower; of int8, of what is not in eight bits.
        short_side: Short side that images are brought to, in pixels.
        threshold: Least score of a labelled pixel that ``encode`` takes where none is given.
        negatives: Words that compete; what ``encode`` takes where none are given.

    Raises:
        ModelError: If there is no such device or precision, or a setting is out of its range.
        VocabularyError: If a negative word cannot be used.
    """

    def __init__(
        self,
        loaded: LoadedModel | ExportedModel,
        options: SegmenterOptions = SegmenterOptions(),
        *,
        steps: Sequence[PostprocessStep] = (),
    ) -> None:
        """Move the model to its device."""
        self.model_name = loaded.name
        self.options = options
        self.settings: ModelSettings = loaded.settings
        self.patch_size = loaded.config.vision.patch_size
        self.text_encoder = loaded.text_encoder
        if isinstance(loaded, ExportedModel):
            self.device, self.dtype = torch.device('cpu'), torch.float32
            self.runs_on = loaded.runs_on
            self.scoring: Scoring = loaded.scoring
        else:
            on_cpu = options.backend == 'openvino'
            self.device = pick_device('cpu' if on_cpu else options.device)
            self.dtype = pick_precision(options.precision, self.device)
            self.runs_on = str(self.device)
            self.network = loaded.network
            self.scoring = loaded.network.scoring
        self.short_side = options.short_side or loaded.settings.short_side
        if not self.patch_size <= self.short_side <= MAX_SHORT_SIDE:
            raise ModelError(
                f'Expected the short side to be in [{self.patch_size}, {MAX_SHORT_SIDE}] pixels, '
                f'but got {self.short_side}.'
            )
        self._last: EncodedVocabulary | None = None
        self._downloads = Downloads()
        threshold, negatives = options.threshold, options.negatives
        self.threshold = loaded.settings.threshold if threshold is None else threshold
        self.negatives = clean_negatives(
            loaded.settings.negatives if negatives is None else negatives
        )
        self.engine = make_engine(loaded, options, self.dtype, self.device)
        if isinstance(self.engine, LeanEngine):
            # Else the weights as they were loaded would stay, too.
            self.network = self.engine.model.network
        self._smoother = smoother_of(options.smoothing)
        self.engine.steps = (*filter(None, [self._smoother]), *steps)
        if self.device.type == 'cuda':
            self.text_encoder.to(self.device)
        self._prepared: WeakKeyDictionary[EncodedVocabulary, EngineVocabulary] = (
            WeakKeyDictionary()
        )

    @classmethod
    def load(
        cls,
        model: str | PathLike[str] = DEFAULT_MODEL,
        options: SegmenterOptions = SegmenterOptions(),
        *,
        steps: Sequence[PostprocessStep] = (),
        **changes: Any,  # noqa: ANN401 - of several types
    ) -> 'Segmenter':
        """Load a model and put it on a device.

        Args:
            model: Its name (``zegclip_core.weights.names``), or the path of its file.
            options: How it runs and which pixels it labels.
            steps: Called in this order between mask logits and labels.
            **changes: Fields of ``SegmenterOptions`` with other values than those of ``options``,
                such as ``device='cpu'``.

        Raises:
            ModelError: If there is no such model, device or precision, or a setting is out of its
                range or not for this model.
            CheckpointError: If the model's file cannot be used.
            TowerError: If one of its frozen towers cannot be found.
            ConfigError: If there are no such templates.
            VocabularyError: If a negative word cannot be used.
            BackendError: If OpenVINO is asked for and cannot run the model.
            DeviceMemoryError: If the device has too little free memory for the model.
            DeviceLostError: If the device is of no more use to this process.
        """
        model = fspath(model)
        options = replace(options, **changes)
        use_threads(options.threads)
        backend = pick_backend(options, model)
        if backend == 'onnxruntime':
            options.check_exported()
            exported = load_exported(model, device=options.device, precision=options.precision)
            return cls(exported, options, steps=steps)
        # Refused here if they are not there, before what may take minutes.
        pick_precision(options.precision, pick_device(options.device))
        loaded = load_model(model, attention=options.attention, templates=options.templates)
        options = replace(options, backend=backend)
        with device_errors(options.device, f'the model {model}'):
            return cls(loaded, options, steps=steps)

    def encode(
        self,
        vocabulary: Vocabulary,
        *,
        threshold: float | None = None,
        negatives: Sequence[str] | None = None,
    ) -> EncodedVocabulary:
        """Encode a vocabulary's words; those known already cost nothing.

        Args:
            vocabulary: The classes.
            threshold: Least score of a labelled pixel, in [0, 1], for classes without one of
                their own; ``None`` takes the segmenter's.
            negatives: Words that compete with the classes; a pixel that one of them wins is
                unlabelled. ``None`` takes the segmenter's.

        Raises:
            ModelError: If the threshold is out of its range.
            VocabularyError: If a word cannot be used.
            DeviceMemoryError: If the device has too little free memory for so many words.
            DeviceLostError: If the device is of no more use to this process.
        """
        OPTIONS['threshold'].check(threshold)
        with device_errors(self.runs_on, f'{len(vocabulary)} classes'):
            encoded = encode_vocabulary(
                vocabulary,
                self.text_encoder,
                self.settings,
                threshold=self.threshold if threshold is None else threshold,
                negatives=self.negatives if negatives is None else clean_negatives(negatives),
                device=self.device,
            )
            self._prepare(encoded)  # Here, and not with the first frame that needs it.
        return encoded

    def _prepare(self, encoded: EncodedVocabulary) -> EngineVocabulary:
        """Return what the engine keeps of a vocabulary, computed once."""
        if encoded not in self._prepared:
            self._prepared[encoded] = self.engine.prepare(encoded)
        return self._prepared[encoded]

    def warm_up(self) -> None:
        """Segment an empty image, which loads and compiles what runs the model.

        On a CUDA device it is of camera size. On a CPU, where the first image takes hardly longer
        than others, one of a few patches finds what is wrong.
        """
        encoded = self.encode(Vocabulary.from_names(['object']))
        if self.device.type == 'cpu' and self.options.mode != 'slide':
            image = np.zeros((48, 64, 3), np.uint8)
            self._segment([image], encoded, short_side=4 * self.patch_size)
        else:
            self.segment(np.zeros((480, 640, 3), np.uint8), encoded)

    def prepare_frames(
        self, vocabulary: EncodedVocabulary, size: tuple[int, int], batch: int = 1
    ) -> None:
        """Make the next frames of a size as fast with new words as they are later on.

        Only graphs on CUDA need it. With steps it does nothing, as they would take empty images
        for frames.

        Args:
            vocabulary: The words.
            size: ``(H, W)`` of the frames.
            batch: How many are labelled at once.

        Raises:
            DeviceMemoryError: As ``segment_batch``.
            DeviceLostError: If the device is of no more use to this process.
        """
        if not isinstance(self.engine, LeanEngine) or self.engine.steps:
            return
        blank = np.zeros((*size, 3), np.uint8)
        for _ in range(self.engine.slow_frames):
            self.segment_batch([blank] * batch, vocabulary)

    def segment(
        self,
        image: npt.NDArray[np.uint8],
        vocabulary: Vocabulary | EncodedVocabulary,
        *,
        mask_logits: MaskLogits = False,
        scores: bool = True,
        moment: Moment | None = None,
    ) -> Segmentation:
        """Label every pixel of an image.

        Args:
            image: RGB, uint8 ``(H, W, 3)``, of any size.
            vocabulary: The classes to look for.
            mask_logits: Whether the result holds the mask logits as well; ``all`` has rows for
                the negative words, too, after those of the classes.
            scores: Whether it holds the scores; from a GPU they take longer than the labels.
            moment: Which stream it is of, and when it was taken, for ``smoothing``; without it
                the image stands alone.

        Raises:
            ZegCLIPError: As ``segment_batch`` does.
        """
        return self.segment_batch(
            [image],
            vocabulary,
            mask_logits=mask_logits,
            scores=scores,
            moments=None if moment is None else [moment],
        )[0]

    def segment_batch(
        self,
        images: Sequence[npt.NDArray[np.uint8]],
        vocabulary: Vocabulary | EncodedVocabulary,
        *,
        mask_logits: MaskLogits = False,
        scores: bool = True,
        moments: Sequence[Moment] | None = None,
    ) -> list[Segmentation]:
        """Label every pixel of several images of one size at once, as of several cameras.

        Args:
            images: RGB, uint8 ``(H, W, 3)`` each, at least one.
            vocabulary: The classes to look for.
            mask_logits: As ``segment`` takes it.
            scores: Whether they hold the scores; from a GPU these take longer than the labels.
            moments: Of each image, which stream it is of and when it was taken, for
                ``smoothing``, no stream twice; without them each image stands alone.

        Raises:
            ImageError: If an image has another type or shape or no pixel, or if there is no
                image or they differ in size.
            VocabularyError: If the words cannot be encoded.
            DeviceMemoryError: If the device has too little free memory for them; what the attempt
                took is free again, and the next images get a new chance.
            DeviceLostError: If the device is of no more use to this process.
        """
        check_batch(images)
        if isinstance(vocabulary, Vocabulary):
            if self._last is None or self._last.vocabulary != vocabulary:
                self._last = self.encode(vocabulary)
            vocabulary = self._last
        if self._smoother is not None:
            self._smoother.moments = moments or ()
        height, width = images[0].shape[:2]
        needed = f'an image of {width}x{height} pixels at a short side of {self.short_side}'
        try:
            with device_errors(self.runs_on, needed):
                every = vocabulary.bias if mask_logits == 'all' else vocabulary.vocabulary
                rows = len(every) if mask_logits else 0
                return self._segment(images, vocabulary, self.short_side, rows, scores)
        except DeviceMemoryError as error:
            message = str(error)
        # Past the handler, whose error holds the tensors of the attempt.
        self.release_memory()
        raise DeviceMemoryError(message)

    def _segment(
        self,
        images: Sequence[npt.NDArray[np.uint8]],
        encoded: EncodedVocabulary,
        short_side: int,
        rows: int = 0,
        scores: bool = True,
    ) -> list[Segmentation]:
        """Label every pixel of images that were checked; its tensors go with it if it fails."""
        height, width = images[0].shape[:2]
        size = working_size(
            height,
            width,
            short_side=short_side,
            patch_size=self.patch_size,
            window=self.settings.crop if self.options.mode == 'slide' else None,
        )
        pixels = np.ascontiguousarray(images[0])[None] if len(images) == 1 else np.stack(images)
        found = self.engine.run(
            torch.from_numpy(pixels),
            size,
            self._prepare(encoded),
            (height, width),
            mask_logits=rows > 0 or self.options.sharp_edges > 0,
        )
        if self.options.sharp_edges and found.mask_logits is not None:
            arrays = self._downloads(found.labels, found.scores, found.mask_logits)
            most = self.options.sharp_edges
            labels, best = sharpened(images, arrays, encoded, self.scoring, most)
            parts = torch.from_numpy(labels), torch.from_numpy(best)
            found = Prediction(*parts, found.mask_logits)
        # Those of no pixel where nobody asked.
        tensors = [found.labels, found.scores if scores else found.scores[:, :0, :0]]
        if rows and found.mask_logits is not None:  # Those of negative words are the last.
            tensors.append(found.mask_logits[:, :rows])
        return [
            Segmentation(labels, best, encoded.vocabulary, *logits)
            for labels, best, *logits in zip(*self._downloads(*tensors), strict=True)
        ]

    def release_memory(self) -> None:
        """Give the device's memory that no tensor uses back to it; the model stays.

        Raises:
            DeviceLostError: If the device is of no more use to this process.
        """
        with device_errors(self.runs_on, 'nothing'):
            if hasattr(self, 'engine'):
                self.engine.release_memory()
            self._downloads.clear()
            if self._smoother is not None:
                self._smoother.forget()
            if self.device.type == 'cuda':
                torch.cuda.empty_cache()

    def close(self) -> None:
        """Let go of the model and its memory; nothing but this may be called afterwards."""
        for part in ('network', 'text_encoder', 'engine'):
            vars(self).pop(part, None)
        self._last = None
        self._prepared.clear()
        gc.collect()  # The parts of a network know one another.
        self.release_memory()

    def memory_bytes(self) -> int | None:
        """Return the device's memory that PyTorch holds in this process; ``None`` on a CPU."""
        on_cuda = self.device.type == 'cuda'
        return int(torch.cuda.memory_reserved(self.device)) if on_cuda else None

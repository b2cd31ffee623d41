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
import gc
from os import fspath, PathLike
from typing import Literal
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
from zegclip_core.devices import pick_device, pick_precision
from zegclip_core.engines.choice import pick_backend
from zegclip_core.engines.contract import Engine, EngineVocabulary, PostprocessStep, Windows
from zegclip_core.engines.lean.engine import LeanEngine
from zegclip_core.engines.lean.staging import to_host
from zegclip_core.engines.onnx import ExportedModel, load_exported
from zegclip_core.engines.plain import PlainEngine
from zegclip_core.errors import DeviceMemoryError, ModelError
from zegclip_core.images.checks import check_batch, check_image
from zegclip_core.images.working_size import working_size
from zegclip_core.loading import DEFAULT_MODEL, load_model, LoadedModel
from zegclip_core.model.training_free import Attention
from zegclip_core.segmentation import Segmentation
from zegclip_core.text.encoded import encode_vocabulary, EncodedVocabulary
from zegclip_core.text.negatives import clean_negatives
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_core.threads import use_threads
from zegclip_core.weights.checkpoint import ModelSettings

__all__ = ['MODES', 'PATHS', 'EncodedVocabulary', 'Segmenter', 'check_image', 'working_size']

Mode = Literal['whole', 'slide']
MODES: tuple[Mode, ...] = ('whole', 'slide')
Path = Literal['lean', 'plain']
PATHS: tuple[Path, ...] = ('lean', 'plain')
MAX_SHORT_SIDE = 2048


class Segmenter:
    """Labels every pixel of an image with a class of a vocabulary.

    One thread uses it at a time, but ``encode`` may run in another one beside ``segment``.

    Args:
        loaded: The model; an exported one brings its own engine.
        device: Where it runs.
        dtype: Floating-point type of the image tower.
        short_side: Short side that images are brought to, in pixels; ``None`` takes the model's.
        mode: ``whole`` looks at the image once, ``slide`` at overlapping square windows.
        threshold: Least score of a labelled pixel, in [0, 1]; ``None`` takes the model's.
        negatives: Words that compete with a vocabulary's; a pixel that one of them wins is
            unlabelled. ``None`` takes the model's.
        path: ``lean``, or ``plain`` for every step as the method describes it, to compare with.
        candidates: Of more words than these, only so many are drawn in each image, those that its
            patches score best; 0 for all.
        steps: Called in this order between mask logits and labels.

    Raises:
        ModelError: If a setting is out of its range.
        VocabularyError: If a negative word cannot be used.
    """

    def __init__(
        self,
        loaded: LoadedModel | ExportedModel,
        *,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        short_side: int | None = None,
        mode: Mode = 'whole',
        threshold: float | None = None,
        negatives: Sequence[str] | None = None,
        path: Path = 'lean',
        candidates: int = 0,
        steps: Sequence[PostprocessStep] = (),
    ) -> None:
        """Move the model to its device."""
        self.model_name = loaded.name
        self.device = device
        self.runs_on = loaded.runs_on if isinstance(loaded, ExportedModel) else str(device)
        self.dtype = dtype
        self.settings: ModelSettings = loaded.settings
        if isinstance(loaded, LoadedModel):
            self.network = loaded.network
        self.patch_size = loaded.config.vision.patch_size
        self.text_encoder = loaded.text_encoder
        self.mode = mode
        self.path = path
        self.candidates = candidates
        self.short_side = loaded.settings.short_side if short_side is None else short_side
        self._check()
        self._last: EncodedVocabulary | None = None
        self._threshold = check_threshold(
            loaded.settings.threshold if threshold is None else threshold
        )
        self._negatives = clean_negatives(
            loaded.settings.negatives if negatives is None else negatives
        )
        self.engine = self._make_engine(loaded)
        self.engine.steps = tuple(steps)
        if device.type == 'cuda':
            self.text_encoder.to(device)
        self._prepared: WeakKeyDictionary[EncodedVocabulary, EngineVocabulary] = (
            WeakKeyDictionary()
        )

    def _make_engine(self, loaded: LoadedModel | ExportedModel) -> Engine:
        """Return what labels the pixels."""
        if isinstance(loaded, ExportedModel):
            return loaded.engine
        windows = None
        if self.mode == 'slide':
            windows = Windows(self.settings.crop, self.settings.stride)
        if self.path == 'plain':
            return PlainEngine(loaded.network.to(self.device, self.dtype).eval(), windows=windows)
        return LeanEngine(
            loaded.network,
            dtype=self.dtype,
            device=self.device,
            windows=windows,
            candidates=self.candidates,
        )

    def _check(self) -> None:
        """Refuse settings that are out of their range."""
        if not self.patch_size <= self.short_side <= MAX_SHORT_SIDE:
            raise ModelError(
                f'Expected the short side to be in [{self.patch_size}, {MAX_SHORT_SIDE}] pixels, '
                f'but got {self.short_side}.'
            )
        if self.mode not in MODES:
            raise ModelError(f'Expected the mode to be whole or slide, but got {self.mode!r}.')
        if self.path not in PATHS:
            raise ModelError(f'Expected the path to be lean or plain, but got {self.path!r}.')
        if self.candidates and self.path == 'plain':
            raise ModelError(
                f'Expected no candidates on the plain path, which draws every word, '
                f'but got {self.candidates}.'
            )

    @property
    def threshold(self) -> float:
        """What ``encode`` takes where no threshold is given, in [0, 1]."""
        return self._threshold

    @property
    def negatives(self) -> tuple[str, ...]:
        """What ``encode`` takes where no negative words are given."""
        return self._negatives

    @classmethod
    def load(
        cls,
        model: str | PathLike[str] = DEFAULT_MODEL,
        *,
        device: str = 'auto',
        precision: str = 'auto',
        short_side: int | None = None,
        mode: Mode = 'whole',
        threshold: float | None = None,
        negatives: Sequence[str] | None = None,
        path: Path = 'lean',
        backend: str = 'auto',
        threads: int | None = None,
        attention: Attention | None = None,
        templates: str | Sequence[str] | None = None,
        candidates: int = 0,
    ) -> 'Segmenter':
        """Load a model and put it on a device.

        Args:
            model: Its name (``zegclip_core.weights.names``), or the path of its file.
            device: ``auto`` (CUDA if there is any), ``cpu``, ``cuda`` or ``cuda:N``; for an
                exported model see ``load_exported``.
            precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``; likewise.
            short_side: As in the constructor, like what follows.
            mode: See there.
            threshold: See there.
            negatives: See there.
            path: See there.
            backend: ``torch``, ``onnxruntime`` for exported models, or ``auto``.
            threads: How many threads PyTorch computes with on a CPU, in the whole process;
                ``None`` leaves it as it is.
            attention: How CLIP without training attends; as in ``load_model``.
            templates: What words are put into; see there.
            candidates: As in the constructor.

        Raises:
            ModelError: If there is no such model, device or precision, or a setting is out of its
                range or not for this model.
            CheckpointError: If the model's file cannot be used.
            TowerError: If one of its frozen towers cannot be found.
            ConfigError: If there are no such templates.
            VocabularyError: If a negative word cannot be used.
        """
        model = fspath(model)
        use_threads(threads)
        loaded: LoadedModel | ExportedModel
        if pick_backend(backend, model) == 'onnxruntime':
            check_fixed(
                short_side=short_side,
                mode=mode,
                path=path,
                attention=attention,
                templates=templates,
                candidates=candidates,
            )
            loaded = load_exported(model, device=device, precision=precision)
            # Where its tensors are; onnxruntime brings them to its own device.
            place, dtype = torch.device('cpu'), torch.float32
        else:
            place = pick_device(device)
            dtype = pick_precision(precision, place)
            loaded = load_model(model, attention=attention, templates=templates)
        return cls(
            loaded,
            device=place,
            dtype=dtype,
            short_side=short_side,
            mode=mode,
            threshold=threshold,
            negatives=negatives,
            path=path,
            candidates=candidates,
        )

    @property
    def encoded_phrases(self) -> int:
        """How many phrases the text tower has encoded so far."""
        return self.text_encoder.encoded_phrases

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
        """
        encoded = encode_vocabulary(
            vocabulary,
            self.text_encoder,
            self.settings,
            threshold=self.threshold if threshold is None else check_threshold(threshold),
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
        """Segment an empty image of camera size, so that the first real one is not slow."""
        self.segment(np.zeros((480, 640, 3), np.uint8), Vocabulary.from_names(['object']))

    def segment(
        self,
        image: npt.NDArray[np.uint8],
        vocabulary: Vocabulary | EncodedVocabulary,
        *,
        mask_logits: bool = False,
    ) -> Segmentation:
        """Label every pixel of an image.

        Args:
            image: RGB, uint8 ``(H, W, 3)``, of any size.
            vocabulary: The classes to look for.
            mask_logits: Whether the result holds the mask logits as well.

        Returns:
            Labels and scores at the image's size.

        Raises:
            ImageError: If the image has another type or shape, or no pixel.
            VocabularyError: If the words cannot be encoded.
            DeviceMemoryError: If the device has too little free memory for it; what the attempt
                took is free again, and the next image gets a new chance.
        """
        return self.segment_batch([image], vocabulary, mask_logits=mask_logits)[0]

    def segment_batch(
        self,
        images: Sequence[npt.NDArray[np.uint8]],
        vocabulary: Vocabulary | EncodedVocabulary,
        *,
        mask_logits: bool = False,
    ) -> list[Segmentation]:
        """Label every pixel of several images of one size at once, as of several cameras.

        Args:
            images: RGB, uint8 ``(H, W, 3)`` each, at least one.
            vocabulary: The classes to look for.
            mask_logits: Whether the results hold the mask logits as well.

        Returns:
            Labels and scores of each image at its size.

        Raises:
            ImageError: If an image has another type or shape or no pixel, or if there is no
                image or they differ in size.
            VocabularyError: If the words cannot be encoded.
            DeviceMemoryError: If the device has too little free memory for them; what the attempt
                took is free again, and the next images get a new chance.
        """
        check_batch(images)
        if isinstance(vocabulary, EncodedVocabulary):
            encoded = vocabulary
        else:
            if self._last is None or self._last.vocabulary != vocabulary:
                self._last = self.encode(vocabulary)
            encoded = self._last
        try:
            return self._segment(images, encoded, mask_logits)
        except torch.OutOfMemoryError as error:
            reason = str(error).partition('\n')[0].partition('. ')[0]
        # Past the handler, whose error holds the tensors of the attempt.
        self.release_memory()
        height, width = images[0].shape[:2]
        raise DeviceMemoryError(
            f'Expected enough free memory on {self.device} for an image of {width}x{height} '
            f'pixels at a short side of {self.short_side}, but got: {reason}.'
        )

    def _segment(
        self,
        images: Sequence[npt.NDArray[np.uint8]],
        encoded: EncodedVocabulary,
        mask_logits: bool,
    ) -> list[Segmentation]:
        """Label every pixel of images that were checked."""
        height, width = images[0].shape[:2]
        size = working_size(
            height,
            width,
            short_side=self.short_side,
            patch_size=self.patch_size,
            window=self.settings.crop if self.mode == 'slide' else None,
        )
        pixels = np.ascontiguousarray(images[0])[None] if len(images) == 1 else np.stack(images)
        found = self.engine.run(
            torch.from_numpy(pixels),
            size,
            self._prepare(encoded),
            (height, width),
            mask_logits=mask_logits,
        )
        tensors = [found.labels, found.scores]
        if found.mask_logits is not None:
            # A user's classes are the first rows, negative words the others.
            tensors.append(found.mask_logits[:, : len(encoded.vocabulary)])
        return [
            Segmentation(labels, scores, encoded.vocabulary, *logits)
            for labels, scores, *logits in zip(*to_host(*tensors), strict=True)
        ]

    def release_memory(self) -> None:
        """Give the device's memory that no tensor uses back to it; the model stays."""
        if hasattr(self, 'engine'):
            self.engine.release_memory()
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
        if self.device.type != 'cuda':
            return None
        return int(torch.cuda.memory_reserved(self.device))


def check_threshold(threshold: float) -> float:
    """Return a threshold.

    Raises:
        ModelError: If it is not in [0, 1].
    """
    if not 0.0 <= threshold <= 1.0:
        raise ModelError(f'Expected the threshold to be in [0, 1], but got {threshold}.')
    return threshold


def check_fixed(**settings: object) -> None:
    """Refuse settings that an exported model cannot follow.

    Args:
        **settings: Those of ``Segmenter.load`` that are for other models, by name.

    Raises:
        ModelError: If one is given.
    """
    usual = {'mode': 'whole', 'path': 'lean', 'candidates': 0}
    for name, value in settings.items():
        if value != usual.get(name):
            raise ModelError(
                'Expected an exported model to be used as it was exported, whole and at its own '
                f'size (zegclip export --size), but got the {name.replace("_", " ")} {value}.'
            )

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
"""The methods: each labels the same images with the same vocabulary and tells how long it took."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.attention import sdpa_kernel, SDPBackend
from torch.utils.flop_counter import FlopCounterMode
from zegclip_core.devices import pick_precision, precision_name
from zegclip_core.images.checks import working_size
from zegclip_core.model.vit import VisionTransformer
from zegclip_core.model.zegclip import ZegCLIP
from zegclip_core.options import SegmenterOptions
from zegclip_core.segmenter import Segmenter
from zegclip_core.speed import two_stage
from zegclip_core.speed.cases import Case
from zegclip_core.speed.hardware import timed
from zegclip_core.speed.inputs import Bundle, Image, Inputs
from zegclip_core.speed.literal import LiteralModel, LiteralPipeline

_HELD_MAPS = 5
"""Full-size maps of every class that the literal pipeline holds at once."""

Labels = npt.NDArray[np.integer]
"""Class indices of the pixels of a batch, ``(B, H, W)``."""


class Timing(NamedTuple):
    """How long one call took.

    Attributes:
        model: Seconds of the network alone, from prepared images to mask logits.
        total: Seconds from images in the host's memory to their labels there.
    """

    model: float
    total: float


class Method(ABC):
    """One way to label images.

    Attributes:
        once: Whether it is so slow that it is measured in one case and once.
        weight_bytes: Memory of its weights.

    Args:
        name: Its name in the tables.
        device: Where it runs.
        weights: All of its weights.
    """

    def __init__(self, name: str, device: torch.device, weights: Iterable[Tensor]) -> None:
        self.name, self.device, self.once = name, device, False
        self.weight_bytes = sum(weight.nbytes for weight in weights)

    @abstractmethod
    def measure(self, inputs: Inputs) -> tuple[Labels, Timing]:
        """Label the images; return the labels and how long it took."""

    @abstractmethod
    def operations(self, inputs: Inputs) -> int:
        """Return how many operations the network needs for the images."""

    def needed_bytes(self, case: Case) -> float:
        """Return about how much memory a case takes, where that may be more than there is."""
        return 0.0

    def release(self) -> None:  # noqa: B027 - most keep nothing
        """Free what the last case left."""


def count_operations(forward: Callable[..., object], *shapes: Sequence[int]) -> int:
    """Return the operations of matrix products and convolutions, as PyTorch counts them.

    A multiplication and its addition are two. Nothing is computed: tensors have shapes alone.

    Args:
        forward: Takes tensors on the ``meta`` device, where its own have to be as well.
        shapes: Shapes of its arguments.
    """
    counter = FlopCounterMode(display=False)
    # Fused attention is not counted on every device.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        forward(*(torch.empty(*shape, device='meta') for shape in shapes))
    return counter.get_total_flops()


class _Engine(Method):
    """The segmenter of this package, with the plain or the lean engine.

    The network alone is the engine on images that lie on the device in the working size, with a
    label for each patch, so that nothing is resized or copied to speak of.
    """

    def __init__(
        self, name: str, bundle: Bundle, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._segmenter = Segmenter(
            bundle.loaded(),
            SegmenterOptions(
                device=str(device),
                precision=precision_name(dtype),
                threshold=0.0,
                negatives=(),
                engine='plain' if name == 'plain' else 'lean',
            ),
        )
        super().__init__(name, device, self._segmenter.network.parameters())
        self._config = bundle.checkpoint.config

    def _working_size(self, image: Image) -> tuple[int, int]:
        sides = {
            'short_side': self._segmenter.short_side,
            'patch_size': self._segmenter.patch_size,
        }
        return working_size(*image.shape[:2], **sides)

    def measure(self, inputs: Inputs) -> tuple[Labels, Timing]:
        segmenter, engine = self._segmenter, self._segmenter.engine
        found, total = timed(self.device, partial(segmenter.segment_batch, *inputs))
        height, width = self._working_size(inputs.images[0])
        small = [cv2.resize(image, (width, height)) for image in inputs.images]
        pixels = torch.from_numpy(np.stack(small)).to(self.device)
        grid = (height // segmenter.patch_size, width // segmenter.patch_size)
        words = engine.prepare(inputs.vocabulary)
        _, model = timed(self.device, partial(engine.run, pixels, (height, width), words, grid))
        return np.stack([each.labels for each in found]), Timing(model, total)

    def operations(self, inputs: Inputs) -> int:
        """Count the plain network; the lean engine saves a few of them."""
        with torch.device('meta'):
            network = ZegCLIP(self._config).eval()
        batch = (len(inputs.images), 3, *self._working_size(inputs.images[0]))
        return count_operations(network, batch, inputs.vocabulary.embeddings.shape)

    def release(self) -> None:
        self._segmenter.release_memory()


class _Literal(Method):
    """The published pipeline in float32."""

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        weights = {
            name: value.to(device, torch.float32)
            for name, value in bundle.published.items()
            if name.startswith(('backbone.', 'decode_head.'))
        }
        super().__init__('literal', device, weights.values())
        config, settings = bundle.checkpoint.config, bundle.checkpoint.settings
        vision = config.vision
        model = LiteralModel(weights, vision.grid[0], vision.heads, config.decoder_heads)
        bias = torch.zeros(0, device=device)
        self._pipeline = LiteralPipeline(model, settings.crop, settings.stride, bias)

    @torch.inference_mode()
    def measure(self, inputs: Inputs) -> tuple[Labels, Timing]:
        images, words = inputs
        text, (height, width) = words.embeddings.to(self.device), images[0].shape[:2]
        pipeline = replace(self._pipeline, bias=words.bias.to(self.device))
        batch, before = timed(self.device, partial(pipeline.prepare, images))
        logits, model = timed(self.device, partial(pipeline.predict, batch, text))
        finish = partial(pipeline.postprocess, logits, (batch.shape[2], batch.shape[3]))
        labels, after = timed(self.device, partial(finish, (height, width)))
        return labels, Timing(model, before + model + after)

    def operations(self, inputs: Inputs) -> int:
        """Count the network on every window."""
        batch, crop = self._pipeline.prepare(inputs.images), self._pipeline.crop
        weights = {name: value.to('meta') for name, value in self._pipeline.model.weights.items()}
        predict = replace(self._pipeline.model, weights=weights).predict
        windows = self._pipeline.windows(*batch.shape[2:])
        window = (*batch.shape[:2], crop, crop)
        return len(windows) * count_operations(predict, window, inputs.vocabulary.embeddings.shape)

    def needed_bytes(self, case: Case) -> float:
        """Count the maps of all classes, at the larger of the two sizes."""
        scale = max(1.0, self._pipeline.crop / min(case.height, case.width))
        pixels = case.batch * case.height * case.width * scale**2
        return 4.0 * _HELD_MAPS * case.classes * pixels


class _TwoStage(Method):
    """CLIP in float32 on a hundred masked crops of each image."""

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        self._tower = two_stage.clip_tower(bundle.checkpoint).to(device)
        super().__init__('two_stage', device, self._tower.parameters())
        self.once = device.type == 'cpu'

    @torch.inference_mode()
    def measure(self, inputs: Inputs) -> tuple[Labels, Timing]:
        images, words = inputs
        text, (height, width) = words.embeddings.to(self.device), images[0].shape[:2]
        proposals = two_stage.seeded_proposals(height, width, self.device)
        found = [self._label(image, proposals, text) for image in images]
        model, total = (sum(times) for times in zip(*(times for _, times in found), strict=True))
        return np.stack([labels for labels, _ in found]), Timing(model, total)

    def _label(
        self, image: Image, proposals: two_stage.Proposals, text: Tensor
    ) -> tuple[Labels, Timing]:
        """Label one image, ``(H, W)``."""

        def cut() -> Tensor:
            return two_stage.cut_crops(torch.from_numpy(image).to(self.device), proposals)

        def label() -> Labels:
            labels: Labels = two_stage.label_pixels(shares, proposals).cpu().numpy()
            return labels

        crops, before = timed(self.device, cut)
        shares, model = timed(self.device, partial(two_stage.classify, self._tower, crops, text))
        labels, after = timed(self.device, label)
        return labels, Timing(model, before + model + after)

    def operations(self, inputs: Inputs) -> int:
        """Count CLIP on every crop."""
        with torch.device('meta'):
            tower = VisionTransformer(self._tower.config)
        crops = (two_stage.PROPOSALS, 3, two_stage.CROP, two_stage.CROP)
        return len(inputs.images) * count_operations(tower, crops)


def build_method(name: str, bundle: Bundle, device: torch.device) -> Method | str:
    """Build a method, or say why it cannot be measured with a model.

    Args:
        name: One of ``METHODS``.
        bundle: The model.
        device: Where it runs.
    """
    if not bundle.published and name.startswith(('literal', 'two_stage')):
        return f'{bundle.name} has no weights under the published names'
    if name == 'literal':
        return _Literal(bundle, device)
    if name == 'two_stage':
        return _TwoStage(bundle, device)
    dtype = pick_precision('auto', device) if name == 'lean' else torch.float32
    return _Engine(name, bundle, device, dtype)

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
"""The sides of the benchmark: each takes the same frames and words, and tells how long it took."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from zegclip_core.devices import pick_precision
from zegclip_core.engines.lean.engine import Engine, LeanEngine, LeanOptions, PlainEngine
from zegclip_core.engines.lean.staging import to_host
from zegclip_core.images.working_size import working_size
from zegclip_core.speed.cases import CANDIDATES, Case
from zegclip_core.speed.flops import crops_flops, model_flops, Style
from zegclip_core.speed.literal import LiteralModel, LiteralPipeline
from zegclip_core.speed.models import Bundle, Frame, Words
from zegclip_core.speed.two_stage import (
    clip_tower,
    CROP_GRID,
    CROPS,
    Proposals,
    seeded_proposals,
    TwoStage,
)
from zegclip_core.speed.watch import Watch

Labels = npt.NDArray[np.integer]
_HELD_MAPS = 5
"""Full-size maps of every class that the literal pipeline holds at once."""


class Timed(NamedTuple):
    """How long one call took.

    Attributes:
        model: From the prepared image to mask logits [s].
        total: From the frames in the host's memory to their labels there [s].
    """

    model: float
    total: float


class Side(ABC):
    """One way to label frames.

    Attributes:
        name: Its name in the tables.
        device: Where it runs.
        once: Whether it is so slow that it is measured in one case and once.
        weight_bytes: Memory of its weights.
    """

    def __init__(self, name: str, device: torch.device, weights: Iterable[Tensor]) -> None:
        """Remember where it runs, and count its weights."""
        self.name = name
        self.device = device
        self.once = False
        self.weight_bytes = sum(weight.nbytes for weight in weights)

    @abstractmethod
    def load(self, frames: Sequence[Frame], words: Words) -> None:
        """Take the frames and words of a case; this is not timed."""

    @abstractmethod
    def label(self) -> Labels:
        """Return the labels ``(B, H, W)`` of the loaded frames."""

    @abstractmethod
    def measure(self) -> tuple[Labels, Timed]:
        """Label the loaded frames; return the labels and how long it took."""

    @abstractmethod
    def flops(self, case: Case) -> float:
        """Return the operations that the model needs for a case."""

    def needed_bytes(self, case: Case) -> float:
        """Return about how much memory a case takes, where that may be more than there is."""
        del case
        return 0.0

    @abstractmethod
    def release(self) -> None:
        """Let go of what the last case left."""


class EngineSide(Side):
    """Ours, plain or lean.

    It is an engine as it stands behind a segmenter. ``model`` is the same one on pixels that lie
    on the device in the working size, with labels for each patch, so that nothing is resized or
    copied to speak of.
    """

    def __init__(
        self,
        name: str,
        bundle: Bundle,
        device: torch.device,
        dtype: torch.dtype,
        style: Style,
        options: LeanOptions | None = None,
        candidates: int = 0,
    ) -> None:
        """Build an engine on weights of its own; the options say which savings it makes."""
        loaded = bundle.loaded()
        network, self._short_side = loaded.network, loaded.settings.short_side
        self._engine: Engine
        if style == 'plain':
            self._engine = PlainEngine(network.to(device, dtype).eval())
        else:
            self._engine = LeanEngine(
                network, dtype=dtype, device=device, options=options, candidates=candidates
            )
        super().__init__(name, device, network.parameters())
        self._candidates = candidates
        self._style: Style = style
        self._config = bundle.checkpoint.config
        self._watch = Watch(device)

    def load(self, frames: Sequence[Frame], words: Words) -> None:
        """Prepare the words, and the pixels for the model alone."""
        thresholds = torch.zeros(len(words.bias))
        self._words = self._engine.prepare(words.embeddings, words.bias, thresholds)
        self._pixels = torch.from_numpy(np.stack(frames))
        self._output = (frames[0].shape[0], frames[0].shape[1])
        self._size = self._working_size(*self._output)
        grid = self._pixels.permute(0, 3, 1, 2).float()
        small = torch.nn.functional.interpolate(
            grid, size=self._size, mode='bilinear', antialias=True
        )
        small = small.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
        self._small = small.to(self.device)

    def _working_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size at which a frame is looked at."""
        patch = self._config.vision.patch_size
        return working_size(height, width, short_side=self._short_side, patch_size=patch)

    def label(self) -> Labels:
        """Run the engine from frames in the host's memory to labels and scores there."""
        labels, scores = self._engine.run(self._pixels, self._size, self._words, self._output)
        found: Labels = to_host(labels, scores)[0]
        return found

    def measure(self) -> tuple[Labels, Timed]:
        """Time the whole way, then the model alone."""
        self._watch.start()
        labels = self.label()
        total = self._watch.seconds()
        patch = self._config.vision.patch_size
        grid = (self._size[0] // patch, self._size[1] // patch)
        self._watch.start()
        self._engine.run(self._small, self._size, self._words, grid)
        return labels, Timed(self._watch.seconds(), total)

    def flops(self, case: Case) -> float:
        """Count the model at the working size."""
        size = self._working_size(case.height, case.width)
        one = model_flops(self._config, size, case.classes, self._style, self._candidates)
        return case.batch * one

    def release(self) -> None:
        """Drop recorded graphs and tables."""
        self._engine.release_memory()
        if self.device.type == 'cuda':
            torch.cuda.empty_cache()


class LiteralSide(Side):
    """The published pipeline."""

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        """Put the weights on the device, float32."""
        state = {
            key: value.to(device, torch.float32)
            for key, value in bundle.published.items()
            if key.startswith(('backbone.', 'decode_head.'))
        }
        super().__init__('literal', device, state.values())
        config, settings = bundle.checkpoint.config, bundle.checkpoint.settings
        grid, heads = config.vision.grid[0], config.vision.heads
        self._model = LiteralModel(state, grid, heads, config.decoder_heads)
        self._config, self._crop, self._stride = config, settings.crop, settings.stride
        self._watch = Watch(device)

    def load(self, frames: Sequence[Frame], words: Words) -> None:
        """Keep the frames; words are used as they are."""
        bias = words.bias.to(self.device)
        self._pipeline = LiteralPipeline(self._model, self._crop, self._stride, bias)
        self._frames, self._text = frames, words.embeddings.to(self.device)

    def label(self) -> Labels:
        """Run all stages."""
        return self.measure()[0]

    @torch.inference_mode()
    def measure(self) -> tuple[Labels, Timed]:
        """Time all stages, and the model among them."""
        self._watch.start()
        images = self._pipeline.prepare(self._frames)
        before = self._watch.seconds()
        logits = self._pipeline.predict(images, self._text)
        model = self._watch.seconds() - before
        size, (height, width) = images.shape[2:], self._frames[0].shape[:2]
        labels = self._pipeline.finish(logits, (size[0], size[1]), (height, width))
        return labels, Timed(model, self._watch.seconds())

    def flops(self, case: Case) -> float:
        """Count the model in every window."""
        scale = self._crop / min(case.height, case.width)
        size = (round(scale * case.height), round(scale * case.width))
        bias = torch.zeros(0)
        windows = LiteralPipeline(self._model, self._crop, self._stride, bias).windows(*size)
        one = model_flops(self._config, (self._crop, self._crop), case.classes, 'literal')
        return case.batch * len(windows) * one

    def needed_bytes(self, case: Case) -> float:
        """Count the maps of all classes at full size."""
        short = min(case.height, case.width)
        pixels = case.pixels * max(1.0, (self._crop / short) ** 2)
        return _HELD_MAPS * 4.0 * case.classes * pixels

    def release(self) -> None:
        """Do nothing: it keeps nothing."""


class TwoStageSide(Side):
    """The comparator: CLIP on a hundred masked crops of each frame."""

    def __init__(
        self, name: str, bundle: Bundle, device: torch.device, dtype: torch.dtype
    ) -> None:
        """Put CLIP's tower on the device."""
        state = clip_tower(bundle.published, dtype, device)
        super().__init__(name, device, state.values())
        self._vision = bundle.checkpoint.config.vision
        self._model = TwoStage(state, self._vision.grid[0], self._vision.heads)
        self._watch = Watch(device)
        self.once = device.type == 'cpu'

    def load(self, frames: Sequence[Frame], words: Words) -> None:
        """Keep the frames and make the proposals, which cost nothing."""
        height, width = frames[0].shape[:2]
        self._proposals: Proposals = seeded_proposals(height, width, self.device)
        self._frames, self._text = frames, words.embeddings.to(self.device)

    def label(self) -> Labels:
        """Run all stages on one frame after the other."""
        return self.measure()[0]

    @torch.inference_mode()
    def measure(self) -> tuple[Labels, Timed]:
        """Time all stages, and the model among them."""
        found = [self._run(frame) for frame in self._frames]
        times = [time for _, time in found]
        total = Timed(sum(time.model for time in times), sum(time.total for time in times))
        return np.stack([labels for labels, _ in found]), total

    def _run(self, frame: Frame) -> tuple[Labels, Timed]:
        self._watch.start()
        crops = self._model.cut(torch.from_numpy(frame).to(self.device), self._proposals)
        before = self._watch.seconds()
        found = self._model.classify(crops, self._text)
        model = self._watch.seconds() - before
        labels: Labels = self._model.label(found, self._proposals).cpu().numpy()
        return labels, Timed(model, self._watch.seconds())

    def flops(self, case: Case) -> float:
        """Count the tower on every crop."""
        return case.batch * crops_flops(self._vision, CROPS, CROP_GRID**2, case.classes)

    def release(self) -> None:
        """Drop the proposals."""
        if hasattr(self, '_proposals'):
            del self._proposals


def build_side(name: str, bundle: Bundle, device: torch.device) -> Side | str:
    """Build a side, or say why there is none.

    Args:
        name: One of the sides.
        bundle: The model.
        device: Where it runs.

    """
    if name in {'literal', 'two_stage', 'two_stage_half'} and not bundle.published:
        return f'{bundle.name} has no weights under the published names'
    best = pick_precision('auto', device)
    if name == 'literal':
        return LiteralSide(bundle, device)
    if name.startswith('two_stage'):
        half = name == 'two_stage_half'
        return TwoStageSide(name, bundle, device, best if half else torch.float32)
    if name == 'lean_candidates':
        return EngineSide(name, bundle, device, best, 'lean', candidates=CANDIDATES)
    dtype = best if name == 'lean' else torch.float32
    return EngineSide(name, bundle, device, dtype, 'plain' if name == 'plain' else 'lean')

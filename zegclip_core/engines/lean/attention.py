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
"""Whether cuDNN computes the attention on CUDA: only where it is right, and not slower.

PyTorch prefers cuDNN's attention on Hopper and newer, and neither tries another kernel where it
finds no plan nor compares. It is used in the whole process or not at all.
"""

from collections.abc import Callable
import logging
import statistics
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.attention import sdpa_kernel, SDPBackend
import torch.nn.functional as F
from zegclip_core.devices import is_of_device, reason_of
from zegclip_core.engines.contract import Network
from zegclip_core.model.training_free import TrainingFreeCLIP
from zegclip_core.model.zegclip import ZegCLIP

FIRST_CUDA = (12, 9)
"""Before it, cuDNN's attention may read outside of its tensors, where tokens are no multiple of
128 (https://github.com/pytorch/pytorch/issues/169849)."""
OTHERS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""What computes it where cuDNN does not."""
TOLERANCE = 2.0**-5
"""Largest difference relative to the largest value: several steps of bfloat16."""
_SLOWER = 1.1  # Less than that is noise.
_RUNS = 5
_KNOWN_SHAPES = 64

logger = logging.getLogger(__name__)


class Shape(NamedTuple):
    """An attention of queries ``(B, heads, N, D)`` to keys and values ``(B, heads, M, D)``."""

    batch: int
    heads: int
    queries: int
    keys: int
    dim: int
    masked: bool = False
    """Whether something is added to the scores, ``(N, M)`` of the products' type."""
    parts: int = 3
    """How many lie beside one another in memory, as one product made them: query, key and value
    of a layer, or keys and values of several layers."""


def shapes_of(network: Network, images: int, grid: tuple[int, int], rows: int) -> list[Shape]:
    """Return the attentions of a model that labels images by so many rows of a vocabulary."""
    vision, places = network.config.vision, grid[0] * grid[1]
    tokens, heads = vision.num_prefix_tokens + places, vision.heads
    dim = vision.width // heads
    shapes = [Shape(images, heads, tokens, tokens + vision.prompt_tokens, dim)]
    if isinstance(network, ZegCLIP):
        decoder, layers = network.config.decoder_heads, network.config.decoder_layers - 1
        dim = network.config.dim // decoder
        if layers:  # The last one compares, and attends to nothing.
            shapes.append(Shape(images, decoder, rows, places, dim, parts=2 * layers))
    elif isinstance(network, TrainingFreeCLIP) and network.config.attention == 'naclip':
        shapes.append(Shape(images, heads, tokens, tokens, dim, masked=True))
    return shapes


class CudnnTrial:
    """Tries cuDNN's attention at each new shape, and turns it off once it is no good.

    Args:
        dtype: Floating-point type of the products.
        device: A CUDA device.
    """

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        """Turn it off where it cannot be trusted at all."""
        self._dtype, self._device = dtype, device
        self._tried: set[Shape] = set()
        self._matters = dtype in {torch.bfloat16, torch.float16}
        if self._matters and cuda_version() < FIRST_CUDA and self.enabled:
            torch.backends.cuda.enable_cudnn_sdp(False)
            logger.info('The attention is not computed by cuDNN: CUDA is older than 12.9.')

    @property
    def enabled(self) -> bool:
        """Whether PyTorch may take cuDNN."""
        return bool(torch.backends.cuda.cudnn_sdp_enabled())

    @property
    def watches(self) -> bool:
        """Whether a new shape is still to be tried."""
        return self._matters and self.enabled and len(self._tried) < _KNOWN_SHAPES

    def __call__(self, *shapes: Shape) -> None:
        """Compare cuDNN with the other kernels at shapes that are new.

        Raises:
            Exception: If memory is short, or the device is lost.
        """
        for shape in shapes:
            if self.watches and shape not in self._tried:
                self._tried.add(shape)
                self._try(shape)

    def gives_up(self, error: Exception) -> bool:
        """Return whether an error is cuDNN's and gone now that PyTorch takes other kernels."""
        ours = 'cudnn' in str(error).lower() and self.enabled and self._matters
        if not ours or is_of_device(error):
            return False
        self._turn_off(reason_of(error))
        return True

    def _try(self, shape: Shape) -> None:
        """Turn cuDNN off if it raises, disagrees, or is slower."""
        parts, mask = seeded_parts(shape, self._dtype, self._device)
        if not picks_cudnn(*parts, mask):
            return

        def attend() -> Tensor:
            return F.scaled_dot_product_attention(*parts, attn_mask=mask)

        # The choice is the process's: never cuDNN alone, as it cannot do all that words need,
        # which another thread may be encoding.
        with sdpa_kernel(OTHERS):
            expected, usual = attend(), seconds_of(attend, self._device)
        try:
            found, seconds = attend(), seconds_of(attend, self._device)
        except Exception as error:
            if is_of_device(error):
                raise
            self._turn_off(reason_of(error))
            return
        most = expected.float().abs().max() * TOLERANCE
        # "not at most" in place of "above": NaN is a difference too.
        if not bool((found.float() - expected.float()).abs().max() <= most):
            self._turn_off(f'it disagrees with other kernels at {shape}')
        elif seconds > _SLOWER * usual:
            torch.backends.cuda.enable_cudnn_sdp(False)
            logger.info('The attention is not computed by cuDNN, which is slower at %s.', shape)

    def _turn_off(self, reason: str) -> None:
        torch.backends.cuda.enable_cudnn_sdp(False)
        logger.warning('The attention is not computed by cuDNN any more: %s.', reason)


def cuda_version() -> tuple[int, ...]:
    """Return the CUDA version that PyTorch is built for; ``(0,)`` without CUDA."""
    return tuple(int(part) for part in (torch.version.cuda or '0').split('.'))


def picks_cudnn(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> bool:
    """Return whether PyTorch would take cuDNN for an attention."""
    choice = torch._fused_sdp_choice(query, key, value, mask)
    return choice == int(SDPBackend.CUDNN_ATTENTION.value)


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Return the median seconds that the device takes for a piece of work that ran before."""
    times = list[float]()
    for _ in range(_RUNS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        torch.cuda.synchronize(device)
        times.append(1e-3 * start.elapsed_time(end))
    return statistics.median(times)


def seeded_parts(
    shape: Shape, dtype: torch.dtype, device: torch.device
) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor | None]:
    """Return query, key and value as the model has them in memory, and a mask if there is one.

    The heads lie beside one another in each token, as a linear layer leaves them; prompts are
    rows behind an image's tokens.
    """
    generator = torch.Generator(device).manual_seed(0)

    def heads(tokens: int, parts: int) -> Tensor:
        size = (shape.batch, tokens, parts, shape.heads, shape.dim)
        drawn = torch.randn(size, generator=generator, device=device)
        return drawn.to(dtype)[:, :, 0].transpose(1, 2)

    # What is made with the keys has their number of rows, those of prompts among them.
    alone = shape.parts % 2 == 0
    query = heads(shape.queries, 1) if alone else heads(shape.keys, 3)[:, :, : shape.queries]
    key, value = heads(shape.keys, shape.parts), heads(shape.keys, shape.parts)
    mask = None
    if shape.masked:
        size = (shape.queries, shape.keys)
        mask = torch.rand(size, generator=generator, device=device).to(dtype)
    return (query, key, value), mask

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
"""Pixels on their way to the model.

Copies to a CUDA device go through pinned memory. The normalisation of pixels is folded into the
weights of the first convolutions.
"""

from collections.abc import Sequence

import torch
from torch import nn, Tensor
import torch.nn.functional as F
from zegclip_core.devices import PINNED
from zegclip_core.model.vit import VisionConfig

CENTRE = 128.0
"""Subtracted from pixels: bfloat16 holds bytes exactly either way, and rounds less afterwards."""


def resized(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Return RGB pixels uint8 ``(B, H, W, 3)`` less ``CENTRE``, as float32 ``(B, 3, *size)``."""
    centred = torch.sub(pixels, CENTRE).permute(0, 3, 1, 2)  # One pass: cast and subtraction.
    if tuple(centred.shape[2:]) == tuple(size):
        return centred
    return F.interpolate(centred, size=size, mode='bilinear', antialias=True)


class FoldedConvolution:
    """The first convolution of a network, on pixels less ``CENTRE`` in place of normalised ones.

    ``w * (x - mean) / std + b = (w / std) * x + (b - sum(w * mean / std))``; where the convolution
    pads normalised pixels with 0, these are padded with what is normalised to 0.

    Args:
        convolution: On normalised pixels; its weights in the precision to fold them in.
        mean: Of RGB pixels in [0, 255].
        std: Their deviation.
        dtype: Floating-point type of the folded weights.
        memory_format: Of what it gives.
    """

    def __init__(
        self,
        convolution: nn.Conv2d,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        dtype: torch.dtype,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        """Fold."""
        weight = convolution.weight.detach().double()  # (D, 3, P, P)
        shift = weight.new_tensor(mean).sub(CENTRE).view(1, 3, 1, 1)
        scaled = weight / weight.new_tensor(std).view(1, 3, 1, 1)
        offset = -(scaled * shift).sum(dim=(1, 2, 3))
        if convolution.bias is not None:
            offset = offset + convolution.bias.detach().double()
        self.memory_format = memory_format
        self.weight = scaled.to(dtype).contiguous(memory_format=memory_format)
        self.bias = offset.to(dtype)
        self.stride = convolution.stride
        self.padding = tuple(int(side) for side in convolution.padding)
        self._border = shift.to(dtype)

    def __call__(self, images: Tensor) -> Tensor:
        """Return what the convolution gives, of ``resized`` pixels ``(B, 3, H, W)``."""
        rows, columns = self.padding
        if rows or columns:
            batch, channels, height, width = images.shape
            shape = (batch, channels, height + 2 * rows, width + 2 * columns)
            padded = self._border.expand(shape).clone(memory_format=self.memory_format)
            padded[:, :, slice(rows, rows + height), slice(columns, columns + width)] = images
            images = padded
        return F.conv2d(images, self.weight, self.bias, stride=self.stride)


class PatchProjection:
    """The patch convolution as one matrix product, whose result needs no transposition.

    The convolution's weight is ``(D, 3, P, P)``, its bias ``(D,)`` or ``None``.
    """

    def __init__(self, config: VisionConfig, weight: Tensor, bias: Tensor | None) -> None:
        """Keep the weights as a matrix."""
        self.patch = config.patch_size
        self.weight = weight.detach().flatten(1)
        self.bias = None if bias is None else bias.detach()

    def __call__(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Return the patches of images ``(B, 3, H, W)``, ``(B, h * w, D)``, and their grid."""
        side = self.patch
        rows, columns = images.shape[2] // side, images.shape[3] // side
        whole = images[:, :, : rows * side, : columns * side]
        # (B, 3, h, P, w, P) to (B, h * w, 3 * P * P)
        patches = whole.unflatten(3, (columns, side)).unflatten(2, (rows, side))
        flat = patches.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        return F.linear(flat, self.weight, self.bias), (rows, columns)


class Uploads:
    """Copies frames to a CUDA device on a stream of its own.

    Two buffers take turns, so that one is filled while the other is still on its way.
    """

    def __init__(self, device: torch.device) -> None:
        """Start without buffers; the first frame makes them."""
        self.device = device
        self._stream = torch.cuda.Stream(device)
        self._buffers: list[Tensor | None] = [None, None]
        self._events = [torch.cuda.Event(), torch.cuda.Event()]
        self._turn = 0

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return frames on the device; the current stream waits for them, the host does not."""
        if pixels.device.type == 'cuda':
            return pixels
        self._turn = 1 - self._turn
        done, buffer = self._events[self._turn], self._buffers[self._turn]
        done.synchronize()  # The buffer's last copy; over long ago but for a backlog.
        if buffer is None or len(buffer) < pixels.numel():
            buffer = PINNED.empty((pixels.numel(),), torch.uint8)
            self._buffers[self._turn] = buffer
        place = buffer[: pixels.numel()].view(pixels.shape)
        place.copy_(pixels)
        current = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self._stream):
            there = place.to(self.device, non_blocking=True)
            done.record(self._stream)
        current.wait_event(done)
        there.record_stream(current)
        return there

    def clear(self) -> None:
        """Let go of the buffers."""
        self._stream.synchronize()
        self._buffers = [None, None]

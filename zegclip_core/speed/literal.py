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
"""The published pipeline, written literally: what speed is compared with, and an oracle for tests.

It is written from the method's description alone and imports nothing of this package, so that it
stays what it is when the package changes: float32, prompts computed anew in every image and
carried through every layer as tokens of the sequence, every layer of the decoder whole, windows
one after the other, and all classes' maps at full size through sigmoid, sum, resize, softmax and
argmax. Tests compare it with outputs of the release, and may compare anything else with it. Keep
it plain: it must be read beside the paper, not be fast. Where the release calls PyTorch's
multi-head attention, so does this; today's PyTorch answers that call with fused attention, which
is in its favour.

Reference: https://github.com/ZiqinZhou66/ZegCLIP (MIT), commit 9ba4bb5; no code is copied.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
import torch.nn.functional as F

MEAN = (123.675, 116.28, 103.53)
"""ImageNet's mean of red, green and blue, of values in [0, 255]."""
STD = (58.395, 57.12, 57.375)
"""ImageNet's standard deviations of the same."""
LONGEST = 2048
"""Longest side that the release's resizing allows, in pixels."""

Weights = Mapping[str, Tensor]


def part(weights: Weights, prefix: str) -> dict[str, Tensor]:
    """Return the weights below a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


def linear(x: Tensor, weights: Weights, name: str) -> Tensor:
    """Apply a linear layer."""
    return F.linear(x, weights[f'{name}.weight'], weights[f'{name}.bias'])


def norm(x: Tensor, weights: Weights, name: str, eps: float = 1e-5) -> Tensor:
    """Apply a LayerNorm."""
    scale = weights[f'{name}.weight']
    return F.layer_norm(x, scale.shape, scale, weights[f'{name}.bias'], eps)


def clip_block(x: Tensor, weights: Weights, index: int, heads: int) -> Tensor:
    """Apply a block of CLIP's transformer to a sequence ``(N, B, D)``."""
    own = part(weights, f'transformer.resblocks.{index}.')
    normed = norm(x, own, 'ln_1')
    mixed, _ = F.multi_head_attention_forward(
        normed,
        normed,
        normed,
        x.shape[-1],
        heads,
        own['attn.in_proj_weight'],
        own['attn.in_proj_bias'],
        None,
        None,
        False,
        0.0,
        own['attn.out_proj.weight'],
        own['attn.out_proj.bias'],
        training=False,
        need_weights=False,
    )
    x = x + mixed
    hidden = linear(norm(x, own, 'ln_2'), own, 'mlp.c_fc')
    return x + linear(hidden * torch.sigmoid(1.702 * hidden), own, 'mlp.c_proj')


def positions_of(table: Tensor, side: int, grid: tuple[int, int]) -> Tensor:
    """Bring a position table of a square grid, [CLS] first, to another grid, bilinearly."""
    square = table[1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(square, size=grid, mode='bilinear', align_corners=False)
    return torch.cat([table[:1], resized.flatten(2)[0].T])


@dataclass(frozen=True)
class LiteralModel:
    """The published network, on normalised images."""

    weights: Weights
    """Under the published names, float32."""
    grid: int
    """Side of the position table, in patches."""
    heads: int
    decoder_heads: int

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return normalised patch tokens ``(B, C, h, w)`` and image embeddings ``(B, C)``."""
        own = part(self.weights, 'backbone.')
        patch = own['conv1.weight'].shape[-1]
        patches = F.conv2d(images, own['conv1.weight'], stride=patch)
        shape = (patches.shape[2], patches.shape[3])
        # The class embedding comes in twice, as released.
        cls = own['class_embedding'].expand(len(images), 1, -1)
        tokens = torch.cat([cls, patches.flatten(2).transpose(1, 2)], dim=1)
        tokens = tokens + positions_of(own['positional_embedding'], self.grid, shape)
        tokens = torch.cat([tokens[:, :1] + cls, tokens[:, 1:]], dim=1)
        x = self._transform(norm(tokens, own, 'ln_pre'), own)
        x = norm(norm(x, own, 'prompt_norm', eps=1e-6), own, 'ln_post') @ own['proj']
        _, dense = x.split([x.shape[1] - shape[0] * shape[1], shape[0] * shape[1]], dim=1)
        dense = dense.transpose(1, 2).unflatten(2, shape)
        return F.normalize(dense, dim=1), F.normalize(x[:, 0], dim=-1)

    def _transform(self, tokens: Tensor, own: Weights) -> Tensor:
        """Carry ``(B, N, D)`` through all blocks, with the prompts behind [CLS]."""
        batch = len(tokens)
        first = linear(own['prompt_embeddings'].expand(batch, -1, -1), own, 'prompt_proj')
        deep = linear(own['deep_prompt_embeddings'], own, 'prompt_proj')
        behind = 1 + first.shape[1]
        x = torch.cat([tokens[:, :1], first, tokens[:, 1:]], dim=1).transpose(0, 1)
        for index in range(len(deep) + 1):
            if index:
                new = deep[index - 1].unsqueeze(1).expand(-1, batch, -1)
                x = torch.cat([x[:1], new, x[behind:]])
            x = clip_block(x, own, index, self.heads)
        return x.transpose(0, 1)

    def decode(self, dense: Tensor, embedding: Tensor, text: Tensor) -> Tensor:
        """Return mask logits ``(B, K, h, w)``."""
        own = part(self.weights, 'decode_head.')
        texts = text.expand(len(dense), -1, -1)
        related = torch.cat([texts * embedding.unsqueeze(1), texts], dim=-1)
        queries = linear(related, own, 'q_proj')
        memory = dense.flatten(2).transpose(1, 2)
        layers = 1 + max(int(key.split('.')[2]) for key in own if key.startswith('decoder_1.'))
        maps = []
        for index in range(layers):
            layer = part(own, f'decoder_1.layers.{index}.')
            mixed, logits = self._cross(queries, memory, layer)
            queries = norm(queries + mixed, layer, 'norm2')
            hidden = linear(F.relu(linear(queries, layer, 'linear1')), layer, 'linear2')
            queries = norm(queries + hidden, layer, 'norm3')
            maps.append(logits)
        out: Tensor = maps[-1].unflatten(2, dense.shape[2:])
        return out

    def _cross(self, queries: Tensor, memory: Tensor, layer: Weights) -> tuple[Tensor, Tensor]:
        """Return cross-attention's output, and its logits averaged over the heads."""
        sources = {'q': queries, 'k': memory, 'v': memory}
        query, key, value = (
            linear(source, layer, f'multihead_attn.{name}')
            .unflatten(-1, (self.decoder_heads, -1))
            .transpose(1, 2)
            for name, source in sources.items()
        )
        scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
        mixed = (scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2)
        return linear(mixed, layer, 'multihead_attn.proj'), scores.sum(1) / self.decoder_heads

    def predict(self, images: Tensor, text: Tensor) -> Tensor:
        """Return mask logits ``(B, K, h, w)`` of normalised images ``(B, 3, H, W)``."""
        return self.decode(*self.encode(images), text)


def resize(frame: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Bring an RGB frame to ``(W, H)`` bilinearly, without a filter, by the release's library."""
    import cv2  # Not on every machine with a GPU, and a frame of the right size needs none.

    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR), np.uint8)


@dataclass(frozen=True)
class LiteralPipeline:
    """The published protocol around the network."""

    model: LiteralModel
    crop: int
    """Side of a window, and the short side of the resized image, in pixels."""
    stride: int
    """Step between windows, in pixels."""
    bias: Tensor
    """What is subtracted from each class's score, float ``(K,)``."""

    def prepare(self, frames: Sequence[npt.NDArray[np.uint8]]) -> Tensor:
        """Resize, normalise and stack RGB frames of one size: float32 ``(B, 3, h, w)``."""
        height, width = frames[0].shape[:2]
        scale = min(LONGEST / max(height, width), self.crop / min(height, width))
        size = (int(width * scale + 0.5), int(height * scale + 0.5))
        mean, std = np.array(MEAN, np.float32), np.array(STD, np.float32)
        batch = []
        for frame in frames:
            resized = frame if size == (width, height) else resize(frame, size)
            normalised = (resized.astype(np.float32) - mean) / std
            batch.append(np.ascontiguousarray(normalised.transpose(2, 0, 1)))
        return torch.from_numpy(np.stack(batch)).to(self.bias.device)

    def windows(self, height: int, width: int) -> list[tuple[slice, slice]]:
        """Return the rows and columns of every window; the last ones are moved back inside."""
        found = []
        for row in range(max(height - self.crop + self.stride - 1, 0) // self.stride + 1):
            for column in range(max(width - self.crop + self.stride - 1, 0) // self.stride + 1):
                bottom = min(row * self.stride + self.crop, height)
                right = min(column * self.stride + self.crop, width)
                rows = slice(max(bottom - self.crop, 0), bottom)
                found.append((rows, slice(max(right - self.crop, 0), right)))
        return found

    def predict(self, images: Tensor, text: Tensor) -> list[Tensor]:
        """Return the mask logits of every window, one after the other."""
        windows = self.windows(images.shape[2], images.shape[3])
        return [self.model.predict(images[:, :, rows, columns], text) for rows, columns in windows]

    def scores(
        self, logits: Sequence[Tensor], size: tuple[int, int], original: tuple[int, int]
    ) -> Tensor:
        """Return the windows' averaged scores ``(B, K, H, W)`` from their mask logits.

        ``size`` is ``(H, W)`` of the resized images, ``original`` that of the frames.
        """
        batch, classes = logits[0].shape[:2]
        total = logits[0].new_zeros((batch, classes, *size))
        count = logits[0].new_zeros((batch, 1, *size))
        for (rows, columns), maps in zip(self.windows(*size), logits, strict=True):
            shape = (rows.stop - rows.start, columns.stop - columns.start)
            full = F.interpolate(maps, size=shape, mode='bilinear', align_corners=False)
            score = torch.sigmoid(full) - self.bias.view(1, -1, 1, 1)
            edges = (columns.start, size[1] - columns.stop, rows.start, size[0] - rows.stop)
            total = total + F.pad(score, edges)
            count[:, :, rows, columns] += 1
        return F.interpolate(total / count, size=original, mode='bilinear', align_corners=False)

    def postprocess(
        self, logits: Sequence[Tensor], size: tuple[int, int], original: tuple[int, int]
    ) -> npt.NDArray[np.int64]:
        """Return the labels ``(B, H, W)`` of the windows' mask logits, on the CPU."""
        shares = self.scores(logits, size, original).softmax(dim=1)
        labels: npt.NDArray[np.int64] = shares.argmax(dim=1).cpu().numpy()
        return labels

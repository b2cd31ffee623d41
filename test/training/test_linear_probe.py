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
"""``benchmarks.linear_probe``: the regression, and the classes of patches."""

from types import SimpleNamespace

from benchmarks.linear_probe import fit, patches_of, SIZE
import numpy as np
import torch
from torch import nn
from zegclip_core.data.folder import Sample
from zegclip_core.options import UNLABELLED


class Colours(nn.Module):
    """A tower whose patch tokens are the mean colours."""

    config = SimpleNamespace(mean=(0.0,) * 3, std=(1.0,) * 3, patch_size=14)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return nn.functional.avg_pool2d(images, 14), images.mean((2, 3))


def test_a_patch_has_the_class_of_its_middle() -> None:
    image = np.zeros((*SIZE, 3), np.uint8)
    labels = np.full(SIZE, UNLABELLED, np.uint8)
    image[:112, :, 0], labels[:112] = 200, 1
    image[112:, :147, 2], labels[112:, :147] = 100, 0
    tokens, classes = patches_of(Colours(), Sample(image, labels, 'name'))
    # 8 of 16 rows of 21 patches; the middle of the eleventh column is pixel 147, unlabelled.
    assert classes.bincount().tolist() == [8 * 10, 8 * 21]
    assert (tokens[classes == 1] == torch.tensor([200.0, 0.0, 0.0])).all()
    assert (tokens[classes == 0] == torch.tensor([0.0, 0.0, 100.0])).all()


def test_the_regression_is_that_of_the_closed_form_condition() -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(400, 5, generator=generator)
    labels = (tokens[:, 0] + 0.5 * torch.randn(400, generator=generator) > 0).long()
    weights, offsets = fit(tokens, labels, 2)
    # At the optimum the penalty's pull is the mean of features times errors.
    error = torch.softmax(tokens @ weights + offsets, dim=1) - nn.functional.one_hot(labels)
    pull = tokens.T @ error / len(tokens)
    torch.testing.assert_close(pull, -2 * 1e-3 * weights, atol=1e-4, rtol=0)
    torch.testing.assert_close(error.mean(0), torch.zeros(2), atol=1e-4, rtol=0)
    assert ((tokens @ weights + offsets).argmax(1) == labels).float().mean() > 0.8

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
"""Whether an exported file gives what its model gives."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
import torch.nn.functional as F
from zegclip_core.engines.backends import require
from zegclip_core.engines.contract import Network
from zegclip_core.engines.onnx import INPUTS, OnnxEngine, open_session
from zegclip_core.errors import ModelError
from zegclip_core.export import open_source
from zegclip_core.export_int8 import INT8_KEY
from zegclip_core.files import user_path
from zegclip_core.model.scoring import calibrated_scores, resize_maps
from zegclip_core.options import MAX_CLASSES

CHECKED_CLASSES = (1, 7, 40)
"""How many words a file is checked with, in turn."""
LIMITS = {'fp32': (1e-3, 0.999), 'int8': (0.2, 0.95)}
"""By precision of the file, the greatest difference of scores, and the least share of labels that
are the same, between onnxruntime and PyTorch."""
_BIAS = 0.1  # About that of published models.


@dataclass(frozen=True)
class ExportCheck:
    """How a file's outputs by onnxruntime compare with the model's by PyTorch.

    Attributes:
        difference: Greatest difference of two scores.
        alike: Least share of labels that are the same, over ``CHECKED_CLASSES``.
    """

    difference: float
    alike: float


def check_onnx(model: str, path: str | Path) -> ExportCheck:
    """Compare an exported file with its model in float32, on the CPU.

    The image is noise, and the words are directions drawn at random: what the model makes of them
    has no meaning, but every part of it acts.

    Args:
        model: Name of the model that was exported.
        path: The file.

    Raises:
        ModelError: If they differ by more, or agree in fewer labels, than ``LIMITS`` has for the
            file's precision, or onnxruntime is not installed.
        CheckpointError: If one of the two cannot be read.
    """
    require('onnxruntime', 'to check an exported model')
    source, path = open_source(model), user_path(path)
    session = open_session(path, 'cpu', 'fp32')
    size = OnnxEngine(session, path, MAX_CLASSES).size
    header = session.get_modelmeta().custom_metadata_map
    precision = header.get(INT8_KEY, 'fp32')
    if precision not in LIMITS:
        raise ModelError(
            f'Expected {path} to have linear layers in {" or ".join(LIMITS)}, but it has '
            f'{precision!r}.'
        )
    most_difference, least_alike = LIMITS[precision]
    differences, alikes = [], []
    for classes in CHECKED_CLASSES:
        feed = _made_inputs(size, classes, source.config.text_dim)
        inputs = {name: part.numpy() for name, part in zip(INPUTS, feed, strict=True)}
        theirs = session.run(['labels', 'scores'], inputs)
        labels, scores = _by_torch(source.network, *feed)
        differences.append((torch.from_numpy(theirs[1]) - scores).abs().max())
        alikes.append((torch.from_numpy(theirs[0]) == labels).float().mean())
    # PyTorch's maximum is NaN if one of them is; Python's may be any other.
    found = ExportCheck(float(torch.stack(differences).max()), float(torch.stack(alikes).min()))
    # "not at most" in place of "above": a NaN is no agreement.
    if not (found.difference <= most_difference and found.alike >= least_alike):
        raise ModelError(
            f'Expected onnxruntime to give the scores of PyTorch to {most_difference:g} and '
            f'{least_alike:.1%} of its labels, but those of {path} differ by up to '
            f'{found.difference:.2g} and {found.alike:.1%} of the labels are the same.'
        )
    return found


def _made_inputs(
    size: tuple[int, int], classes: int, text_dim: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return made-up inputs of a graph, always the same."""
    generator = torch.Generator().manual_seed(classes)
    image = torch.randint(0, 256, (1, *size, 3), generator=generator, dtype=torch.uint8)
    text = F.normalize(torch.randn(classes, text_dim, generator=generator), dim=-1)
    return image, text, _BIAS * torch.rand(classes, generator=generator), torch.zeros(classes)


@torch.inference_mode()
def _by_torch(
    network: Network, image: Tensor, text: Tensor, bias: Tensor, thresholds: Tensor
) -> tuple[Tensor, Tensor]:
    """Return labels and scores as the graph gives them, by the model as it is."""
    vision, size = network.config.vision, (image.shape[1], image.shape[2])
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (vision.mean, vision.std))
    logits = network((image.permute(0, 3, 1, 2).float() - mean) / std, text)
    best, labels = calibrated_scores(resize_maps(logits, size), bias, network.scoring).max(dim=1)
    scores = best + bias[labels]
    return torch.where(scores >= thresholds[labels], labels, -1), scores

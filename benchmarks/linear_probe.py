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
"""What a linear map can read out of an image tower, before and after it was adapted.

Run it with ``python -m benchmarks.linear_probe FILE ...``; the files are those of ``zegclip
align`` and ``zegclip adapt``. A softmax regression is fitted on the patch tokens of training
images and asked for those of others; neither knows any words.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
import sys

from benchmarks.reports import report
import numpy as np
from tabulate import tabulate
import torch
from torch import Tensor
import torch.nn.functional as F
from torchvision.transforms.v2.functional import normalize
from tqdm import tqdm
from zegclip_core.data.datasets import open_dataset
from zegclip_core.data.folder import Sample
from zegclip_core.data.views import ViewConfig, whole_view
from zegclip_core.loading import load_model
from zegclip_core.model.metrics import ConfusionMatrix
from zegclip_core.model.vit import VisionTransformer
from zegclip_core.options import UNLABELLED

PAGE = Path(__file__).resolve().parents[1] / 'docs' / 'alignment.md'
SETS = {
    'VOC': ('data/voc2012', 'voc12', 'train_aug', 'val'),
    'CamVid': ('data/camvid', 'folder', 'train', 'val'),
}
SIZE = (224, 294)
"""Of the images, height and width [px]."""
PENALTY = 1e-3
"""Of the squared weights, features having a deviation of 1."""


def patches_of(visual: VisionTransformer, sample: Sample) -> tuple[Tensor, Tensor]:
    """Return the patch tokens of an image and the class in the middle of each patch.

    Patches whose middle is unlabelled are left out: float32 ``(N, D)`` and int64 ``(N,)``.
    """
    config = visual.config
    image, mask = whole_view(sample, ViewConfig(size=SIZE))
    pixels = normalize(image.movedim(-1, 0)[None].float(), list(config.mean), list(config.std))
    with torch.inference_mode():
        tokens = visual(pixels)[0][0].flatten(1).T
    middle = slice(config.patch_size // 2, None, config.patch_size)
    labels = mask[middle, middle].flatten().long()
    known = labels != UNLABELLED
    return tokens[known].clone(), labels[known]


def collect(
    visual: VisionTransformer, place: tuple[str, str, str], count: int
) -> tuple[Tensor, Tensor, int]:
    """Return tokens and classes of images spread over a part, and how many classes there are."""
    dataset = open_dataset(*place)
    chosen = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).astype(int)
    found = [patches_of(visual, dataset[index]) for index in tqdm(chosen, desc=dataset.title)]
    tokens, labels = zip(*found, strict=True)
    return torch.cat(tokens), torch.cat(labels), len(dataset.classes)


def fit(tokens: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Return weights ``(D, K)`` and offsets ``(K,)`` of a softmax regression."""
    weights = torch.zeros(tokens.shape[1], classes, requires_grad=True)
    offsets = torch.zeros(classes, requires_grad=True)
    solver = torch.optim.LBFGS([weights, offsets], max_iter=60, line_search_fn='strong_wolfe')

    def loss() -> Tensor:
        solver.zero_grad()
        value = F.cross_entropy(tokens @ weights + offsets, labels)
        value = value + PENALTY * weights.square().sum()
        value.backward()
        return value

    solver.step(loss)
    return weights.detach(), offsets.detach()


def probe(visual: VisionTransformer, place: Sequence[str], images: int) -> tuple[float, float]:
    """Return mIoU and accuracy over the patches of other images, both in [0, 1]."""
    root, name, train, test = place
    tokens, labels, classes = collect(visual, (root, name, train), images)
    mean, deviation = tokens.mean(0), tokens.std(0).clamp(min=1e-6)
    weights, offsets = fit((tokens - mean) / deviation, labels, classes)
    others, truth, _ = collect(visual, (root, name, test), images)
    found = (((others - mean) / deviation) @ weights + offsets).argmax(1)
    matrix = ConfusionMatrix(classes)
    matrix.update(found.numpy(), truth.numpy())
    return float(np.nanmean(matrix.iou())), matrix.accuracy()


def table(files: Sequence[str], images: int) -> str:
    """Return a line for each file, with both figures of each dataset."""
    rows = []
    for file in files:
        network = load_model(file).network
        visual = network.visual.float().eval()
        figures = [value for place in SETS.values() for value in probe(visual, place, images)]
        rows.append([Path(file).stem, *(f'{value:.3f}' for value in figures)])
    head = ['tower of', *(f'{name}: {what}' for name in SETS for what in ('mIoU', 'accuracy'))]
    return str(tabulate(rows, head, tablefmt='github', disable_numparse=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """Probe the towers of some files; return 0."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.linear_probe')
    parser.add_argument('files', nargs='+', metavar='FILE')
    parser.add_argument('--images', type=int, default=300, help='of each part, at most')
    parser.add_argument('--write-docs', action='store_true')
    options = parser.parse_args(arguments)
    return report(
        'probe', lambda: table(options.files, options.images), PAGE, write=options.write_docs
    )


if __name__ == '__main__':
    sys.exit(main())

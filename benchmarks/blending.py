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
"""Whether blending the decoder with the plain cosine helps words that training did not ask for.

Run it with ``python -m benchmarks.blending MODEL ...``, the models of one step of the ablation and
of several seeds. Each is asked twice for every picture, by its decoder alone and with the plain
cosine in its place for unseen words; mask logits are linear in the share, so that all shares in
between come of these two.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
import sys

from benchmarks.reports import report
import numpy as np
import numpy.typing as npt
from tabulate import tabulate
import torch
from tqdm import tqdm
from zegclip_core.data.datasets import load_spec, open_dataset
from zegclip_core.data.folder import SegmentationDataset
from zegclip_core.model.metrics import ConfusionMatrix, SegmentationMetrics
from zegclip_core.model.scoring import calibrated_scores, resize_maps
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary

PAGE = Path(__file__).resolve().parents[1] / 'docs' / 'results.md'
DATASET, PART, SETTING = 'voc12', 'val', 'zegclip'
SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0)
FIGURES = ('miou_seen', 'miou_unseen', 'hiou')


def logits_of(
    segmenters: Sequence[Segmenter], image: npt.NDArray[np.uint8], vocabulary: Vocabulary
) -> list[torch.Tensor]:
    """Return the mask logits of an image by each segmenter, float32 ``(1, K, h, w)``."""
    found = []
    for segmenter in segmenters:
        logits = segmenter.segment(image, vocabulary, mask_logits=True).mask_logits
        if logits is None:
            raise TypeError('Expected a segmenter that gives mask logits.')
        found.append(torch.from_numpy(logits)[None])
    return found


def measure(
    model: str, dataset: SegmentationDataset, every: int, seen: Sequence[str], bias: float
) -> list[SegmentationMetrics]:
    """Return a model's figures at each of ``SHARES``.

    Args:
        model: Its file.
        dataset: Pictures with masks.
        every: Only every so manieth is asked for.
        seen: The classes that training asked for.
        bias: What is subtracted from their scores.
    """
    # What competes would be blended as well, and no class of the dataset be told.
    alone, direct = (
        Segmenter.load(model, blend=share, threshold=0.0, negatives=()) for share in (0.0, 1.0)
    )
    vocabulary = Vocabulary.from_names(dataset.classes)
    penalty = torch.tensor([bias if name in seen else 0.0 for name in dataset.classes])
    matrices = [ConfusionMatrix(len(dataset.classes)) for _ in SHARES]
    for index in tqdm(range(0, len(dataset), every), desc=Path(model).stem):
        sample = dataset[index]
        first, second = logits_of((alone, direct), sample.image, vocabulary)
        size = (sample.labels.shape[0], sample.labels.shape[1])
        for share, matrix in zip(SHARES, matrices, strict=True):
            maps = resize_maps(first.lerp(second, share), size)
            labels = calibrated_scores(maps, penalty)[0].argmax(dim=0)
            matrix.update(labels.numpy(), sample.labels)
    return [matrix.compute(dataset.classes, seen=seen) for matrix in matrices]


def table(models: Sequence[str], options: argparse.Namespace) -> str:
    """Return a line for each share: means over the models, and the change of each."""
    dataset = open_dataset(options.data, DATASET, PART)
    unseen = load_spec(DATASET).unseen[SETTING]
    seen = [name for name in dataset.classes if name not in unseen]
    found = [
        [[getattr(one, key) for key in FIGURES] for one in each]
        for each in (
            measure(model, dataset, options.every, seen, options.seen_bias) for model in models
        )
    ]
    values = 100 * np.array(found)  # (models, shares, figures)
    rows = []
    for place, share in enumerate(SHARES):
        means = (f'{mean:.1f}' for mean in values[:, place].mean(axis=0))
        changes = values[:, place, 1] - values[:, 0, 1]
        rows.append([f'{share:g}', *means, ' '.join(f'{each:+.1f}' for each in changes)])
    head = ('share', 'mIoU(S)', 'mIoU(U)', 'hIoU', 'change of mIoU(U), each seed')
    return str(tabulate(rows, head, tablefmt='github', disable_numparse=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; return 0."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.blending')
    add = parser.add_argument
    add('models', nargs='+', metavar='MODEL', help='trained models, one of each seed')
    add('--data', default='data/voc2012', help='PASCAL VOC (default: %(default)s)')
    add('--every', type=int, default=1, metavar='N', help='only every so manieth picture')
    add('--seen-bias', type=float, default=0.1, help='of seen classes (default: %(default)s)')
    add('--write-docs', action='store_true', help='put the table into docs/results.md')
    options = parser.parse_args(arguments)
    return report('blend', lambda: table(options.models, options), PAGE, write=options.write_docs)


if __name__ == '__main__':
    sys.exit(main())

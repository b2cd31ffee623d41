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
"""Training from scratch learns what words mean, and so what their other combinations look like."""

from pathlib import Path

import numpy as np
import pytest
from zegclip_core.cli.main import main
from zegclip_core.data.datasets import open_dataset, unseen_of
from zegclip_core.options import UNLABELLED
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary

CONFIG = Path(__file__).parents[2] / 'config' / 'train' / 'shapes.yaml'


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train the shipped configuration as it is, in about two minutes, and return the model."""
    out = tmp_path_factory.mktemp('runs')
    assert main(['train', '--config', str(CONFIG), f'output={out}']) == 0
    return out / 'shapes' / 'shapes.safetensors'


def scores(model: Path) -> dict[str, float]:
    """Return the IoU of each class over the validation part, by the slow definition."""
    segmenter, dataset = (
        Segmenter.load(str(model), device='cpu'),
        open_dataset('', 'shapes', 'val'),
    )
    vocabulary = Vocabulary.from_names(list(dataset.classes))
    samples = list(dataset)
    truth = np.stack([sample.labels for sample in samples])
    found = np.stack([segmenter.segment(sample.image, vocabulary).labels for sample in samples])
    found[truth == UNLABELLED] = UNLABELLED
    result = {}
    for index, name in enumerate(dataset.classes):
        both = np.sum((truth == index) & (found == index))
        result[name] = float(both / np.sum((truth == index) | (found == index)))
    return result


@pytest.mark.slow
def test_shapes_are_learnt_from_scratch_and_their_unseen_combinations_with_them(
    model: Path,
) -> None:
    iou = scores(model)
    unseen = unseen_of('shapes', ['combinations'], list(iou)).classes
    assert np.mean([value for name, value in iou.items() if name not in unseen]) >= 0.9
    # By chance it would be below one in twenty.
    assert np.mean([iou[name] for name in unseen]) >= 0.7
    assert min(iou[name] for name in unseen) >= 0.3


@pytest.mark.slow
def test_the_model_knows_which_combinations_it_has_seen(model: Path) -> None:
    segmenter = Segmenter.load(str(model), device='cpu')
    classes = open_dataset('', 'shapes', 'val').classes
    unseen = unseen_of('shapes', ['combinations'], classes).classes
    known = segmenter.settings.seen_classes
    assert known == tuple(name for name in classes if name not in unseen)

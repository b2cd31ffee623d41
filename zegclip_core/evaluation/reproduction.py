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
"""Rows of the published tables: train as published, and score by the published protocol.

Reference: https://github.com/ZiqinZhou66/ZegCLIP (MIT), commit 9ba4bb5. What takes seconds to
import is imported where it is needed, after everything that can be refused without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
import json
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from zegclip_core.data.datasets import load_spec, open_dataset, unseen_of
from zegclip_core.data.folder import SegmentationDataset
from zegclip_core.errors import ConfigError
from zegclip_core.files import user_path

if TYPE_CHECKING:
    from zegclip_core.evaluation.evaluate import Evaluation
    from zegclip_core.segmenter import Segmenter
    from zegclip_core.training.config import TrainConfig

_FILE = Path(__file__).resolve().with_name('published_rows.yaml')


@dataclass(frozen=True)
class PublishedRow:
    """A row of a published table.

    Attributes:
        title: What it is, in prose.
        dataset: Name of a dataset's file in ``zegclip_core/data/splits``.
        part: Part of the dataset that is scored.
        unseen: Split of the dataset whose classes count as unseen.
        templates: Template set of the words.
        seen_bias: What is subtracted from the scores of seen classes before the best is chosen.
        first: Row of the run whose half-way checkpoint the training starts from; empty for none.
        recipe: Configuration of the training; empty for that of the row's name.
        settings: ``key=value`` texts in which the training differs from its configuration.
        published: The figures in percent, by their keys in JSON, as far as they were verified.
        source: Where the figures stand.
    """

    title: str
    dataset: str
    part: str
    unseen: str
    templates: str
    seen_bias: float
    first: str = ''
    recipe: str = ''
    settings: Sequence[str] = ()
    published: Mapping[str, float] = field(default_factory=dict)
    source: str = ''


@cache
def published_rows() -> Mapping[str, PublishedRow]:
    """Return the rows by name."""
    rows = yaml.safe_load(_FILE.read_text(encoding='utf-8'))
    return {name: PublishedRow(**values) for name, values in rows.items()}


def load_row(name: str) -> PublishedRow:
    """Return a row.

    Raises:
        ConfigError: If there is none of that name.
    """
    rows = published_rows()
    if name not in rows:
        raise ConfigError(f'Expected a row of {", ".join(rows)}, but got {name!r}.')
    return rows[name]


def open_checked(
    root: str | Path, dataset: str, part: str, warn: Callable[[str], None]
) -> SegmentationDataset:
    """Open a part of a published dataset, and warn if its size is not the published one.

    Raises:
        DataError: If the files do not lie as expected.
    """
    images = open_dataset(root, dataset, part)
    expected = load_spec(dataset).part(part).pictures
    if expected and len(images) not in expected:
        warn(
            f'{part} has {len(images)} pictures, but the published one '
            f'{" or ".join(map(str, expected))}: figures on it are not comparable (see zegclip '
            f'data check).'
        )
    return images


def row_segmenter(
    row: PublishedRow, model: str, *, device: str = 'auto', precision: str = 'fp32'
) -> Segmenter:
    """Load a model as the row's protocol uses it.

    Sizes follow the model: a published one has a short side and windows of 512 pixels and moves
    these by 426.

    Args:
        row: The row.
        model: A published ``.pth``, or a model of this project by name or file.
        device: ``auto`` (CUDA if there is any), ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.

    Raises:
        ZegCLIPError: If it cannot be loaded.
    """
    from zegclip_core.loading import load_model
    from zegclip_core.options import SegmenterOptions
    from zegclip_core.segmenter import Segmenter

    options = SegmenterOptions(
        device=device, precision=precision, mode='slide', threshold=0.0, negatives=()
    )
    return Segmenter(load_model(model, templates=row.templates), options)


def score_row(row: PublishedRow, segmenter: Segmenter, dataset: SegmentationDataset) -> Evaluation:
    """Score a model on the row's images, with its seen classes and their bias."""
    from zegclip_core.evaluation.evaluate import evaluate

    unseen = unseen_of(row.dataset, [row.unseen], dataset.classes).classes
    seen = [name for name in dataset.classes if name not in unseen]
    bias = dict.fromkeys(seen, row.seen_bias)
    return evaluate(segmenter, dataset, range(len(dataset)), seen=seen, bias=bias)


def row_configs(name: str, data: str | Path, settings: Sequence[str] = ()) -> list[TrainConfig]:
    """Return the training runs of a row, in their order.

    The last one has the row's name, so that no row goes on with the run of another. A transductive
    run starts from the half-way checkpoint of the inductive one, whose length and place follow
    from its own.

    Args:
        name: Name of the row.
        data: Folder of its dataset.
        settings: ``key=value`` texts that hold for all of its runs, over those of the row.

    Raises:
        ConfigError: If a setting is not known or not allowed.
    """
    from zegclip_core.training.config import find_recipe, load_config

    row, root = load_row(name), json.dumps(str(user_path(data)))
    changes = [f'train.0.root={root}', f'validate.0.root={root}', *settings]
    recipe, own = find_recipe(row.recipe or name), [f'name={name}', *row.settings, *changes]
    config = load_config(recipe, own)
    if not row.first:
        return [config]
    half = config.schedule.steps
    length = [f'schedule.steps={2 * half}', f'schedule.keep=[{half}]', f'schedule.stop={half}']
    first = load_config(find_recipe(row.first), [*changes, *length, f'name={row.first}'])
    start = f'initialize_from={json.dumps(str(half_way(first)))}'
    return [first, load_config(recipe, [*own, start])]


def half_way(config: TrainConfig) -> Path:
    """Return where a run keeps its half-way checkpoint."""
    return Path(config.output) / config.name / f'step={config.schedule.steps // 2}.ckpt'


def train_row(configs: Sequence[TrainConfig]) -> Path | None:
    """Train the runs of a row, each from where it stopped, and return the last one's model.

    Args:
        configs: The runs that ``row_configs`` returns.

    Returns:
        The model's file; ``None`` in a helping process of a training on several GPUs.
    """
    from torch import distributed
    from zegclip_core.training.run import Run

    *before, last = configs
    for config in before:
        if not half_way(config).is_file():
            Run(config).train(resume=True)
    path = Run(last).train(resume=True)
    helping = distributed.is_available() and distributed.is_initialized()
    return None if helping and distributed.get_rank() else path

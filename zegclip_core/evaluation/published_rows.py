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
"""Rows of the published tables: what each was measured on, how, and its figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml
from zegclip_core.data.datasets import load_spec, open_dataset
from zegclip_core.data.folder import SegmentationDataset
from zegclip_core.errors import ConfigError

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
        published: The figures in percent, by their keys in JSON; ``None`` if none was verified.
        source: Where the figures stand.
    """

    title: str
    dataset: str
    part: str
    unseen: str
    templates: str
    seen_bias: float
    first: str = ''
    published: Mapping[str, float] | None = None
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


def open_checked(root: str | Path, dataset: str, part: str) -> tuple[SegmentationDataset, str]:
    """Open a part of a published dataset, and compare its size with the published one.

    Returns:
        The images, and a line that says how their number differs; empty if it does not.

    Raises:
        DataError: If the files do not lie as expected.
    """
    pictures = open_dataset(root, dataset, part)
    expected = load_spec(dataset).part(part).pictures
    if not expected or len(pictures) in expected:
        return pictures, ''
    return pictures, (
        f'{part} has {len(pictures)} pictures, but the published one '
        f'{" or ".join(map(str, expected))}: figures on it are not comparable (see zegclip data '
        f'check).'
    )

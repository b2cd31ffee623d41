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
from functools import cache
from pathlib import Path

from zegclip_core.data.catalog import load_spec, open_dataset
from zegclip_core.data.folder import Pictures
from zegclip_core.errors import ConfigError
from zegclip_core.settings import read_values, Settings, validated

_FILE = Path(__file__).resolve().with_name('rows.yaml')


class Published(Settings):
    """Figures as published, in percent."""

    pixel_accuracy: float
    miou_seen: float
    miou_unseen: float
    hiou: float


class Row(Settings):
    """A row of a published table; ``rows.yaml`` says what the fields mean."""

    title: str
    dataset: str
    part: str
    unseen: str
    templates: str
    seen_bias: float
    first: str = ''
    published: Published | None = None
    source: str = ''


@cache
def _rows() -> Mapping[str, Row]:
    return {name: validated(Row, values, name) for name, values in read_values(_FILE).items()}


def row_names() -> tuple[str, ...]:
    """Return the names of the rows."""
    return tuple(_rows())


def load_row(name: str) -> Row:
    """Return a row.

    Raises:
        ConfigError: If there is none of that name.
    """
    if name not in _rows():
        raise ConfigError(f'Expected a row of {", ".join(row_names())}, but got {name!r}.')
    return _rows()[name]


def open_checked(root: str | Path, dataset: str, part: str) -> tuple[Pictures, str]:
    """Open a part of a published dataset, and compare its size with the published one.

    Returns:
        The pictures, and a line that says how their number differs; empty if it does not.

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

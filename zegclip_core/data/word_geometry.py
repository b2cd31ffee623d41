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
"""Text embeddings of many names by another model: how near words are to each other.

They teach similarity, not places: the other model's space need not be that of any tower here.
Detic publishes such files for the names of LVIS, Objects365 and Open Images, made by CLIP
(https://github.com/facebookresearch/Detic, Apache-2.0).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import json
import logging
from pathlib import Path
import re
from typing import Any

import numpy as np
import numpy.typing as npt
from zegclip_core.data.folder import check_folder
from zegclip_core.errors import DataError, shortened
from zegclip_core.files import read_lines, read_text, user_path, visible
from zegclip_core.text.phrases import standard_form

logger = logging.getLogger(__name__)
_SEPARATORS = re.compile(r'/|[\s_]*\([^()]*\)')
"""Between names of one entry: a slash, or what tells a word's meanings apart in brackets."""


@dataclass(frozen=True)
class WordGeometry:
    """Names with their text embeddings in the space of another model."""

    words: tuple[tuple[str, ...], ...]
    """Of each entry its name, then its synonyms, all in standard form; no name occurs twice."""
    definitions: tuple[str, ...]
    """What each name means; ``''`` where there is none."""
    embeddings: npt.NDArray[np.float32]
    """L2-normalised, ``(N, C)``, in the order of ``words``."""

    def __len__(self) -> int:
        """Return the number of names."""
        return len(self.words)


@dataclass(frozen=True)
class _Entry:
    """One name of a file."""

    words: tuple[str, ...]
    definition: str
    embedding: npt.NDArray[np.float32]


def read_word_geometry(
    root: str | Path, names: Mapping[str, Sequence[str]] | None = None
) -> WordGeometry:
    """Return the words of all files in a folder, in the order of the files' names.

    Beside ``X.npy``, floats ``(N, C)``, lies ``X_names.json`` or ``X_names.txt``. The former is a
    list of names, or of objects with ``name`` and perhaps ``synonyms`` and ``definition`` as LVIS
    has them; the latter has one name a line. ``names`` has those of files without such a file, by
    their ``X``; files of unknown names are left out with a warning in the log.

    Names are brought to standard form, without what stands in brackets: ``crab_(animal)`` is
    ``crab``; ``Barrel/bucket`` is a barrel with a synonym. Where a name occurs more than once,
    also within a file, its embedding is the mean of all, normalised, and its definition the first.

    Raises:
        DataError: If there is no such folder or no usable file in it, or a file cannot be read,
            has another shape or number of names, or holds a row without a direction.
    """
    folder = user_path(root)
    check_folder(folder)
    entries: list[_Entry] = []
    for path in visible(folder.glob('*.npy')):
        found = _names_of(path, names or {})
        if found is None:
            logger.warning('%s is left out: its names are not known.', path)
        else:
            entries += _entries(path, found)
    if not entries:
        raise DataError(f'Expected X.npy with X_names.json in {folder}, but found no such pair.')
    widths = sorted({entry.embedding.size for entry in entries})
    if len(widths) > 1:
        raise DataError(
            f'Expected all embeddings in {folder} to have the same width, but got {widths}.'
        )
    return _merged(entries)


def _names_of(path: Path, names: Mapping[str, Sequence[str]]) -> Sequence[object] | None:
    """Return the names of a file's rows as they are written, or None if there are none."""
    listed = path.with_name(f'{path.stem}_names.json')
    if path.stem in names:
        return names[path.stem]
    if not listed.is_file():
        lines = listed.with_suffix('.txt')
        if not lines.is_file():
            return None
        return [line for line in read_lines(lines, 'the names', DataError) if line]
    text = read_text(listed, 'the names', DataError)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f'Expected {listed} to be JSON, but it cannot be read.') from error
    if not isinstance(found, list):
        raise DataError(f'Expected a list of names in {listed}, but got another value.')
    return found


def _entries(path: Path, names: Sequence[object]) -> list[_Entry]:
    """Return the rows of a file with their names."""
    try:
        rows = np.load(path, allow_pickle=False)
        if isinstance(rows, np.lib.npyio.NpzFile):
            raise ValueError('an archive of arrays')
    except Exception as error:  # Damage leads NumPy to errors of any kind.
        raise DataError(f'Expected an array of NumPy in {path}, but it cannot be read.') from error
    if rows.ndim != 2 or len(rows) != len(names) or rows.dtype.kind != 'f':
        raise DataError(
            f'Expected floats of shape ({len(names)}, C) in {path}, one row for each name, '
            f'but got {rows.dtype} {rows.shape}.'
        )
    embeddings = rows.astype(np.float32)
    if not (np.isfinite(embeddings).all() and embeddings.any(axis=1).all()):
        raise DataError(f'Expected finite rows other than zero in {path}, but one is not.')
    return [_entry(path, name, row) for name, row in zip(names, embeddings, strict=True)]


def _entry(path: Path, value: object, embedding: npt.NDArray[np.float32]) -> _Entry:
    """Return an entry by a name, or by an object with synonyms and definition."""
    fields: dict[str, Any] = value if isinstance(value, dict) else {'name': value}
    written = [fields.get('name'), *(fields.get('synonyms') or ())]
    words = [form for text in written if isinstance(text, str) for form in _forms(text)]
    if not isinstance(written[0], str) or not words:
        raise DataError(
            f'Expected a name for each row of {path}, but got {shortened(repr(value))}.'
        )
    definition = str(fields.get('definition') or '')
    return _Entry(tuple(dict.fromkeys(words)), definition, embedding / np.linalg.norm(embedding))


def _forms(text: str) -> list[str]:
    """Return the names of one entry's text in standard form."""
    parts = [part.replace('_', ' ').split() for part in _SEPARATORS.split(text)]
    parts = [part for part in parts if part]
    if (
        '/' in text and len(parts) > 1 and len(parts[0]) == 1 < len(parts[-1])
    ):  # Cutting/chopping board.
        parts[0].append(parts[-1][-1])
    return [standard_form(' '.join(part)) for part in parts]


def _merged(entries: Sequence[_Entry]) -> WordGeometry:
    """Return one row for each name, in the order in which names first occur."""
    same: dict[str, list[_Entry]] = {}
    for entry in entries:
        same.setdefault(entry.words[0], []).append(entry)
    words = [
        dict.fromkeys(word for entry in group for word in entry.words) for group in same.values()
    ]
    definitions = [
        next((e.definition for e in group if e.definition), '') for group in same.values()
    ]
    means = np.stack([np.mean([e.embedding for e in group], axis=0) for group in same.values()])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return WordGeometry(tuple(map(tuple, words)), tuple(definitions), means.astype(np.float32))

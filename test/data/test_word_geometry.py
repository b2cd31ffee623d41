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
"""Word embeddings with their names, read from files made here."""

from collections.abc import Sequence
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from zegclip_core.data.word_geometry import read_word_geometry
from zegclip_core.errors import DataError


def made_file(root: Path, stem: str, rows: object, names: Sequence[object] | None = None) -> Path:
    """Write embeddings as float16 and their names, and return the folder."""
    np.save(root / f'{stem}.npy', np.asarray(rows, dtype=np.float16))
    if names is not None:
        (root / f'{stem}_names.json').write_text(json.dumps(names), 'utf-8')
    return root


def test_entries_have_synonyms_and_definitions(tmp_path: Path) -> None:
    """The name is first, in standard form; embeddings are float32 of length 1."""
    names = [
        {'name': 'crab_(animal)', 'synonyms': ['crab_(animal)'], 'definition': 'a decapod'},
        {'name': 'spray_can', 'synonyms': ['aerosol_can', 'spray_can']},
        'Traffic Lights',
    ]
    found = read_word_geometry(made_file(tmp_path, 'lvis', [[3, 4], [0, 2], [1, 0]], names))
    assert found.words == (('crab',), ('spray can', 'aerosol can'), ('traffic light',))
    assert found.definitions == ('a decapod', '', '')
    assert found.embeddings.dtype == np.float32
    np.testing.assert_allclose(found.embeddings, [[0.6, 0.8], [0, 1], [1, 0]], atol=1e-3)
    assert len(found) == 3


def test_one_entry_may_list_names_by_slash_or_bracket(tmp_path: Path) -> None:
    """Names of Objects365 and an entry of LVIS."""
    written = ['Barrel/bucket', 'Tape Measure/ Ruler', 'Cutting/chopping Board', 'a_(b) c_d']
    found = read_word_geometry(made_file(tmp_path, 'x', np.eye(4), written))
    assert found.words == (
        ('barrel', 'bucket'),
        ('tape measure', 'ruler'),
        ('cutting board', 'chopping board'),
        ('a', 'c d'),
    )


def test_the_same_name_is_merged_over_files(tmp_path: Path) -> None:
    """Mean of the directions, whatever the rows' lengths; order is that of first occurrence."""
    lamb = {'name': 'sheep', 'synonyms': ['lamb'], 'definition': 'woolly'}
    made_file(tmp_path, 'a', [[1, 0, 0], [0, 1, 0]], ['dog', 'Sheep'])
    made_file(tmp_path, 'b', [[0, 0, 5], [0, 5, 0]], [lamb, 'cat'])
    found = read_word_geometry(tmp_path)
    assert found.words == (('dog',), ('sheep', 'lamb'), ('cat',))
    assert found.definitions == ('', 'woolly', '')
    half = np.sqrt(0.5)
    np.testing.assert_allclose(found.embeddings, [[1, 0, 0], [0, half, half], [0, 1, 0]])


def test_names_come_from_text_or_the_caller(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file of unknown names is left out and said to be."""
    made_file(tmp_path, 'a', np.eye(2))
    (tmp_path / 'a_names.txt').write_text('dog\ncat\n', 'utf-8')
    made_file(tmp_path, 'coco', np.eye(2))
    with caplog.at_level(logging.WARNING):
        assert read_word_geometry(tmp_path).words == (('dog',), ('cat',))
    assert 'coco.npy' in caplog.text
    given = read_word_geometry(tmp_path, {'coco': ['bus', 'train']})
    assert given.words == (('dog',), ('cat',), ('bus',), ('train',))


@pytest.mark.parametrize(
    ('rows', 'names', 'message'),
    [
        (np.eye(3), ['dog', 'cat'], r'\(2, C\) .* got float16 \(3, 3\)'),
        (np.ones(2), ['dog', 'cat'], r'got float16 \(2,\)'),
        ([[1, 0], [0, 0]], ['dog', 'cat'], 'other than zero'),
        ([[1, 0], [np.nan, 0]], ['dog', 'cat'], 'finite'),
        (np.eye(2), ['dog', 5], 'a name for each row .* got 5'),
        (np.eye(2), ['dog', '(cat)'], r"got '\(cat\)'"),
        (np.eye(2), None, 'found no such pair'),
    ],
)
def test_wrong_files_are_refused(
    tmp_path: Path, rows: object, names: Sequence[object] | None, message: str
) -> None:
    """Shapes, values and names that do not fit."""
    with pytest.raises(DataError, match=message):
        read_word_geometry(made_file(tmp_path, 'x', rows, names))


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    """Files that are no array or no list, and widths that differ."""
    with pytest.raises(DataError, match='absent is none'):
        read_word_geometry(tmp_path / 'absent')
    made_file(tmp_path, 'a', np.eye(2), ['dog', 'cat'])
    made_file(tmp_path, 'b', np.eye(3), ['bus', 'car', 'train'])
    with pytest.raises(DataError, match=r'same width, but got \[2, 3\]'):
        read_word_geometry(tmp_path)
    (tmp_path / 'b_names.json').write_text('{"dog": 1}')
    with pytest.raises(DataError, match='list of names'):
        read_word_geometry(tmp_path)
    (tmp_path / 'b_names.json').write_text('[')
    with pytest.raises(DataError, match='JSON'):
        read_word_geometry(tmp_path)
    (tmp_path / 'a.npy').write_bytes(b'no array')
    with pytest.raises(DataError, match='array of NumPy'):
        read_word_geometry(tmp_path)


def damaged(root: Path, content: bytes) -> None:
    made_file(root, 'a', [[1, 0]], ['dog'])
    (root / 'a.npy').write_bytes(content)
    with pytest.raises(DataError, match='Expected an array of NumPy'):
        read_word_geometry(root)


def test_archives_and_heads_that_claim_too_much_are_no_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / 'several.npz', np.eye(2))
    archive = (tmp_path / 'several.npz').read_bytes()
    damaged(tmp_path, archive)
    damaged(tmp_path, archive[:40])
    np.save(tmp_path / 'a.npy', np.eye(2))
    head = (tmp_path / 'a.npy').read_bytes()
    damaged(tmp_path, head.replace(b'(2, 2), }      ', b'(9999999999, 9)'))
    damaged(tmp_path, b'')


def test_names_that_are_nested_too_deeply_are_no_json(tmp_path: Path) -> None:
    made_file(tmp_path, 'a', [[1, 0]], ['dog'])
    (tmp_path / 'a_names.json').write_text('[' * 100_000)
    with pytest.raises(DataError, match='to be JSON, but it cannot be read'):
        read_word_geometry(tmp_path)

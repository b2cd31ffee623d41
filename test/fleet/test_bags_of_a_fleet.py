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
"""``zegclip label-bags``: which bags there are, which are done, and how they are listed."""

import json
from pathlib import Path
import sys

from bag_helpers import camera_bag
from commands import refused
from fleet_helpers import contents, drives, Fleet, listed, WORDS
import pytest
from zegclip_core.fleet.finding import find_tasks, Task


@pytest.mark.parametrize('word', ['unlabelled', 'помидор', 'settings'])
def test_a_class_of_any_name_has_its_own_share(fleet: Fleet, tmp_path: Path, word: str) -> None:
    source, out = drives(tmp_path / 'in', 1), tmp_path / 'out'
    assert fleet(source, '--out', out, '--classes', f'{word}, sky')[0] == 0
    (row,) = listed(out / 'manifest.csv')
    assert json.loads(row['shares']) == {word: 0.125}
    assert (row['unlabelled'], word in row['shares']) == ('0.875', True)


def test_bags_that_are_done_are_skipped_and_others_are_not_touched(
    fleet: Fleet, tmp_path: Path
) -> None:
    source, out = drives(tmp_path / 'in', 2), tmp_path / 'out'
    assert fleet(source, '--out', out, *WORDS)[0] == 0
    before, manifest = contents(out), (out / 'manifest.csv').read_text()
    code, text, _ = fleet(source, '--out', out, *WORDS)
    assert (code, '2 of them before this run' in text) == (0, True)
    assert (out / 'manifest.csv').read_text() == manifest
    code, _, err = fleet(source, '--out', out, '--classes', 'car')
    assert (code, err.count('was labelled with --classes tomato, sky, not car')) == (2, 2)
    for option in ('overlay', 'confidence', 'masks/sky'):
        code, _, err = fleet(source, '--out', out, *WORDS, f'--{option.partition("/")[0]}')
        assert (code, err.count(f'was labelled without /zegclip/{option}')) == (2, 2)
    assert contents(out) == before


@pytest.mark.parametrize(
    ('first', 'second', 'says'),
    [
        ('--topic /camera/image', '', '--topic /camera/image, not all cameras'),
        ('', '--topic /camera/*', '--topic all cameras, not /camera/*'),
        ('--topic rear/image', '--topic /camera/image', '--topic /rear/image, not /camera/image'),
        ('--storage sqlite3', '--storage mcap', '--storage sqlite3, not mcap'),
        ('', '--storage sqlite3', '--storage mcap, not sqlite3'),
        ('', '--compress', '--compress False, not True'),
        ('', '--every 2', '--every 1, not 2'),
        ('', '--prefix /other', 'a bag without these labels is there'),
        (
            '--topic camera/image --topic rear/image',
            '--topic /rear/image --topic /camera/image',
            '',
        ),
        ('--storage sqlite3', '', ''),
        ('--compress --overlay', '', ''),
    ],
)
def test_a_bag_that_was_labelled_with_other_options_is_not_done(
    fleet: Fleet, tmp_path: Path, first: str, second: str, says: str
) -> None:
    """What nobody asks for may be there; an order of topics, or a slash, is no difference."""
    camera_bag(tmp_path / 'in' / 'drive', more=('/rear/image',))
    command = (tmp_path / 'in', '--out', tmp_path / 'out', *WORDS)
    assert fleet(*command, *first.split())[0] == 0
    before = contents(tmp_path / 'out')
    code, text, err = fleet(*command, *second.split())
    assert (code, says in err) == (2 if says else 0, True)
    assert ('1 of them before this run' in text) == (not says)
    assert ('remove it, or give another --out' in err) == (bool(says) and 'these' not in says)
    assert contents(tmp_path / 'out') == before


def test_parts_of_a_batch_system_are_all_bags_together(fleet: Fleet, tmp_path: Path) -> None:
    source, out = drives(tmp_path / 'in', 5), tmp_path / 'out'
    for part in ('1/3', '2/3', '3/3'):
        manifest = tmp_path / f'{part[0]}.csv'
        more = ('--part', part, '--manifest', manifest)
        assert fleet(source, '--out', out, *WORDS, *more)[0] == 0
        assert len(listed(manifest)) == (1 if part == '3/3' else 2)
    assert len(contents(out)) == 5
    for part in ('1/3', '2/3'):
        assert fleet(source, '--out', out, *WORDS, '--part', part)[0] == 0
    names = ('manifest-1-of-3.csv', 'manifest-2-of-3.csv')
    assert {row['bag'] for name in names for row in listed(out / name)} == {
        row['bag'] for name in '12' for row in listed(tmp_path / f'{name}.csv')
    }
    for part in ('0/3', '4/3', '1', 'a/b', '1/0'):
        assert 'such as 1/4' in fleet(source, '--out', out, *WORDS, '--part', part)[2]


def test_a_manifest_in_parquet_has_the_same_rows(fleet: Fleet, tmp_path: Path) -> None:
    parquet = pytest.importorskip('pyarrow.parquet')
    source, out = drives(tmp_path / 'in', 2), tmp_path / 'out'
    fleet(source, '--out', out, *WORDS)
    fleet(source, '--out', out, *WORDS, '--manifest', tmp_path / 'a.parquet')
    rows = parquet.read_table(tmp_path / 'a.parquet').to_pylist()
    assert [{k: str(v) for k, v in row.items()} for row in rows] == listed(out / 'manifest.csv')
    assert refused(fleet(source, '--out', out, *WORDS, '--manifest', 'a.txt'))


@pytest.mark.parametrize(
    ('sources', 'says'),
    [
        (('gone',), 'there is no such file or folder'),
        (('empty',), 'Expected bags in'),
        (('in/day0/drive0', 'other/drive0'), 'both become'),
    ],
)
def test_sources_that_cannot_be_used_are_named(
    fleet: Fleet, tmp_path: Path, sources: tuple[str, ...], says: str
) -> None:
    drives(tmp_path / 'in', 1)
    camera_bag(tmp_path / 'other' / 'drive0')
    (tmp_path / 'empty').mkdir()
    paths = [tmp_path / one for one in sources]
    assert says in refused(fleet(*paths, '--out', tmp_path / 'out', *WORDS))


def test_which_bags_there_are_in_a_folder(tmp_path: Path) -> None:
    for name in (
        *('a/metadata.yaml', 'a/a_0.mcap', 'a/a_1.mcap', 'one.mcap', 'two.db3.zstd'),
        *('crashed/x_0.mcap', 'crashed/x_1.mcap', 'mixed/y.mcap', 'mixed/notes.txt'),
        *('day/c/metadata.yaml', 'day/c/c.mcap', 'day/d.mcap'),
        *('.hidden/z.mcap', 'out.partial/labels.sqlite3', 'out.partial/out/metadata.yaml'),
        *('deep/er/b/metadata.yaml', 'deep/er/b/b.db3', '._one.mcap'),
    ):
        (tmp_path / 'in' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'in' / name).touch()
    tasks = find_tasks([str(tmp_path / 'in')], str(tmp_path / 'out'))
    found = {
        str(Path(one.source).relative_to(tmp_path / 'in')): str(
            Path(one.target).relative_to(tmp_path / 'out')
        )
        for one in tasks
    }
    assert found == {
        'a': 'a',
        'crashed': 'crashed',
        'day/c': 'day/c',
        'day/d.mcap': 'day/d',
        'deep/er/b': 'deep/er/b',
        'mixed/y.mcap': 'mixed/y',
        'one.mcap': 'one',
        'two.db3.zstd': 'two',
    }
    (task,) = find_tasks([str(tmp_path / 'in' / 'a')], str(tmp_path / 'out'))
    assert task == Task(str(tmp_path / 'in' / 'a'), str(tmp_path / 'out' / 'a'))


@pytest.mark.parametrize('name', ['labelled', 'day0/labelled', 'link/../labelled'])
def test_labelled_bags_among_the_recorded_ones_are_not_labelled(
    fleet: Fleet, tmp_path: Path, name: str
) -> None:
    source = drives(tmp_path / 'in', 2)
    (source / 'link').symlink_to(source / 'day0')
    out = source / name
    first, second = (fleet(source, '--out', out, *WORDS) for _ in range(2))
    assert (first[0], second[0]) == (0, 0)
    assert '2 of 2 bags labelled, 2 of them before this run' in second[1]
    assert len(contents(out)) == 2


def test_without_ray_or_fsspec_one_line_says_what_to_install(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = drives(tmp_path / 'in', 1)
    for module, options in (
        ('ray', (source, '--out', tmp_path / 'out', '--engine', 'ray')),
        ('fsspec', ('s3://bucket/in', '--out', tmp_path / 'out')),
        ('pyarrow', (source, '--out', tmp_path / 'out', '--manifest', 'a.parquet')),
    ):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            assert "'zegclip-ros[ray]'" in refused(fleet(*options, *WORDS))

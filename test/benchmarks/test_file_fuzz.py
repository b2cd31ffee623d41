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
"""Damaged files of every kind: some at each test, and that each wrong answer would be noticed."""

import json
import os
from pathlib import Path
import subprocess
import sys
from types import SimpleNamespace

from benchmarks import file_fuzz
from benchmarks.file_damage import CUT, DAMAGES, draw, Input
from benchmarks.file_fuzz import (
    Campaign,
    judge,
    read_all,
    run,
    seeds,
    table,
    Truths,
)
from benchmarks.file_readers import READERS, Reading
from benchmarks.file_seeds import Files, KINDS
from benchmarks.reports import peak_of
import numpy as np
import pytest
from zegclip_core.bags.mcap import Recorded
from zegclip_core.bags.source import BagSource
from zegclip_core.errors import ConfigError, ImageError

COUNT = 180


@pytest.fixture(scope='module')
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Files]:
    """Return whole files of all kinds."""
    return seeds(tmp_path_factory.mktemp('seeds'), tuple(KINDS))


def test_damaged_files_are_read_or_refused_in_one_line() -> None:
    result = run(COUNT, seed=1)
    assert result.faults == []
    assert result.inputs == COUNT
    assert set(result.outcomes) == set(KINDS)
    outcomes = [sum(found.values()) for found in result.outcomes.values()]
    assert outcomes == [COUNT // len(KINDS)] * len(KINDS)
    assert len(table(result).splitlines()) == len(KINDS) + 5


def test_whole_files_are_read_as_a_whole(whole: dict[str, Files], tmp_path: Path) -> None:
    truths = Truths(tmp_path, whole)
    for kind, files in whole.items():
        for name, content in files.items():
            found = truths.of(Input(kind, '', name, name, content))
            assert found.parts
            assert found.size > 0


def test_messages_are_compared_by_what_they_hold(
    whole: dict[str, Files], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, data = next(iter(whole['MCAP'].items()))
    path = tmp_path / name
    path.write_bytes(data)
    topic = SimpleNamespace(topic='/a')
    # A number that a damaged file may say is not how many bytes there are.
    messages = [Recorded(topic, 1, content, 2, 2**40) for content in (b'a', b'a', b'b')]
    monkeypatch.setattr(BagSource, 'messages', lambda *_: messages)
    first, second, third = READERS['MCAP'](path).parts
    assert (first == second, first == third) == (True, False)


def test_inputs_are_the_same_each_time_and_others_with_another_seed(
    whole: dict[str, Files],
) -> None:
    some = [draw(whole, 1, number) for number in range(600)]
    assert some == [draw(whole, 1, number) for number in range(600)]
    assert some != [draw(whole, 2, number) for number in range(600)]
    assert {one.damage for one in some} == set(DAMAGES)
    assert {one.kind for one in some} == set(KINDS)
    changed = [one for one in some if one.content != whole[one.kind].get(one.name)]
    assert len(changed) > 0.9 * len(some)


WHOLE = Reading(('a', 'b', 'c', 'd'), 4)


@pytest.mark.parametrize(
    ('kind', 'damage', 'found', 'says'),
    [
        ('PNG', CUT, Reading(('z',), 4), 'taken for the whole'),
        ('MCAP', CUT, Reading(('a', 'b'), 2), 'taken for the whole'),
        ('MCAP', CUT, Reading(('a', 'z'), 2, whole=False), 'never had'),
        ('MCAP', CUT, Reading(('a', 'a'), 2, whole=False), 'never had'),
        ('MP4 and other videos', CUT, Reading(('a', 'b', 'c'), 3), '3 of 4 frames'),
        ('TIFF', 'bits flipped', Reading(('z',), 5), '5 are claimed of 4'),
        ('YAML', CUT, ConfigError(' '), 'without a word'),
        ('YAML', CUT, ConfigError('long' * 1000), '4000 letters'),
    ],
)
def test_more_than_was_read_and_errors_that_nobody_can_read_are_noticed(
    kind: str, damage: str, found: Reading | ConfigError, says: str
) -> None:
    one = Input(kind, damage, 'a', 'a', b'')
    with pytest.raises(AssertionError, match=says):
        judge(one, found, lambda: WHOLE)


@pytest.mark.parametrize(
    ('kind', 'found', 'outcome'),
    [
        ('PNG', WHOLE, 'read'),
        ('MCAP', Reading(('a', 'b'), 2, whole=False), 'read in part, and said'),
        ('PNG', ImageError('It is damaged.'), 'refused in one line'),
        ('PNG', ImageError('It is damaged:\n  says a library.\n'), 'refused in one line'),
    ],
)
def test_true_answers_are_counted(kind: str, found: Reading | ImageError, outcome: str) -> None:
    assert judge(Input(kind, CUT, 'a', 'a', b''), found, lambda: WHOLE) == outcome


FAULTY = """
import json, os, signal, sys, time
folder, kinds, seed, begin, end, channel = {{given!r}}
def say(**answer):
    os.write(channel, json.dumps(answer).encode() + b'\\n')
say(ready=True)
for number in range(begin, end):
    say(at=number)
    if number == 2:
        {fault}
    say(kind='TSV', damage='cut off', outcome='read')
time.sleep(600)
"""
"""Stands for the process of readers: its third file has an effect."""


@pytest.mark.parametrize(
    ('fault', 'says'),
    [
        ('os.kill(os.getpid(), signal.SIGSEGV)', 'the process died: SIGSEGV'),
        ('os._exit(7)', 'the process died: exit code 7'),
        ('while True: pass', 'no end after'),
    ],
)
def test_a_reader_that_crashes_or_hangs_is_noticed_and_the_next_files_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, says: str
) -> None:
    monkeypatch.setattr(file_fuzz, 'PROGRAM', FAULTY.format(fault=fault))
    monkeypatch.setattr(file_fuzz, 'LONGEST', 0.5)
    result = Campaign(['TSV'], 1, 6, tmp_path / 'files').run()
    assert result.outcomes == {'TSV': {'read': 5, 'faults': 1}}
    (line,) = result.faults
    assert line.startswith('2 TSV')
    assert says in line


def test_an_error_that_is_none_of_the_program_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path) -> Reading:
        raise KeyError(path.suffix)

    monkeypatch.setitem(READERS, 'TSV', broken)
    reading, writing = os.pipe()
    read_all(str(tmp_path), ['TSV'], 1, 0, 1, writing)
    os.close(writing)
    with os.fdopen(reading) as lines:
        *_, last = map(json.loads, lines)
    assert last['fault'].startswith('KeyError at broken')


def test_what_the_parent_held_is_not_counted_as_memory_of_the_readers() -> None:
    held = np.ones(1 << 30, np.uint8)
    program = 'import os; from benchmarks.reports import peak_of; print(peak_of(os.getpid()))'
    peak = float(subprocess.check_output([sys.executable, '-c', program]))
    assert 1 < peak < 900 < peak_of(os.getpid())
    del held

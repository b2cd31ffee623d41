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
"""Damaged files to every reader: each is read or refused in one line, within bounds, truly.

A process of its own reads them one after another, so that a crash or a hang is the fault of one
file: the process is then started again behind it. ``python -m benchmarks.file_fuzz`` reads 5000
files, ``make fuzz`` as well; ``make test`` some.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
import json
import os
from pathlib import Path
import selectors
import shutil
import signal
import subprocess
import sys
from tempfile import TemporaryDirectory
import time
import traceback
from typing import Any

from benchmarks.file_damage import APPENDED, CUT, draw, Input, OTHER, REPEATED
from benchmarks.file_readers import check_line, READERS, Reading
from benchmarks.file_seeds import Files, KINDS, TEXTS
from benchmarks.reports import peak_of, setting, write_docs, write_json
import psutil
from tabulate import tabulate
from zegclip_core.errors import ZegCLIPError

OUT = Path('runs/file_fuzz')
LONGEST = 20.0
"""Seconds of processor time that a file may take."""
PATIENCE = 600.0
"""Seconds that it may take by the clock, on a machine that has other things to do."""
MOST_MEMORY = 3072.0
"""Megabytes that the process may hold after a file of a few kilobytes."""
PROGRAM = 'from benchmarks.file_fuzz import read_all; read_all(*{given!r})'
"""What the process of readers runs."""
READ, IN_PART, REFUSED = 'read', 'read in part, and said', 'refused in one line'
OUTCOMES = (READ, IN_PART, REFUSED)
_SIZED = ('.gif', '.avif', '.heic', 'jpeg.tif')
"""Files that decode to any size that they say, whatever they hold: the frames of a GIF lie on a
canvas of its own size, an arithmetic code never ends, and JPEG's blocks are wider than a TIFF."""
_TOLERATED = 0.95
"""Share of a video's frames from which on it counts as whole, as its count is an estimate."""


def seeds(folder: Path, kinds: Sequence[str]) -> dict[str, Files]:
    """Return whole files by kind; what making them leaves lies in a folder."""
    return {kind: KINDS[kind](folder) for kind in kinds}


class Truths:
    """What is read of the whole files, each read when it is first asked for."""

    def __init__(self, folder: Path, whole: Mapping[str, Files]) -> None:
        self._folder, self._whole = folder, whole
        self._known: dict[tuple[str, str], Reading] = {}

    def of(self, one: Input) -> Reading:
        """Return what is read of the whole file that an input was made of."""
        key = one.kind, one.origin
        if key not in self._known:
            content = self._whole[one.kind][one.origin]
            found = work(self._folder, Input(*key, one.origin, one.origin, content))
            assert isinstance(found, Reading), f'{key} is refused: {found}'
            assert found.whole, f'{key} is not read as a whole'
            self._known[key] = found
        return self._known[key]


def work(folder: Path, one: Input) -> Reading | ZegCLIPError:
    """Read an input as a file of a folder that holds nothing else."""
    place = folder / 'input'
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    path = place / one.name
    path.write_bytes(one.content)
    try:
        return READERS[one.kind](path)
    except ZegCLIPError as error:
        return error


def judge(one: Input, found: Reading | ZegCLIPError, truth: Callable[[], Reading]) -> str:
    """Return what came of an input.

    Raises:
        AssertionError: If more is claimed than was read, or the refusal is no line.
    """
    if isinstance(found, ZegCLIPError):
        check_line(found)
        return REFUSED
    if one.damage == OTHER:
        return READ
    whole = truth()
    if one.kind not in TEXTS and not one.origin.endswith(_SIZED):
        # Twice the same frames or messages are twice as many.
        limit = whole.size * (2 if one.damage in {REPEATED, APPENDED} else 1)
        assert found.size <= limit, f'{found.size} are claimed of {whole.size}'
    if one.damage == CUT and one.kind not in TEXTS:
        _judge_cut(one, found, whole)
    return READ if found.whole else IN_PART


def _judge_cut(one: Input, found: Reading, whole: Reading) -> None:
    """Of a file that was cut off, either all is there, or it is said that it is not."""
    if one.kind.startswith('MP4'):
        few = len(found.parts) < _TOLERATED * len(whole.parts)
        assert not (found.whole and few), f'{len(found.parts)} of {len(whole.parts)} frames'
    elif found.whole:
        assert found.parts == whole.parts, 'a part is taken for the whole'
    else:
        assert not Counter(found.parts) - Counter(whole.parts), 'parts that it never had'


def read_all(
    where: str, kinds: Sequence[str], seed: int, begin: int, end: int, channel: int
) -> None:
    """Read inputs, and write a line before and after each to a file descriptor."""
    folder, say = Path(where), partial(_say, channel)
    whole = seeds(folder / 'seeds', kinds)
    truths = Truths(folder / 'truth', whole)
    say({'ready': True})
    for number in range(begin, end):
        one = draw(whole, seed, number)
        say({'at': number})
        answer: dict[str, Any] = {'kind': one.kind, 'damage': one.damage}
        try:
            found = work(folder / 'work', one)
            answer['outcome'] = judge(one, found, partial(truths.of, one))
            peak = peak_of(os.getpid())
            assert peak < MOST_MEMORY, f'{peak:.0f} MB were taken'
        except Exception as error:  # That is what is looked for.
            place = traceback.extract_tb(error.__traceback__)[-1].name
            answer['fault'] = f'{type(error).__name__} at {place}: {str(error)[:300]}'
        say(answer)


def _say(channel: int, answer: Mapping[str, object]) -> None:
    os.write(channel, json.dumps(answer).encode() + b'\n')


@dataclass
class Result:
    """What came of all inputs.

    Attributes:
        outcomes: How often, by kind and outcome.
        damages: How many inputs there were of each damage.
        faults: What went wrong, a line each, with the input's number.
        seconds: How long it took, by the clock.
        processor_seconds: How long by the processor.
    """

    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    damages: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0
    processor_seconds: float = 0.0

    @property
    def inputs(self) -> int:
        """How many inputs there were."""
        return sum(self.damages.values())


class Campaign:
    """Has a process read inputs, and starts it again behind one that it does not survive."""

    def __init__(self, kinds: Sequence[str], seed: int, count: int, folder: Path) -> None:
        self._kinds, self._seed, self._count, self._folder = kinds, seed, count, folder
        self.result = Result()
        self._seconds: dict[int, float] = {}

    def run(self) -> Result:
        """Read everything."""
        began, begin = time.monotonic(), 0
        while begin < self._count:
            begin = self._read_from(begin)
        self.result.seconds = time.monotonic() - began
        self.result.processor_seconds = sum(self._seconds.values())
        return self.result

    def _read_from(self, begin: int) -> int:
        """Have a process read from an input on; return where the next one is to begin."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        reading, writing = os.pipe()
        given = (str(self._folder), self._kinds, self._seed, begin, self._count, writing)
        with (self._folder / 'log').open('w') as log:
            process = subprocess.Popen(
                [sys.executable, '-c', PROGRAM.format(given=given)],
                pass_fds=(writing,),
                stdout=log,
                stderr=log,
            )
        os.close(writing)
        try:
            return self._follow(process, reading, begin)
        finally:
            process.kill()
            process.wait()
            os.close(reading)

    def _follow(self, process: subprocess.Popen[bytes], reading: int, begin: int) -> int:
        """Take note of what a process says; return where the next one is to begin."""
        at = begin - 1
        lost = ''
        for answer in _answers(process, reading):
            if isinstance(answer, str):
                lost = answer
            elif 'at' in answer:
                at = answer['at']
            elif 'kind' in answer:
                self._note(at, answer)
                self._seconds[process.pid] = _processor_time(process)
                if at == self._count - 1:
                    return self._count
        log = (self._folder / 'log').read_text('utf-8', errors='replace')
        if at < begin:
            raise RuntimeError(f'The readers do not start: {lost}; {log[-2000:]}')
        kept = ', '.join(path.name for path in self._folder.glob('work/input/*'))
        kind = sorted(self._kinds)[at % len(self._kinds)]
        self._note(at, {'kind': kind, 'damage': kept, 'fault': f'{lost}; {log[-500:]}'})
        return at + 1

    def _note(self, number: int, answer: Mapping[str, str]) -> None:
        outcome = answer.get('outcome', 'faults')
        self.result.outcomes.setdefault(answer['kind'], Counter())[outcome] += 1
        self.result.damages[answer['damage']] += 1
        if 'fault' in answer:
            text = ' '.join(answer['fault'].split())
            self.result.faults.append(f'{number} {answer["kind"]}, {answer["damage"]}: {text}')


def _answers(process: subprocess.Popen[bytes], reading: int) -> Iterator[Any]:
    """Yield what a process says, and at last in what way it was lost."""
    rest, at_work = b'', False
    with selectors.DefaultSelector() as selector:
        selector.register(reading, selectors.EVENT_READ)
        busy, since = 0.0, time.monotonic()
        while True:
            if selector.select(timeout=1.0):
                block = os.read(reading, 1 << 16)
                if not block:
                    code = process.wait()
                    name = signal.Signals(-code).name if code < 0 else f'exit code {code}'
                    yield f'the process died: {name}'
                    return
                *lines, rest = (rest + block).split(b'\n')
                answers = [json.loads(line) for line in lines]
                yield from answers
                at_work = 'at' in answers[-1] if answers else at_work
                busy, since = _processor_time(process), time.monotonic()
                continue
            # Starting takes longer than any file may.
            hangs = at_work and _processor_time(process) - busy > LONGEST
            if hangs or time.monotonic() - since > PATIENCE:
                yield f'no end after {time.monotonic() - since:.0f} s'
                return


def _processor_time(process: subprocess.Popen[bytes]) -> float:
    """Return the seconds that a process has computed."""
    try:
        found = psutil.Process(process.pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(found.user + found.system)


def table(result: Result) -> str:
    """Return the figures as they stand on the page."""
    rows: list[list[Any]] = [
        [kind, sum(found.values()), *(found[outcome] for outcome in OUTCOMES), found['faults']]
        for kind, found in sorted(result.outcomes.items())
    ]
    rows.append(['all', *(sum(row[place] for row in rows) for place in range(1, 6))])
    head = ['kind', 'files', *OUTCOMES, 'faults']
    machine, _, _ = setting().rpartition(', ')  # No ROS has a part in this.
    return f'{machine}.\n\n{tabulate(rows, head, tablefmt="github")}'


def run(count: int, seed: int, kinds: Sequence[str] = tuple(KINDS)) -> Result:
    """Read so many damaged files."""
    with TemporaryDirectory(prefix='zegclip-fuzz-') as folder:
        return Campaign(kinds, seed, count, Path(folder) / 'files').run()


def main(argv: Sequence[str] | None = None) -> int:
    """Read damaged files and print what came of them; returns 1 after a fault."""
    parser = argparse.ArgumentParser(prog='benchmarks.file_fuzz', description=__doc__)
    parser.add_argument('--count', type=int, default=5000, help='how many files')
    parser.add_argument('--seed', type=int, default=1, help='another one draws other files')
    parser.add_argument('--kinds', nargs='+', choices=sorted(KINDS), default=sorted(KINDS))
    parser.add_argument('--write-docs', action='store_true', help='put the figures on the page')
    args = parser.parse_args(argv)
    result = run(args.count, args.seed, args.kinds)
    text = table(result)
    print(text, *result.faults, sep='\n')
    print(f'{result.seconds:.0f} s, {result.processor_seconds:.0f} s of the processor')
    write_json(OUT / 'figures.json', {'outcomes': result.outcomes, 'faults': result.faults})
    if args.write_docs:
        write_docs('file-fuzz', text)
    return 1 if result.faults else 0


if __name__ == '__main__':
    sys.exit(main())

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
"""Runs the benchmark: every side on every case, one after the other and round after round."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
import os
from pathlib import Path
import platform
import time
from typing import Any

import numpy as np
import torch
from zegclip_core.devices import DTYPES, pick_device, pick_precision
from zegclip_core.errors import DeviceMemoryError
from zegclip_core.speed.camera import measure_camera
from zegclip_core.speed.cases import (
    BASE,
    CAMERA,
    Case,
    check_sweeps,
    choose_cases,
    choose_sides,
    PLAIN,
    START,
    STEPS,
    WORDS,
)
from zegclip_core.speed.ceiling import measure_ceiling
from zegclip_core.speed.memory import free_bytes, Meter, meter_for
from zegclip_core.speed.models import Bundle, load_bundle, seeded_bundle, seeded_frames
from zegclip_core.speed.rows import Report, Row, Steps
from zegclip_core.speed.sides import build_side, Labels, Side, Timed
from zegclip_core.speed.start import measure_starts
from zegclip_core.speed.steps import (
    count_steps,
    step_precisions,
    step_sides,
    STEPS_CASE,
)
from zegclip_core.speed.watch import exact_float32
from zegclip_core.speed.word_changes import measure_words

Say = Callable[[str, int], None]
"""Is told what is done now, and how many rows there will be."""
_LEAST_ROUNDS = 2
_MORE_ROUNDS = 3
"""Times as many rounds, and as much time, for the steps, which differ little from each other."""
_QUICK_SHRINK = 4


@dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        model: Name or file; ``None`` for the published shape with seeded weights.
        sides: Names of sides.
        sweeps: Names of sweeps; the base is measured in any case.
        repeats: Most calls of a side in a case that count.
        case_seconds: After so long no further round of a case begins, unless there are too few.
        seconds: After so long no further case begins; ``None`` for no limit.
        quick: Whether the ceiling is only measured roughly.
    """

    device: str
    model: str | None
    sides: Sequence[str]
    sweeps: Sequence[str]
    repeats: int
    case_seconds: float
    seconds: float | None = None
    quick: bool = False


def run_benchmark(options: Options, show: Say, done: Callable[[Row], object]) -> Report:
    """Measure everything.

    Args:
        options: What to measure.
        show: Is told what is done now.
        done: Is given every row when it is finished.

    Raises:
        ZegCLIPError: If a device, side or sweep is not known, or the model cannot be loaded.
    """
    began = time.perf_counter()
    device, sides = pick_device(options.device), choose_sides(options.sides)
    check_sweeps(options.sweeps)
    given = load_bundle(options.model) if options.model else None
    base = BASE if given is None else replace(BASE, prompts=given.prompts)
    cases = choose_cases(options.sweeps, base)

    def say(task: str) -> None:
        steps = count_steps(device) if STEPS in options.sweeps else 0
        show(task, len(cases) * len(sides) + steps)

    say('what the device can do at most')
    with exact_float32():
        ceiling = measure_ceiling(device, shrink=_QUICK_SHRINK if options.quick else 1)
        bundled = _bundled(options, device, say)
        runner = _Runner(options, device, sides, base, say, done, began)
        rows = list(runner.rows(cases, given))
        steps = runner.steps(given) if STEPS in options.sweeps else []
    order = {case: index for index, case in enumerate(cases)}
    rows.sort(key=lambda row: order[row.case])
    return Report(
        device=device_name(device),
        kind=device.type,
        model=options.model or 'seeded ViT-B/16',
        base=base,
        best=_precision_name(pick_precision('auto', device)),
        ceiling=ceiling,
        rows=tuple(rows),
        steps=tuple(steps),
        **bundled,
        seconds=time.perf_counter() - began,
        software=f'Python {platform.python_version()}, PyTorch {torch.__version__}',
    )


def _bundled(options: Options, device: torch.device, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure the bundled model; returns what the report has of it, by field."""
    found: dict[str, Any] = {'camera': (), 'words': None, 'starts': ()}
    if CAMERA in options.sweeps:
        say('the bundled model behind a camera')
        rows = measure_camera(device, options.repeats, options.case_seconds)
        found['camera'] = tuple(rows)
    if WORDS in options.sweeps:
        say('a change of the words')
        found['words'] = measure_words(device, options.repeats)
    if START in options.sweeps:
        say('from start to first label')
        found['starts'] = tuple(measure_starts(str(device), options.repeats))
    return found


class _Runner:
    """Measures cases, those of one model together."""

    def __init__(
        self,
        options: Options,
        device: torch.device,
        sides: Sequence[str],
        base: Case,
        say: Callable[[str], None],
        done: Callable[[Row], object],
        began: float,
    ) -> None:
        self._options, self._device, self._names, self._base = options, device, sides, base
        self._say, self._done, self._began = say, done, began
        self._meter: Meter = meter_for(device)

    def rows(self, cases: Sequence[Case], given: Bundle | None) -> Iterator[Row]:
        """Measure all cases, those of the model with the fewest first.

        Args:
            cases: What to measure.
            given: A model; ``None`` makes one with as many prompts as a case asks for.

        """
        groups: dict[int, list[Case]] = {}
        for case in cases:
            groups.setdefault(case.prompts, []).append(case)
        for prompts, group in sorted(groups.items(), key=lambda item: len(item[1])):
            if given is not None and given.prompts != prompts:
                reason = f'{given.name} has {given.prompts} prompts'
                yield from self._skip(group, self._names, reason)
                continue
            self._say(f'building the model with {prompts} prompts')
            yield from self._group(given or seeded_bundle(prompts), group)

    def _group(self, bundle: Bundle, cases: Sequence[Case]) -> Iterator[Row]:
        """Measure the cases of one model."""
        sides: list[Side] = []
        for name in self._names:
            built = build_side(name, bundle, self._device)
            if isinstance(built, Side):
                sides.append(built)
            else:
                yield from self._skip(cases, [name], built)
        for index, case in enumerate(cases):
            limit = self._options.seconds
            if limit is not None and time.perf_counter() - self._began > limit:
                names = [side.name for side in sides]
                yield from self._skip([case], names, f'the {limit / 60:.3g} minutes were over')
            else:
                yield from self._case(bundle, sides, case, first=index == 0)

    def steps(self, given: Bundle | None) -> list[Steps]:
        """Measure the plain path, and the lean one without each of its steps."""
        prompts = STEPS_CASE.prompts if given is None else given.prompts
        case, bundle = replace(STEPS_CASE, prompts=prompts), given or seeded_bundle(prompts)
        found = []
        for dtype in step_precisions(self._device):
            sides = step_sides(bundle, self._device, dtype)
            rows = self._case(bundle, sides, case, first=True, more=_MORE_ROUNDS)
            found.append(Steps(_precision_name(dtype), tuple(rows)))
        return found

    def _skip(self, cases: Sequence[Case], names: Sequence[str], reason: str) -> Iterator[Row]:
        """Keep what is not measured, with the reason."""
        for case in cases:
            for name in names:
                row = Row(name, case, skipped=reason)
                self._done(row)
                yield row

    def _case(
        self, bundle: Bundle, sides: Sequence[Side], case: Case, *, first: bool, more: int = 1
    ) -> Iterator[Row]:
        """Measure all sides on one case, ``more`` times as long as others."""
        frames = seeded_frames(case.height, case.width, case.batch)
        words = bundle.words(case.classes)
        trials: dict[str, _Trial] = {}
        for side in sides:
            self._say(f'{case}: {side.name}, first call')
            side.release()
            trial = _Trial(side, case, self._refusal(side, case))
            trials[side.name] = trial
            if not trial.reason:
                trial.attempt(partial(side.load, frames, words))
                trial.first_call(self._meter, warm=first)
        running = [trial for trial in trials.values() if not trial.reason and not trial.side.once]
        self._rounds(case, running, more)
        for trial in trials.values():
            row = trial.row(trials)
            self._done(row)
            yield row

    def _refusal(self, side: Side, case: Case) -> str:
        """Say why a side is not run on a case; empty if it is."""
        if side.once and case != self._base:
            return 'on a CPU this side runs one row, once'
        free, needed = free_bytes(self._device), side.needed_bytes(case)
        if free is not None and needed > free:
            return f'needs about {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free'
        return ''

    def _rounds(self, case: Case, trials: Sequence['_Trial'], more: int) -> None:
        """Let all sides take turns, each round beginning with another."""
        began = time.perf_counter()
        for number in range(more * self._options.repeats):
            late = time.perf_counter() - began > more * self._options.case_seconds
            if late and number >= _LEAST_ROUNDS:
                return
            shift = number % max(len(trials), 1)
            for trial in (*trials[shift:], *trials[:shift]):
                self._say(f'{case}: {trial.side.name}, round {number + 1}')
                trial.timed_call()


class _Trial:
    """One side on one case."""

    def __init__(self, side: Side, case: Case, reason: str) -> None:
        self.side, self.case, self.reason = side, case, reason
        self.labels: Labels | None = None
        self._times: list[Timed] = []
        self._peak: float | None = None

    def first_call(self, meter: Meter, *, warm: bool) -> None:
        """Make the call that is not timed, and take the labels and the memory from it.

        Args:
            meter: Measures the memory.
            warm: Whether one more call comes before it, for the memory of code and constants.

        """
        if warm and not self.side.once:
            self.attempt(self.side.label)
            self.side.release()
        work = self._once if self.side.once else self._label
        peak = meter.peak(partial(self.attempt, work), timed=self.side.once)
        self._peak = None if peak is None else peak + self.side.weight_bytes / 1e6
        if self.side.device.type == 'cuda':
            self.attempt(self.side.measure)  # Records the graph of the model alone.

    def _label(self) -> None:
        self.labels = self.side.label()

    def _once(self) -> None:
        self.labels, timed = self.side.measure()
        self._times.append(timed)

    def timed_call(self) -> None:
        """Make a call that counts."""
        self.attempt(lambda: self._times.append(self.side.measure()[1]))

    def attempt(self, work: Callable[[], object]) -> None:
        """Do something unless it was given up; give up if memory does not suffice."""
        if self.reason:
            return
        try:
            work()
        except (torch.OutOfMemoryError, MemoryError, DeviceMemoryError) as error:
            self.reason = _first_line(error)
        except RuntimeError as error:
            if "can't allocate memory" not in str(error):
                raise
            self.reason = _first_line(error)
        # Past the handlers, whose error holds the tensors of the attempt.
        if self.reason:
            self.side.release()

    def row(self, trials: dict[str, '_Trial']) -> Row:
        """Return what was found."""
        if self.reason:
            return Row(self.side.name, self.case, skipped=self.reason)
        return Row(
            self.side.name,
            self.case,
            times=tuple(self._times),
            peak_mb=self._peak,
            agreement=self._agreement(trials.get(PLAIN)),
            agreement_literal=self._agreement(trials.get('literal')),
            flops=self.side.flops(self.case),
        )

    def _agreement(self, other: '_Trial | None') -> float | None:
        """Return the share of pixels that another side labels alike."""
        if other is None or other.labels is None or self.labels is None:
            return None
        return float(np.mean(self.labels == other.labels))


def _first_line(error: BaseException) -> str:
    """Return the beginning of an error's text."""
    return str(error).partition('\n')[0].partition('. ')[0] or type(error).__name__


def _precision_name(dtype: torch.dtype) -> str:
    return next(name for name, kind in DTYPES.items() if kind == dtype)


def device_name(device: torch.device) -> str:
    """Return what a device is called; of a CPU also how many threads work."""
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    lines = Path('/proc/cpuinfo').read_text('utf-8').splitlines() if os.name == 'posix' else []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    name = names[0] if names else platform.machine()
    return f'{name}, {torch.get_num_threads()} threads'

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
"""Runs the benchmark: the base case of every method first, then what it is varied by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from itertools import groupby
import platform
import sys
import time

import torch
from tqdm import tqdm
from zegclip_core.devices import pick_device
from zegclip_core.speed.bundled import measure_camera, measure_start, measure_words
from zegclip_core.speed.ceilings import measure_ceiling
from zegclip_core.speed.inputs import Bundle, load_bundle, seeded_bundle
from zegclip_core.speed.methods import build_method, Method
from zegclip_core.speed.report import (
    BUNDLED,
    Case,
    Cells,
    choose_cases,
    choose_methods,
    MINUTES,
    Report,
)
from zegclip_core.speed.timing import answers, device_name
from zegclip_core.speed.turns import kept_going, precision_of, Turns
from zegclip_core.versions import git_commit

Record = Callable[[Report], None]
"""Gets the report whenever there is more of it."""


@dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        model: Name or file; ``None`` for the published shape with seeded weights.
        methods: Those to compare.
        sweeps: Beside the base.
        base_only: Methods for the base alone; on a CPU ``two_stage`` always is one.
        repeats: Most calls of a method in a case that count.
        case_seconds: After so long no further round of a case begins, unless there are too few;
            a method whose first call takes as long is not called again.
        minutes: For all. What is left of them is shared by the cases that are left, and when they
            are over, only the base still begins.
    """

    device: str = 'auto'
    model: str | None = None
    methods: Sequence[str] = ('literal', 'lean')
    sweeps: Sequence[str] = ()
    base_only: Sequence[str] = ()
    repeats: int = 3
    case_seconds: float = 20.0
    minutes: float = MINUTES


def run_benchmark(options: Options, record: Record = lambda _: None) -> Report:
    """Measure everything under a progress bar.

    ``record`` is called after each row. What fails is left out, and the report says why.
    """
    began = time.perf_counter()
    device, names = pick_device(options.device), choose_methods(options.methods)
    choose_cases(options.sweeps)  # Before the model is loaded, which takes long.
    given = load_bundle(options.model) if options.model else None
    report = Report(
        device=device_name(device),
        kind=device.type,
        model=options.model or 'seeded ViT-B/16',
        software=f'Python {platform.python_version()}, PyTorch {torch.__version__}',
        base=Case() if given is None else Case(prompts=given.prompts),
        commit=git_commit(),
        date=str(date.today()),
    )
    cases = choose_cases(options.sweeps, report.base)
    if given is not None:
        cases = [case for case in cases if case.prompts == given.prompts]
        if 'prompts' in options.sweeps:
            report.notes.append(f'prompts left out: {given.name} has {given.prompts}')
        if not given.published:
            names = [name for name in names if name not in {'literal', 'two_stage'}]
            report.notes.append(
                'literal and two_stage left out: '
                f'{given.name} has no weights under the published names'
            )
    # TensorFloat-32, which PyTorch allows for convolutions, would not be float32.
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        _Run(options, device, report, record, began).measure(cases, names, given)
    report.seconds = time.perf_counter() - began
    record(report)
    return report


class _Run:
    """Fills a report.

    Args:
        options: What to measure.
        device: Where.
        report: Gets what is found.
        record: Gets the report after each row.
        began: When ``time.perf_counter`` began to count.
    """

    def __init__(
        self,
        options: Options,
        device: torch.device,
        report: Report,
        record: Record,
        began: float,
    ) -> None:
        self._options, self._device, self._report = options, device, report
        self._record, self._end = record, began + 60.0 * options.minutes
        # Half a minute a frame.
        self._last = {'two_stage'} if device.type == 'cpu' else set[str]()
        self._base_only = {*options.base_only, *self._last}

    def measure(self, cases: Sequence[Case], names: Sequence[str], given: Bundle | None) -> None:
        """Measure the base, the ceilings, the bundled model, and then the other cases."""
        base = self._report.base
        bundled = [name for name in BUNDLED if name in self._options.sweeps]
        # One model after the other, and that of the base first.
        ordered = sorted(cases, key=lambda case: (case.prompts != base.prompts, case.prompts))
        # Standard output, where the table will be, stays as it is.
        self._left = len(cases) + len(bundled)
        with tqdm(total=self._left, unit='case', file=sys.stderr) as self._bar:
            for prompts, group in groupby(ordered, key=lambda case: case.prompts):
                bundle, methods = given, None
                for case in group:
                    if case != base and self._cannot_begin(str(case)):
                        continue
                    bundle = bundle or seeded_bundle(prompts)
                    if methods is None:
                        methods = self._build(names, bundle)
                    self._measure_case(case, bundle, methods)
                    if case == base:
                        self._measure_ceilings(names)
                        self._measure_bundled(bundled)

    def _cannot_begin(self, what: str) -> bool:
        """Note what is left out, if the time is over or the device is lost."""
        if self._report.lost:
            return True  # One line for all of them.
        over = time.perf_counter() > self._end
        if over:
            minutes = f'{self._options.minutes:g} minutes were over'
            self._report.notes.append(f'{what} left out: {minutes}')
        return over

    def _build(self, names: Sequence[str], bundle: Bundle) -> dict[str, Method]:
        """Return the methods that can be built."""
        methods = {}
        for name in names:
            with kept_going(self._report, f'{bundle.prompts} prompts: {name}'):
                methods[name] = build_method(name, bundle, self._device)
        return methods

    def _measure_case(self, case: Case, bundle: Bundle, methods: dict[str, Method]) -> None:
        """Let the methods take turns; the slowest on a CPU comes last, by itself."""
        self._bar.set_description(str(case))
        turns = Turns(methods, case, bundle.inputs(case), self._device, self._report)
        is_base = case == self._report.base
        names = [name for name in methods if is_base or name not in self._base_only]
        groups = (
            [name for name in names if name not in self._last],
            [name for name in names if name in self._last],
        )
        share = (self._end - time.perf_counter()) / self._left
        for group in groups:
            for row in turns.measure(
                group,
                repeats=self._options.repeats,
                case_seconds=self._options.case_seconds,
                least_until=float('inf') if is_base else time.perf_counter() + share,
            ):
                self._report.rows.append(row)
                self._bar.write(f'{case}: {row.method} {row.ms:.4g} ms', file=sys.stderr)
                self._record(self._report)
        self._step()

    def _measure_ceilings(self, names: Sequence[str]) -> None:
        """Measure the ceilings of the precisions that are compared."""
        for precision in sorted({precision_of(name, self._device) for name in names}):
            with kept_going(self._report, f'ceiling of {precision}'):
                self._report.ceilings[precision] = measure_ceiling(precision, self._device)
        self._record(self._report)

    def _measure_bundled(self, names: Sequence[str]) -> None:
        """Measure the bundled model."""
        measures: dict[str, Callable[[torch.device, int], list[Cells]]] = {
            'camera': partial(measure_camera, report=self._report),
            'words': measure_words,
            'start': measure_start,
        }
        for name in names:
            self._bar.set_description(name)
            if not self._cannot_begin(name):
                with kept_going(self._report, name):
                    found = measures[name](self._device, self._options.repeats)
                    self._report.bundled[name] = found
            self._step()

    def _step(self) -> None:
        """Count what is done, and see whether the device still answers after an error."""
        self._left -= 1
        self._bar.update()
        if self._report.errors and not self._report.lost and not answers(self._device):
            self._report.lost = True
            self._report.errors.append('all else left out: the device no longer answers')
        self._record(self._report)

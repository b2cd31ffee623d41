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
"""Runs the benchmark: every method on every case, one after the other and round after round."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
import platform
import time
from typing import Any

import numpy as np
import torch
from tqdm import tqdm
from zegclip_core.devices import pick_device, pick_precision, precision_name
from zegclip_core.errors import DeviceMemoryError
from zegclip_core.speed.bundled import measure_camera, measure_words
from zegclip_core.speed.cases import BASE, BUNDLED, Case, choose_cases, choose_methods
from zegclip_core.speed.hardware import (
    copy_rate,
    device_name,
    free_bytes,
    multiply_rates,
    peak_growth,
)
from zegclip_core.speed.inputs import Bundle, Inputs, load_bundle, seeded_bundle, seeded_images
from zegclip_core.speed.methods import build_method, Labels, Method, Timing
from zegclip_core.speed.report import Report, Row, TableRow
from zegclip_core.speed.start import measure_start

_LEAST_ROUNDS = 2
_QUICK_SHRINK = 4


@dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        model: Name or file; ``None`` for the published shape with seeded weights.
        methods: Names of methods.
        sweeps: Names of sweeps; the base is measured in any case.
        repeats: Most calls of a method in a case that count.
        case_seconds: After so long no further round of a case begins, unless there are too few.
        seconds: After so long no further case begins; ``None`` for no limit.
        quick: Whether the device's limits are only measured roughly.
    """

    device: str
    model: str | None
    methods: Sequence[str]
    sweeps: Sequence[str]
    repeats: int
    case_seconds: float
    seconds: float | None = None
    quick: bool = False


def run_benchmark(options: Options) -> Report:
    """Measure everything under a progress bar.

    Raises:
        ZegCLIPError: If a device, method or sweep is not known, or the model cannot be loaded.
    """
    began = time.perf_counter()
    device, methods = pick_device(options.device), choose_methods(options.methods)
    choose_cases(options.sweeps)  # Before the model is loaded, which takes long.
    given = load_bundle(options.model) if options.model else None
    base = BASE if given is None else replace(BASE, prompts=given.prompts)
    cases = choose_cases(options.sweeps, base)
    shrink = _QUICK_SHRINK if options.quick else 1
    best = pick_precision('auto', device)
    # TensorFloat-32, which PyTorch allows for convolutions, would not be float32.
    exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
    with exact, tqdm(total=len(cases) * len(methods), unit='row') as bar:
        bar.set_description('what the device can do at most')
        tflops, copied = multiply_rates(device, shrink), copy_rate(device, shrink)
        bundled = _measure_bundled(options, device, bar)
        rows = list(_Runner(options, device, base, bar, began).measure(cases, given))
    return Report(
        device=device_name(device),
        kind=device.type,
        model=options.model or 'seeded ViT-B/16',
        best=precision_name(best),
        base=base,
        tflops=tflops,
        copy_gbps=copied,
        rows=sorted(rows, key=lambda row: cases.index(row.case)),
        bundled=bundled,
        seconds=time.perf_counter() - began,
        software=f'Python {platform.python_version()}, PyTorch {torch.__version__}',
    )


def _measure_bundled(
    options: Options, device: torch.device, bar: 'tqdm[Any]'
) -> dict[str, list[TableRow]]:
    """Return the tables of the bundled model that are asked for."""
    found = {}
    for name in BUNDLED:
        if name not in options.sweeps:
            continue
        bar.set_description(f'the bundled model: {name}')
        if name == 'camera':
            found[name] = measure_camera(device, options.repeats, options.case_seconds)
        elif name == 'words':
            found[name] = measure_words(device, options.repeats)
        else:
            found[name] = measure_start(str(device), options.repeats)
    return found


@dataclass(frozen=True)
class _Runner:
    """Measures cases.

    Attributes:
        options: What to measure.
        device: Where it runs.
        base: The case around which the sweeps go.
        bar: Shows what is done now.
        began: When the run began, in seconds of ``time.perf_counter``.
    """

    options: Options
    device: torch.device
    base: Case
    bar: 'tqdm[Any]'
    began: float

    def measure(self, cases: Sequence[Case], given: Bundle | None) -> Iterator[Row]:
        """Measure all cases; of a given model only those with its number of prompts."""
        groups: dict[int, list[Case]] = {}
        for case in cases:
            groups.setdefault(case.prompts, []).append(case)
        # The few before the many, which may be cut off when the time is over.
        for prompts, group in sorted(groups.items(), key=lambda item: len(item[1])):
            if given is None or given.prompts == prompts:
                self.bar.set_description(f'building the model with {prompts} prompts')
                yield from self._group(group, given or seeded_bundle(prompts))
            else:
                reason = f'{given.name} has {given.prompts} prompts'
                yield from self._skip(self.options.methods, group, reason)

    def _skip(self, methods: Sequence[str], cases: Sequence[Case], why: str) -> Iterator[Row]:
        """Keep what is not measured, with the reason."""
        for case in cases:
            for method in methods:
                self.bar.update()
                yield Row(method, case, skipped=why)

    def _group(self, cases: Sequence[Case], bundle: Bundle) -> Iterator[Row]:
        """Measure the cases of one model."""
        methods: dict[str, Method] = {}
        for name in self.options.methods:
            built = build_method(name, bundle, self.device)
            if isinstance(built, Method):
                methods[name] = built
            else:
                yield from self._skip([name], cases, built)
        for case in cases:
            limit = self.options.seconds
            if limit is not None and time.perf_counter() - self.began > limit:
                reason = f'the {limit / 60:.3g} minutes were over'
                yield from self._skip(list(methods), [case], reason)
            else:
                yield from self._case(bundle, methods, case, warm_up=case is cases[0])

    def _case(
        self, bundle: Bundle, methods: dict[str, Method], case: Case, *, warm_up: bool
    ) -> list[Row]:
        """Measure all methods on one case.

        Args:
            bundle: The model.
            methods: The methods by their names.
            case: What is asked of them.
            warm_up: Whether the code and the constants of the methods still have to be loaded.
        """
        images = seeded_images(case.height, case.width, case.batch)
        inputs = Inputs(images, bundle.encoded(case.classes))
        rows = [Row(name, case, self._refusal(method, case)) for name, method in methods.items()]
        labels: dict[str, Labels] = {}
        for row in rows:
            method = methods[row.method]
            method.release()
            self.bar.set_description(f'{case}: {row.method}, first call')
            with _skip_without_memory(method, row):
                if warm_up and not method.once and not row.skipped:
                    method.measure(inputs)
                    method.release()
                if not row.skipped:
                    labels[row.method] = self._first_call(method, row, inputs)
        self._rounds([(methods[row.method], row) for row in rows], inputs)
        for row in rows:
            own = labels.get(row.method)
            row.agreement = _share_alike(own, labels.get('plain'))
            row.agreement_literal = _share_alike(own, labels.get('literal'))
            self.bar.update()
        return rows

    def _first_call(self, method: Method, row: Row, inputs: Inputs) -> Labels:
        """Return the labels and note the memory; the time counts if there is no other call."""
        found: list[tuple[Labels, Timing]] = []
        peak = peak_growth(
            self.device,
            lambda: found.append(method.measure(inputs)),
            slow_down=not method.once,
        )
        row.peak_mb = None if peak is None else (peak + method.weight_bytes) / 1e6
        row.operations = method.operations(inputs)
        labels, timing = found[0]
        row.timings += [timing] if method.once else []
        return labels

    def _rounds(self, turns: Sequence[tuple[Method, Row]], inputs: Inputs) -> None:
        """Let all methods take turns, each round beginning with another."""
        began = time.perf_counter()
        for number in range(self.options.repeats):
            late = time.perf_counter() - began > self.options.case_seconds
            if late and number >= _LEAST_ROUNDS:
                return
            for method, row in turns:
                if not row.skipped and not method.once:
                    self.bar.set_description(f'{row.case}: {row.method}, round {number + 1}')
                    with _skip_without_memory(method, row):
                        row.timings.append(method.measure(inputs)[1])
            turns = [*turns[1:], *turns[:1]]

    def _refusal(self, method: Method, case: Case) -> str:
        """Return why a method is not measured in a case; empty if it is."""
        if method.once and case != self.base:
            return 'on a CPU this method is measured once'
        needed, free = method.needed_bytes(case), free_bytes(self.device)
        if needed > free:
            return f'needs about {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free'
        return ''


@contextmanager
def _skip_without_memory(method: Method, row: Row) -> Iterator[None]:
    """Skip a row if memory does not suffice for what is done in this context."""
    try:
        yield
    except (DeviceMemoryError, MemoryError, RuntimeError) as error:
        known = isinstance(error, DeviceMemoryError | MemoryError | torch.OutOfMemoryError)
        if not known and "can't allocate memory" not in str(error):
            raise
        line = str(error).partition('\n')[0].partition('. ')[0]
        row.skipped = line or type(error).__name__
    # Past the handler, whose error holds the tensors of the attempt.
    if row.skipped:
        method.release()


def _share_alike(labels: Labels | None, others: Labels | None) -> float | None:
    """Return the share of pixels with the same label; ``None`` without one of the two."""
    return None if labels is None or others is None else float(np.mean(labels == others))

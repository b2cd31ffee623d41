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

from itertools import groupby
import platform
import time

import torch
from tqdm import tqdm
from zegclip_core.devices import pick_device
from zegclip_core.speed import everyday
from zegclip_core.speed.cases import BUNDLED, Case, choose_cases, choose_methods
from zegclip_core.speed.inputs import load_bundle, seeded_bundle
from zegclip_core.speed.measuring import device_name, measure_case, Options
from zegclip_core.speed.methods import build_method
from zegclip_core.speed.report import Report, Row


def run_benchmark(options: Options) -> Report:
    """Measure everything under a progress bar.

    Raises:
        ZegCLIPError: If a device, method or sweep is not known, or the model cannot be loaded.
    """
    began = time.perf_counter()
    device, names = pick_device(options.device), choose_methods(options.methods)
    choose_cases(options.sweeps)  # Before the model is loaded, which takes long.
    given = load_bundle(options.model) if options.model else None
    base = Case() if given is None else Case(prompts=given.prompts)
    report = Report(
        device=device_name(device),
        kind=device.type,
        model=options.model or 'seeded ViT-B/16',
        software=f'Python {platform.python_version()}, PyTorch {torch.__version__}',
        base=base,
    )
    cases = choose_cases(options.sweeps, base)
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
    exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
    found: dict[Case, list[Row]] = {}
    with exact, tqdm(total=len(cases), unit='case') as bar:
        # One model after the other, and the one with the most cases, which has the base, last.
        ordered = sorted(cases, key=lambda case: -case.prompts)
        for prompts, group in groupby(ordered, key=lambda case: case.prompts):
            bundle = given or seeded_bundle(prompts)
            methods = {name: build_method(name, bundle, device) for name in names}
            for case in group:
                bar.set_description(str(case))
                if case != base and time.perf_counter() - began > 60.0 * options.minutes:
                    report.notes.append(f'{case} left out: {options.minutes:g} minutes were over')
                    continue
                measured = methods
                if device.type == 'cpu' and case != base:  # Half a minute a frame.
                    measured = {name: methods[name] for name in names if name != 'two_stage'}
                found[case] = measure_case(
                    measured, case, bundle.inputs(case), device, options, report.notes
                )
                bar.update()
    report.rows = [row for case in cases for row in found.get(case, [])]
    for name in BUNDLED:
        if name in options.sweeps:
            report.bundled[name] = getattr(everyday, f'measure_{name}')(device, options)
    report.seconds = time.perf_counter() - began
    return report

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

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from itertools import groupby, pairwise
import json
from pathlib import Path
import platform
import re
import statistics
import subprocess
import sys
import time
from typing import Any, TypeVar

import cv2
import numpy as np
import psutil
import torch
from tqdm import tqdm
from zegclip_core.devices import pick_device
from zegclip_core.errors import ConfigError, DeviceMemoryError
from zegclip_core.segmenter import Segmenter
from zegclip_core.speed.inputs import (
    class_names,
    Image,
    Inputs,
    load_bundle,
    seeded_bundle,
    seeded_images,
)
from zegclip_core.speed.methods import build_method, Labels, Method, Ours
from zegclip_core.speed.report import (
    BUNDLED,
    Case,
    Cells,
    choose_cases,
    choose_methods,
    Report,
    Row,
)
from zegclip_core.text.vocabulary import Vocabulary

T = TypeVar('T')
_LEAST_ROUNDS = 2
SHORT_SIDES = (308, 252)
"""Working sizes to measure beside the model's own, in pixels."""
WORDS = ('cup', 'spoon', 'dining table', 'bowl', 'person', 'bottle', 'book', 'knife')
_NEW_WORDS = 20
_AT_REST = 5
"""Intervals between frames before the first change."""
_START = """
import json, sys, time
began = float(sys.argv[2])
import numpy as np
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary
times = [time.monotonic() - began]
words = Vocabulary.from_names(['person', 'cat', 'cup', 'dining table'])
Segmenter.load(device=sys.argv[1]).segment(np.zeros((480, 640, 3), np.uint8), words)
print(json.dumps([*times, time.monotonic() - began]))
"""


@dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        model: Name or file; ``None`` for the published shape with seeded weights.
        methods: Those to compare.
        sweeps: Beside the base.
        repeats: Most calls of a method in a case that count.
        case_seconds: After so long no further round of a case begins, unless there are too few;
            a method whose first call takes as long is not called again.
        minutes: After so many no further case begins.
    """

    device: str = 'auto'
    model: str | None = None
    methods: Sequence[str] = ('literal', 'lean')
    sweeps: Sequence[str] = ()
    repeats: int = 3
    case_seconds: float = 20.0
    minutes: float = float('inf')


def run_benchmark(options: Options) -> Report:
    """Measure everything under a progress bar."""
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
    measures = {'camera': measure_camera, 'words': measure_words, 'start': measure_start}
    for name in BUNDLED:
        if name in options.sweeps:
            report.bundled[name] = measures[name](device, options)
    report.seconds = time.perf_counter() - began
    return report


def measure_case(
    methods: Mapping[str, Method],
    case: Case,
    inputs: Inputs,
    device: torch.device,
    options: Options,
    notes: list[str],
) -> list[Row]:
    """Let all methods take turns, each round beginning with another.

    ``notes`` gets a line for each one that does not fit into the memory.
    """
    labels: dict[str, Labels] = {}
    times: dict[str, list[float]] = {}
    memory: dict[str, int] = {}
    for name, method in methods.items():
        method.release()
        try:
            needed, free = method.needed_bytes(inputs), free_bytes(device)
            if needed > free:
                raise DeviceMemoryError(
                    f'needs about {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free'
                )
            first = partial(timed, device, partial(method.label, inputs))
            (labels[name], seconds), memory[name] = peak_growth(device, first)
        except (DeviceMemoryError, MemoryError, torch.OutOfMemoryError) as error:
            reason = str(error).partition('\n')[0].partition('. ')[0]
            notes.append(f'{case}: {name} left out: {reason}')
            continue
        times[name] = [seconds] if seconds > options.case_seconds else []
    turns, began = deque(name for name, found in times.items() if not found), time.perf_counter()
    for index in range(options.repeats):
        if index >= _LEAST_ROUNDS and time.perf_counter() - began > options.case_seconds:
            break
        for name in turns:
            times[name].append(timed(device, partial(methods[name].label, inputs))[1])
        turns.rotate(-1)
    rows = []
    for name, found in times.items():
        low, high = np.percentile(found, [25, 75])
        ratios = [a / b for a, b in zip(times.get('literal', []), found, strict=False)]
        alike: dict[str, Any] = {
            f'as_{other}': float(np.mean(labels[name] == labels[other]))
            for other in ('plain', 'literal')
            if other in labels
        }
        row = Row(
            **vars(case),
            method=name,
            ms=1e3 * statistics.median(found),
            spread_ms=1e3 * float(high - low),
            runs=len(found),
            memory_mb=(methods[name].weight_bytes + memory[name]) / 1e6,
            gflop=methods[name].operations(inputs) / 1e9,
            speed_up=statistics.median(ratios) if ratios else None,
            **alike,
        )
        rows.append(row)
    return rows


def timed(device: torch.device, work: Callable[[], T]) -> tuple[T, float]:
    """Do a piece of work; return its result, and its seconds until the device was idle again.

    On CUDA they are the device's own, between events around the work.
    """
    if device.type != 'cuda':
        began = time.perf_counter()
        return work(), time.perf_counter() - began
    torch.cuda.synchronize(device)
    with torch.cuda.device(device):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        result = work()
        end.record()
    torch.cuda.synchronize(device)
    return result, 1e-3 * start.elapsed_time(end)


def peak_growth(device: torch.device, work: Callable[[], T]) -> tuple[T, int]:
    """Do a piece of work; return its result, and by how many bytes memory in use grew at most.

    On CUDA it is what PyTorch's allocator takes from the device, with the pools of graphs; on a
    CPU this process's resident memory, looked at every millisecond.
    """
    if device.type == 'cuda':
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_reserved(device)
        return work(), torch.cuda.max_memory_reserved(device) - before
    process = psutil.Process()
    before = peak = process.memory_info().rss
    with ThreadPoolExecutor(1) as thread:
        call = thread.submit(work)
        while wait([call], timeout=0.001).not_done:
            peak = max(peak, process.memory_info().rss)
    return call.result(), peak - before


def free_bytes(device: torch.device) -> int:
    """Return how many bytes of the device's memory are free."""
    if device.type == 'cuda':
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    return int(psutil.virtual_memory().available)


def device_name(device: torch.device) -> str:
    """Return what a device is called; of a CPU also how many threads compute."""
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    about = Path('/proc/cpuinfo')
    found = re.search(r'model name\s*: (.*)', about.read_text('utf-8') if about.exists() else '')
    name = found[1].strip() if found else platform.machine()
    return f'{name}, {torch.get_num_threads()} threads'


def camera_frame() -> Image:
    """Return a photo of a table, ``(480, 640, 3)``; without scikit-image a seeded image."""
    try:
        from skimage import data
    except ImportError:
        return seeded_images(480, 640, 1)[0]
    photo: Image = data.coffee()  # type: ignore[no-untyped-call]
    return np.asarray(cv2.resize(photo, (640, 480), interpolation=cv2.INTER_AREA), np.uint8)


def measure_camera(device: torch.device, options: Options) -> list[Cells]:
    """Measure a frame at the model's own working size and at smaller ones, in turn."""
    load = partial(Segmenter.load, device=str(device), threshold=0.0, negatives=())
    segmenters = {'lean': load()}
    segmenters |= {f'lean, short side {side}': load(short_side=side) for side in SHORT_SIDES}
    segmenters['plain'] = load(precision='fp32', engine='plain')
    methods = {name: Ours(segmenter) for name, segmenter in segmenters.items()}
    vocabulary = Vocabulary.from_names(WORDS)
    embeddings = segmenters['lean'].encode(vocabulary).embeddings
    inputs = Inputs([camera_frame()], vocabulary, embeddings, torch.zeros(len(WORDS)))
    case = Case(
        480, 640, len(WORDS), prompts=segmenters['lean'].network.config.vision.prompt_tokens
    )
    rows = measure_case(methods, case, inputs, device, options, [])
    shown = ('method', 'frame to labels [ms]', 'spread [ms]', 'memory [MB]', 'as plain [%]')
    return [
        {title: row.cells()[title] for title in shown} | {'frames a second': 1e3 / row.ms}
        for row in rows
    ]


def measure_words(device: torch.device, options: Options) -> list[Cells]:
    """Change the words of the bundled model, with and without frames beside."""
    segmenter, frame, repeats = Segmenter.load(device=str(device)), camera_frame(), options.repeats
    names = iter(class_names((2 * repeats + 1) * _NEW_WORDS))  # Each word is in one vocabulary.
    first, *others = map(Vocabulary.from_names, zip(*[names] * _NEW_WORDS, strict=True))
    words, ends = segmenter.encode(first), []

    def encode(vocabulary: Vocabulary) -> float:
        # As on a CPU, since it must not wait for the frames.
        return 1e3 * timed(torch.device('cpu'), partial(segmenter.encode, vocabulary))[1]

    def label_a_frame() -> None:
        segmenter.segment(frame, words)
        ends.append(1e3 * time.perf_counter())

    alone = [encode(vocabulary) for vocabulary in others[:repeats]]
    known = [encode(first) for _ in range(repeats)]
    for _ in range(1 + _AT_REST):
        label_a_frame()
    with ThreadPoolExecutor(1) as thread:
        beside = []
        for vocabulary in others[repeats:]:
            change = thread.submit(encode, vocabulary)
            while not change.done():
                label_a_frame()
            beside.append(change.result())
    intervals = [end - start for start, end in pairwise(ends)]
    at_rest, longest = statistics.median(intervals[:_AT_REST]), max(intervals[_AT_REST:])
    head = (
        f'{_NEW_WORDS} words',
        'until they are ready [ms]',
        'between two labels at rest [ms]',
        'longest beside a change [ms]',
    )
    rows = (
        ('new, beside frames', statistics.median(beside), at_rest, longest),
        ('new, no frames', statistics.median(alone), None, None),
        ('known, no frames', statistics.median(known), None, None),
    )
    return [dict(zip(head, row, strict=True)) for row in rows]


def measure_start(device: torch.device, options: Options) -> list[Cells]:
    """Start processes that load the bundled model and label an image, one after the other."""
    found = []
    # Three are enough.
    for _ in range(min(options.repeats, 3)):
        command = [sys.executable, '-c', _START, str(device), repr(time.monotonic())]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ['no reason given'])[-1]
            raise ConfigError(f'Expected a process to label a frame, but got: {reason}')
        found.append(json.loads(done.stdout.splitlines()[-1]))
    imported, labelled = (statistics.median(times) for times in zip(*found, strict=True))
    head = ('from the start of the process to', 'seconds')
    rows = (('the end of the imports', imported), ('the first label', labelled))
    return [dict(zip(head, row, strict=True)) for row in rows]

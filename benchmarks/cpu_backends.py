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
"""Backends on a CPU side by side, with all its instructions and with AVX2 alone, emulated.

Two models: the published shape with seeded weights at 512x512 and 20 words, the literal pipeline
beside it, and ``everyday-s`` on a photo at its own size with eight words. All sides take turns in
one process. ``--scores`` scores ``everyday-s`` on CamVid and on a quarter of PASCAL VOC instead,
which takes an hour on two cores and no quiet machine. Run it by
``python -m benchmarks.cpu_backends``; ``docs/performance.md`` has the figures.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
import gc
import json
from pathlib import Path
import platform
import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks.cpu_sides import (
    Calibration,
    emulated_avx2,
    is_emulated,
    make_engine,
    SIDES,
)
from benchmarks.reports import write_docs, write_json
import numpy as np
import numpy.typing as npt
from tabulate import tabulate
import torch
from zegclip_core.data.datasets import open_dataset
from zegclip_core.errors import ZegCLIPError
from zegclip_core.evaluation.evaluate import evaluate
from zegclip_core.images.media import media_in, read_image
from zegclip_core.options import SegmenterOptions
from zegclip_core.segmenter import Segmenter
from zegclip_core.speed.bundled import camera_frame, WORDS
from zegclip_core.speed.inputs import (
    Bundle,
    Inputs,
    load_bundle,
    seeded_bundle,
    seeded_images,
)
from zegclip_core.speed.methods import Literal
from zegclip_core.speed.report import Case
from zegclip_core.speed.timing import device_name, peak_growth
from zegclip_core.text.vocabulary import Vocabulary

PAGE = Path(__file__).resolve().parents[1] / 'docs' / 'performance.md'
CASES = ('vit', 'everyday-s')
ISAS = ('native', 'avx2')
ROUNDS = {'vit': 5, 'everyday-s': 11}
SECONDS = 75.0
"""After so long no further round of a case begins, unless there were fewer than three."""
CALIBRATED_ON = 16
"""Pictures."""
DATASETS = {'CamVid': ('folder', 'camvid', 1), 'VOC': ('voc12', 'voc2012', 4)}
"""Kind and folder of what is scored, and every how many-th picture of its val."""
_CPU = torch.device('cpu')

Labels = npt.NDArray[np.integer[Any]]


@dataclass
class Side:
    """One way to label, and what was measured of it; ``reason`` says why nothing was."""

    name: str
    label: Callable[[], Labels] | None = None
    memory_mb: float = 0.0
    reason: str = ''


def bundle_of(case: str) -> Bundle:
    """Return the model of a case."""
    return seeded_bundle(Case().prompts) if case == 'vit' else load_bundle(case)


def calibration_of(case: str, options: argparse.Namespace) -> Calibration:
    """Return what eight bits are calibrated with."""
    short_side = bundle_of(case).checkpoint.settings.short_side
    images = seeded_images(512, 512, CALIBRATED_ON)
    if case != 'vit':
        paths = media_in(options.calibrate)
        images = [read_image(path) for path in paths[:: max(1, len(paths) // CALIBRATED_ON)]]
    return Calibration(images[:CALIBRATED_ON], short_side, options.artefacts)


def inputs_of(case: str, bundle: Bundle) -> Inputs:
    """Return the frame and the words of a case."""
    if case == 'vit':
        return bundle.inputs(Case())
    vocabulary = Vocabulary.from_names(WORDS)
    embeddings = bundle.encoder.encode_classes([(word,) for word in WORDS])
    return Inputs([camera_frame()], vocabulary, embeddings, torch.zeros(len(WORDS)))


def segmenter_of(
    side: str, bundle: Bundle, calibration: Calibration, short_side: int | None = None
) -> Segmenter:
    """Return a segmenter with the engine of a side; ``None`` is the model's own size."""
    options = SegmenterOptions(device='cpu', precision='fp32', engine='plain', backend='torch')
    options = replace(options, threshold=0.0, negatives=(), short_side=short_side)
    segmenter = Segmenter(bundle.loaded(), options)
    segmenter.engine = make_engine(side, segmenter.network, calibration)
    return segmenter


def note(side: str, options: argparse.Namespace) -> None:
    """Write which side is at work beside the figures: a crash leaves nothing else."""
    if options.json is not None:
        options.json.with_suffix('.side').write_text(side, encoding='utf-8')


def build(side: str, bundle: Bundle, inputs: Inputs, calibration: Calibration) -> Side:
    """Make a side and label once; what it cannot do becomes its reason."""
    made = Side(side)

    def first() -> Callable[[], Labels]:
        if side == 'literal':
            literal = Literal(bundle, _CPU)
            label = lambda: literal.label(inputs)[0]  # noqa: E731
        else:
            segmenter = segmenter_of(side, bundle, calibration)
            words = segmenter.encode(inputs.vocabulary)
            label = lambda: segmenter.segment(inputs.images[0], words).labels  # noqa: E731
        label()
        return label

    try:
        made.label, growth = peak_growth(_CPU, first)
        made.memory_mb = growth / 1e6
    # A library that is missing, or what it cannot do, each with an error of its own.
    except Exception as error:
        text = str(error).strip().splitlines() or [type(error).__name__]
        made.reason = text[0][:100]
    gc.collect()
    return made


def measure(case: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the rows of a case: all sides in turn, each round beginning with another."""
    bundle, calibration = bundle_of(case), calibration_of(case, options)
    inputs = inputs_of(case, bundle)
    wanted = [*(('literal',) if case == 'vit' else ()), *options.sides]
    sides = []
    for name in wanted:
        note(name, options)
        sides.append(build(name, bundle, inputs, calibration))
    running = [side for side in sides if side.label is not None]
    times: dict[str, list[float]] = {side.name: [] for side in running}
    labels: dict[str, Labels] = {}
    began = time.monotonic()
    for turn in range(options.rounds or ROUNDS[case]):
        if turn >= 3 and time.monotonic() - began > SECONDS:
            break
        start = turn % len(running)
        for side in running[start:] + running[:start]:
            note(side.name, options)
            before = time.perf_counter()
            labels[side.name] = side.label()  # type: ignore[misc] # These have one.
            times[side.name].append(time.perf_counter() - before)
    return [row(side, times, labels) for side in sides]


def row(side: Side, times: dict[str, list[float]], labels: dict[str, Labels]) -> dict[str, Any]:
    """Return what is said of a side."""
    if side.name not in times:
        return {'method': side.name, 'reason': side.reason}

    def over(base: str) -> float | None:
        if base not in times:
            return None
        ratios = [a / b for a, b in zip(times[base], times[side.name], strict=True)]
        return statistics.median(ratios)

    agreement = None
    if 'plain fp32' in labels:
        agreement = float(np.mean(labels[side.name] == labels['plain fp32']))
    return {
        'method': side.name,
        'ms': 1e3 * statistics.median(times[side.name]),
        'runs': len(times[side.name]),
        'memory_mb': side.memory_mb,
        'as_plain': agreement,
        'over_literal': over('literal'),
        'over_torch': over('torch fp32'),
    }


def in_process(case: str, isa: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure a case in a process of its own, which sees these instructions alone.

    A side that ends the process has that as its reason, and the others begin anew without it.
    """
    folder = options.artefacts.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    environment = emulated_avx2(folder) if isa == 'avx2' else None
    out = folder / f'{case}-{isa}.json'
    known = out.with_suffix('.side')
    for old in (out, known):
        old.unlink(missing_ok=True)
    command = [sys.executable, '-m', 'benchmarks.cpu_backends', '--case', case, '--json', out]
    command += ['--calibrate', options.calibrate, '--artefacts', folder]
    command += ['--rounds', options.rounds, '--sides']
    sides, lost = list(options.sides), dict[str, dict[str, Any]]()
    while code := _code_of([*command, ','.join(sides)], environment):
        side = known.read_text(encoding='utf-8') if known.exists() else ''
        known.unlink(missing_ok=True)
        reason = f'the process ended with {code}'
        if sides == [side] or side not in sides:
            return [*lost.values(), {'method': side or 'all', 'reason': reason}]
        lost[side] = {'method': side, 'reason': reason}
        sides.remove(side)
    found = {row['method']: row for row in json.loads(out.read_text(encoding='utf-8'))} | lost
    return [found[side] for side in ('literal', *options.sides) if side in found]


def _code_of(command: Sequence[object], environment: dict[str, str] | None) -> int:
    """Run a command; return its exit code, negative for a signal."""
    return subprocess.run(list(map(str, command)), env=environment, check=False).returncode


def score(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return the mIoU of ``everyday-s`` in percent, by side and dataset.

    What the file has of other sides stays in it. Sides with AVX2 alone have a name of their own.
    """
    bundle, calibration = bundle_of('everyday-s'), calibration_of('everyday-s', options)
    found: dict[str, dict[str, float]] = {}
    if options.scores.exists():
        found = json.loads(options.scores.read_text(encoding='utf-8'))
    for side in options.sides:
        try:
            segmenter = segmenter_of(side, bundle, calibration, options.short_side)
        except ZegCLIPError as error:
            print(f'{side}: {error}', file=sys.stderr)
            continue
        known = known_as(side, is_emulated())
        if options.short_side is not None:
            known = f'{known} {options.short_side}'
        for name, (kind, folder, step) in DATASETS.items():
            dataset = open_dataset(options.data / folder, kind, 'val')
            result = evaluate(segmenter, dataset, range(0, len(dataset), step))
            found.setdefault(known, {})[name] = 100.0 * result.metrics.miou
            write_json(options.scores, found)
    return found


def known_as(side: str, emulated: bool) -> str:
    """Return the name of a side's scores: eight bits add up differently with AVX2 alone."""
    return f'{side} avx2' if emulated and 'int8' in side else side


def table(
    rows: Sequence[dict[str, Any]],
    scores: dict[str, dict[str, float]] | None,
    emulated: bool = False,
) -> str:
    """Return a table of rows in the style of the page."""

    def shown(value: float | None, text: str) -> str:
        return '-' if value is None else format(value, text)

    cells = []
    for each in rows:
        name = each['method']
        if 'reason' in each:
            cells.append({'method': name, 'frame to labels [ms]': each['reason']})
            continue
        found = {
            'method': name,
            'frame to labels [ms]': shown(each['ms'], '.0f'),
            'runs': each['runs'],
            'memory [MB]': shown(each['memory_mb'], '.0f'),
            'as plain [%]': shown(100 * each['as_plain'], '.2f') if each['as_plain'] else '-',
            'over literal': shown(each['over_literal'], '.2f'),
            'over torch fp32': shown(each['over_torch'], '.2f'),
        }
        for dataset in DATASETS if scores is not None else ():
            found[f'mIoU {dataset}'] = shown(
                (scores or {}).get(known_as(name, emulated), {}).get(dataset), '.2f'
            )
        cells.append(found)
    if all(cell.get('over literal', '-') == '-' for cell in cells):
        cells = [{k: v for k, v in cell.items() if k != 'over literal'} for cell in cells]
    return tabulate(cells, 'keys', 'github', disable_numparse=True, missingval='')


def page_text(found: dict[str, list[dict[str, Any]]], scores: dict[str, dict[str, float]]) -> str:
    """Return the tables of all cases, by ``CASE ISA``, with what was measured below."""
    titles = {
        'vit': "CLIP's ViT-B/16, seeded, 512x512, 20 words",
        'everyday-s': '`everyday-s`, 640x480 at its own size, eight words',
        'native': 'all instructions of this processor',
        'avx2': 'AVX2 alone, emulated',
    }
    parts = []
    for key, rows in found.items():
        case, isa = key.split()
        parts.append(f'{titles[case]}; {titles[isa]}:')
        parts.append(table(rows, scores if case == 'everyday-s' else None, isa == 'avx2'))
    versions = f'Python {platform.python_version()}, PyTorch {torch.__version__}'
    return '\n\n'.join([*parts, f'({date.today()}, {device_name(_CPU)}, {versions})'])


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.cpu_backends', description=__doc__)
    add, data = parser.add_argument, Path('data')
    add('--case', choices=CASES, help='measure this in this process, with its instructions')
    add('--sides', type=lambda text: text.split(','), default=list(SIDES), help='all by default')
    add('--isas', type=lambda text: text.split(','), default=list(ISAS), help='all by default')
    add('--rounds', type=int, default=0, help='of each case (default: 5 and 11)')
    add('--calibrate', type=Path, default=data / 'coco128' / 'images' / 'train', metavar='DIR')
    add('--data', type=Path, default=data, metavar='DIR', help='where the datasets lie')
    add('--artefacts', type=Path, default=Path('runs') / 'cpu_backends', metavar='DIR')
    add('--scores', type=Path, metavar='FILE', help='score everyday-s, and write it there')
    add('--short-side', type=int, metavar='PIXELS', help="score at this size, not the model's")
    add('--known-scores', type=Path, metavar='FILE', help='put these beside the times')
    add('--json', type=Path, metavar='FILE', help='write the figures there')
    add('--write-docs', action='store_true', help=f'put the tables into {PAGE.name}')
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure or score; return the exit code."""
    options = build_parser().parse_args(arguments)
    if options.scores is not None and options.isas == ['avx2'] and not is_emulated():
        options.artefacts.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, '-m', 'benchmarks.cpu_backends', *(arguments or sys.argv[1:])]
        return _code_of(command, emulated_avx2(options.artefacts.resolve()))
    if options.scores is not None:
        print(json.dumps(score(options), indent=1))
        return 0
    if options.case is not None:
        rows = measure(options.case, options)
        print(table(rows, None))
        if options.json is not None:
            write_json(options.json, rows)
        return 0
    found = {
        f'{case} {isa}': in_process(case, isa, options) for case in CASES for isa in options.isas
    }
    known = options.known_scores
    scores = {} if known is None else json.loads(known.read_text(encoding='utf-8'))
    text = page_text(found, scores)
    print(text)
    if options.json is not None:
        write_json(options.json, {'figures': found, 'scores': scores})
    if options.write_docs:
        write_docs('cpu-backends', text, PAGE)
    return 0


if __name__ == '__main__':
    sys.exit(main())

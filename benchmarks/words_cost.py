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
"""What more words cost: time and memory of a frame against their number, one way beside another.

All ways have one tower, a ViT-B/16 with seeded weights, in float32, and take turns in one run; SAM
3's figures are published ones, of another machine. Run it by
``python -m benchmarks.words_cost --write-docs``; ``docs/performance.md`` has the figures, and the
README the chart.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from functools import partial
import math
from pathlib import Path
import sys

from benchmarks.reports import report, write_docs
from matplotlib.axes import Axes
from matplotlib.figure import Figure
import torch
from tqdm import tqdm
from zegclip_core.devices import pick_device
from zegclip_core.loading import LoadedModel, SHORT_SIDE
from zegclip_core.model.training_free import TrainingFreeCLIP, TrainingFreeConfig
from zegclip_core.options import Mode, SegmenterOptions
from zegclip_core.segmenter import Segmenter
from zegclip_core.speed.inputs import Bundle, Inputs, seeded_bundle
from zegclip_core.speed.methods import build_method, Method, Ours
from zegclip_core.speed.report import Case, Cells, Report, Row, table_text
from zegclip_core.speed.timing import device_name
from zegclip_core.speed.turns import Turns
from zegclip_core.weights.checkpoint import ModelSettings

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs' / 'performance.md'
README = ROOT / 'README.md'
CHART = ROOT / 'docs' / 'images' / 'words-cost.png'
COUNTS = (1, 4, 16, 64, 256, 1000)
SHORT = (1, 64, 1000)
"""Numbers of words of a run that is to show that all works."""
WINDOW = 224
"""Side of the windows of NACLIP's release; its step is half of it [px]."""
TITLES = {
    'lean_fp32': 'ours, trained (ZegCLIP): one pass at 512 px',
    'clip': 'ours, CLIP without training: one pass at 336 px',
    'naclip': "NACLIP's published way: windows of 224 px, step 112, at 336 px",
    'two_stage': 'two stages: 100 masked crops through CLIP, masks for free',
}
PUBLISHED = {1: 154.6, 2: 183.3, 4: 305.6}
"""SAM 3's time of a frame by the number of prompts [ms]."""
SOURCE = 'https://github.com/open-navigation/opennav_amd_semantic_navigation'
ELSEWHERE = 'SAM 3, published (not measured here): GPU of an AMD Strix Halo, 504 px'


class TrainingFree(Ours):
    """CLIP without training; its operations are not counted."""

    def operations(self, inputs: Inputs) -> int:  # noqa: D102
        return 0


def training_free(bundle: Bundle, device: torch.device, mode: Mode) -> Method:
    """Return CLIP without training on the tower of a bundle, as NACLIP attends.

    Args:
        bundle: What all ways share.
        device: Where it computes.
        mode: ``slide`` is the published way, on the plain path; ``whole`` is ours, on the lean.
    """
    vision = replace(
        bundle.checkpoint.config.vision,
        prompt_tokens=0,
        prompt_norm=False,
        class_embedding_twice=False,
    )
    network = TrainingFreeCLIP(TrainingFreeConfig(vision)).eval()
    weights = {
        name: value
        for name, value in bundle.checkpoint.state_dict.items()
        if name.startswith('visual.') and 'prompt' not in name
    }
    network.load_state_dict(weights)
    settings = ModelSettings(short_side=SHORT_SIDE, crop=WINDOW, stride=WINDOW // 2)
    options = SegmenterOptions(
        device=str(device),
        precision='fp32',
        engine='plain' if mode == 'slide' else 'lean',
        mode=mode,
        threshold=0.0,
        negatives=(),
    )
    return TrainingFree(
        Segmenter(LoadedModel('seeded CLIP', network, bundle.encoder, settings), options)
    )


def build(bundle: Bundle, device: torch.device) -> dict[str, Method]:
    """Return all ways by name."""
    return {
        'lean_fp32': build_method('lean_fp32', bundle, device),
        'clip': training_free(bundle, device, 'whole'),
        'naclip': training_free(bundle, device, 'slide'),
        'two_stage': build_method('two_stage', bundle, device),
    }


def measure(
    counts: Sequence[int], repeats: int, device: torch.device, *, slow_counts: Sequence[int]
) -> list[Row]:
    """Measure every way with every number of words, the ways in turn.

    Args:
        counts: Numbers of words.
        repeats: Calls of each way that count, after one that does not; of two stages the first
            one counts, as one takes as long as twenty of the others.
        device: Where.
        slow_counts: Those for which two stages are measured.

    Raises:
        RuntimeError: If one cannot be measured, with the reason.
    """
    bundle = seeded_bundle(Case().prompts)
    methods = build(bundle, device)
    about = Report(device_name(device), device.type, bundle.name, '', Case())
    rows: list[Row] = []
    for count in tqdm(counts, unit='count'):
        case = Case(classes=count)
        turns = Turns(methods, case, bundle.inputs(case), device, about)
        quick = [name for name in methods if name != 'two_stage']
        rows += turns.measure(quick, repeats=repeats)
        if count in slow_counts:
            rows += turns.measure(['two_stage'], repeats=0)
        if about.errors or about.notes:
            raise RuntimeError('; '.join([*about.errors, *about.notes]))
    return rows


def draw(rows: Sequence[Row], device: str, remark: str = '') -> Figure:
    """Return time and memory against the number of words, both on axes from the least to most.

    Args:
        rows: What was measured.
        device: Its name.
        remark: What has to be known of the run, in the title.
    """
    figure = Figure(figsize=(12.0, 5.4), layout='constrained')
    time, memory = figure.subplots(1, 2)
    for name, title in TITLES.items():
        own = [row for row in rows if row.method == name]
        counts = [row.classes for row in own]
        style = {'marker': 'o', 'label': title}
        time.plot(counts, [row.ms for row in own], **style)
        memory.plot(counts, [row.memory_mb for row in own], **style)
    time.plot(*zip(*PUBLISHED.items(), strict=True), 'k^--', mfc='none', label=ELSEWHERE)
    _name(time, 'time of a 512x512 frame [ms]')
    _name(memory, 'memory with weights [MB]')
    about = f'ViT-B/16 in float32 on {device}'
    figure.suptitle('\n'.join(filter(None, [about, remark])), fontsize=11)
    figure.legend(
        *time.get_legend_handles_labels(), loc='outside lower center', fontsize=9, ncols=2
    )
    return figure


def _name(axes: Axes, title: str) -> None:
    """Give a panel its axes, both logarithmic."""
    axes.set(xscale='log', yscale='log', xlabel='words', ylabel=title)
    axes.set_xticks(COUNTS, labels=[str(count) for count in COUNTS])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    low, high = (math.log10(limit) for limit in axes.get_ylim())
    # Whole decades, so that a slope is not made steeper by the room that is left.
    axes.set_ylim(10.0 ** math.floor(low), 10.0 ** math.ceil(high))
    axes.yaxis.set_major_formatter('{x:,.0f}')


def page_text(rows: Sequence[Row], device: str, remark: str = '') -> str:
    """Return the table of the page, with the device's name below."""
    one = {row.method: row for row in rows if row.classes == min(r.classes for r in rows)}
    cells: list[Cells] = [
        {
            'way': row.method,
            'words': str(row.classes),
            'frame to labels [ms]': f'{row.ms:.0f}',
            'of one word': f'{row.ms / one[row.method].ms:.2f}',
            'memory [MB]': f'{row.memory_mb:.0f}',
            'runs': str(row.runs),
        }
        for name in TITLES
        for row in rows
        if row.method == name
    ]
    named = '\n'.join(f'- `{name}`: {title}.' for name, title in TITLES.items())
    foot = '. '.join(filter(None, [f'({device}, {date.today()}', remark])) + ')'
    return f'{table_text(cells, "github")}\n\n{foot}\n\n{named}'


def readme_text(rows: Sequence[Row], device: str, remark: str = '') -> str:
    """Return what the README says of the chart: how time grows with the words."""
    own = {
        name: sorted((row for row in rows if row.method == name), key=lambda row: row.classes)
        for name in ('lean_fp32', 'naclip')
    }
    grown = {name: found[-1].ms / found[0].ms for name, found in own.items()}
    most = own['lean_fp32'][-1].classes
    alt = 'Time and memory of a frame against the number of words, beside other ways'
    link = f'![{alt}]({CHART.relative_to(ROOT).as_posix()})'
    note = f' {remark}.' if remark else ''
    ours, theirs = grown['lean_fp32'], grown['naclip']
    return (
        f'{link}\n\n*With {most} words a frame takes {ours:.2f} times as long as with one, by '
        f"NACLIP's windows {theirs:.2f} times ({device};\n[more, and what SAM 3 publishes]"
        f'(docs/performance.md#what-more-words-cost)).{note}*'
    )


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.words_cost', description=__doc__)
    add = parser.add_argument
    add('--device', default='auto', help='auto, cpu, cuda or cuda:N (default: %(default)s)')
    add('--repeats', type=int, default=3, metavar='N', help='calls that count (default: 3)')
    add('--short', action='store_true', help='three numbers of words, one call: minutes less')
    add('--picture', type=Path, metavar='FILE', help='also draw the chart there')
    add('--write-docs', action='store_true', help=f'fill {PAGE.name}, README and {CHART.name}')
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; return the exit code.

    Args:
        arguments: Those of the command line; ``None`` takes those of the process.
    """
    options = build_parser().parse_args(arguments)
    pictures = [options.picture, CHART if options.write_docs else None]
    return report(
        'words-cost', partial(_measured, options, pictures), PAGE, write=options.write_docs
    )


def _measured(options: argparse.Namespace, pictures: Sequence[Path | None]) -> str:
    """Measure, draw the chart, and return the table."""
    device = pick_device(options.device)
    counts: Sequence[int] = COUNTS
    remark = ''
    if options.short:
        counts = SHORT
        remark = 'SHORT RUN on a busy machine: one call each, to be measured again'
    repeats = 1 if options.short else options.repeats
    rows = measure(counts, repeats, device, slow_counts=counts[:1] if options.short else counts)
    for path in filter(None, pictures):
        draw(rows, device_name(device), remark).savefig(path, dpi=110)
    if options.write_docs:
        write_docs('words-chart', readme_text(rows, device_name(device), remark), README)
    return page_text(rows, device_name(device), remark)


if __name__ == '__main__':
    sys.exit(main())

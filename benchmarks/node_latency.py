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
"""How much latency the node adds to that of its model, over real DDS, and where it comes from.

Run it by ``python -m benchmarks.node_latency`` or ``make bench-node``; ``docs/performance.md``
says what comes of it.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
import sys
from typing import Any

from benchmarks.node_case import Case, run_case, TRANSPORTS
from benchmarks.node_process import ROOT
from benchmarks.node_tables import (
    latency_table,
    model_table,
    slow_picture,
    slow_table,
    stages_table,
    words_table,
)
from benchmarks.reports import setting, write_docs, write_json
from zegclip_ros.runtime.child_processes import interruptible

PAGE = ROOT / 'docs' / 'performance.md'
PICTURE = ROOT / 'docs' / 'images' / 'slow_model.png'
PARTS = ('latency', 'words')
RELIABILITIES = ('reliable', 'best_effort')
Results = dict[str, list[dict[str, Any]]]


def size(text: str) -> tuple[int, int]:
    """Return width and height of a size such as 640x480.

    Raises:
        ValueError: If it is none; argparse makes a usage error of it.
    """
    width, height = (int(part) for part in text.split('x'))
    if width < 4 or height < 1:
        raise ValueError(f'Expected a size of at least 4x1, but got {text}.')
    return width, height


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.node_latency',
        description='Measure the latency that the node adds, with camera and receiver over DDS.',
    )
    add = parser.add_argument
    results = Path('runs/node_latency/results.json')
    add('--out', type=Path, default=results, help='file of figures; logs go beside it')
    add('--parts', nargs='*', choices=PARTS, default=PARTS, help='what to measure beside')
    add('--slow', action='store_true', help='a model slower than the camera, for --minutes')
    add('--minutes', type=float, default=10.0, help='time of the slow part [min]')
    add('--model', default='', help='also measure with this model, e.g. everyday-s')
    add('--sizes', nargs='+', type=size, default=[(640, 480), (1920, 1080)], help='WxH [px]')
    add('--transports', nargs='+', choices=TRANSPORTS, default=TRANSPORTS, help='which of them')
    add('--reliability', nargs='+', choices=RELIABILITIES, default=RELIABILITIES, help='offered')
    add('--seconds', type=float, default=20.0, help='time to measure a case [s]')
    add('--cost', type=float, default=0.005, help='time of the stand-in for a frame [s]')
    add('--write-docs', action='store_true', help='put the tables into docs/performance.md')
    return parser


def cases(options: argparse.Namespace) -> dict[str, list[Case]]:
    """Return what is to be measured, by part."""
    sizes = [
        Case(width=width, height=height, seconds=options.seconds, cost=options.cost)
        for width, height in options.sizes
    ]
    todo: dict[str, list[Case]] = {}
    if 'latency' in options.parts:
        todo['latency'] = [
            replace(case, transport=transport, reliability=reliability)
            for case in sizes
            for transport in options.transports
            for reliability in options.reliability
        ]
    if 'words' in options.parts:
        todo['words'] = [replace(case, change_every=2.0) for case in sizes]
    if options.slow:
        todo['slow'] = [replace(sizes[0], cost=0.1, seconds=60.0 * options.minutes)]
    if options.model:
        # Longer, since a model on the CPU labels one or two frames a second.
        real = [replace(case, model=options.model, seconds=3 * case.seconds) for case in sizes]
        todo['model'] = real
        todo['model words'] = [replace(real[0], change_every=4.0)]
    return todo


def measure(todo: dict[str, list[Case]], folder: Path, say: Callable[[str], object]) -> Results:
    """Run all cases, one after the other."""
    found: Results = {}
    for part, entries in todo.items():
        for case in entries:
            say(f'{part}: {case.name}, {case.seconds:g} s')
            result = run_case(case, folder / part.replace(' ', '_'), 300.0 if case.model else 30.0)
            say(f'  {short(result)}')
            found.setdefault(part, []).append(result)
    return found


def short(result: dict[str, Any]) -> str:
    """Return a case's result in one line."""
    if result['problem']:
        return str(result['problem'])
    added = result['added [ms]'] or {'p50': float('nan')}
    return (
        f'added p50 {added["p50"]:.1f} ms; received {result["received"]} of {result["sent"]}; '
        f'stale {result["stale"]["count"]}; wrong labels {result["wrong labels"]}; '
        f'starts {result["starts"]}'
    )


def tables(found: Results) -> dict[str, str]:
    """Return the tables, by the name of their place in the page."""
    texts: dict[str, str] = {}
    if 'latency' in found:
        texts['latency'] = latency_table(found['latency'])
        texts['stages'] = stages_table(
            [entry for entry in found['latency'] if entry['case']['reliability'] == 'reliable']
            or found['latency']
        )
    words = [*found.get('words', []), *found.get('model words', [])]
    if words:
        texts['words'] = words_table(words)
    if 'slow' in found:
        texts['slow'] = slow_table(found['slow'][0])
    if 'model' in found:
        texts['model'] = model_table(found['model'])
    return {name: f'{text}\n\n({setting()})' for name, text in texts.items()}


def fill(found: Results) -> None:
    """Put the tables, and the picture of the slow part, into the page."""
    texts = tables(found)
    if 'slow' in found:
        slow_picture(found['slow'][0], PICTURE)
        texts['slow'] += f'\n\n![Added latency over time](images/{PICTURE.name})'
    for name, text in texts.items():
        write_docs(name, text, PAGE)


def clean(found: Results) -> bool:
    """Return whether no process died, no frame was stale and no label was wrong."""
    results = [result for entries in found.values() for result in entries]
    return all(
        result['problem'] in (None, 'nothing was received')
        and result['stale']['count'] == 0
        and result['wrong labels'] in (0, None)
        for result in results
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 0 if the node did nothing wrong, however long it took."""
    options = build_parser().parse_args(arguments)
    try:
        with interruptible():
            found = measure(
                cases(options), options.out.parent, lambda text: print(text, flush=True)
            )
    except KeyboardInterrupt:
        print('Interrupted; all processes have ended.', file=sys.stderr)
        return 130
    write_json(options.out, {'setting': setting(), 'parts': found})
    if 'slow' in found:
        slow_picture(found['slow'][0], options.out.parent / PICTURE.name)
    for name, text in tables(found).items():
        print(f'\n## {name}\n\n{text}')
    if options.write_docs:
        fill(found)
    print(f'\nFigures: {options.out}')
    return 0 if clean(found) else 1


if __name__ == '__main__':
    sys.exit(main())

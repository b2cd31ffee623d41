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
"""The first ten minutes on a GPU: does all agree, do the tests pass, how fast is it, what runs.

``make gpu PYTHON=python3`` or ``python3 -m benchmarks.gpu`` in the repository's folder. It
installs nothing: it takes the PyTorch that the Python has, and what else is missing from a folder
of wheels if there is one (``make gpu-bundle``). Four stages, each a process of its own with a time
limit, write every result to ``runs/gpu/STAGE.jsonl`` as it comes; a stage that fails or is late
does not end the others. This file needs Python alone.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any

from benchmarks.gpu_packages import unpack
from benchmarks.gpu_summary import fill_page, summary

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / 'runs' / 'gpu'
WHEELS = ROOT / 'runs' / 'gpu-wheels'
"""Where ``make gpu-bundle`` puts what a machine may lack."""
_MARK = 'mark.gpu'


@dataclass(frozen=True)
class Stage:
    """A part of the run."""

    name: str
    share: float
    """Of the minutes of the whole; what a stage leaves is for those after it."""


STAGES = (
    Stage('checks', 0.25),
    Stage('tests', 0.2),
    Stage('speed', 0.45),
    Stage('profile', 0.1),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stages, print and write the summary; returns 1 if anything failed, else 0."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.read and not args.out.is_dir():
        parser.error(f'expected --out to be a folder of results, but {args.out} is none')
    if not args.minutes > 0.0:
        parser.error(f'expected more than 0 minutes, but got {args.minutes}')
    if not args.read:
        measure(args)
    text = summary(args.out)
    (args.out / 'summary.md').write_text(text, encoding='utf-8')
    print(text)
    if args.write_docs:
        sys.path.append(str(args.out / 'packages'))
        fill_page(args.out, text)
    return 1 if '**failed**' in text else 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.gpu', description=__doc__)
    names = [stage.name for stage in STAGES]
    add = parser.add_argument
    add('--device', default='cuda', help='cuda, cuda:N, or cpu for a dry run (default: cuda)')
    add('--quick', action='store_true', help='one case and one call, as for a dry run')
    add('--minutes', type=float, default=10.0, metavar='M', help='for all (default: 10)')
    add('--stages', nargs='+', choices=names, default=names, metavar='NAME', help='these alone')
    add('--model', help='a model with weights under the published names in place of a seeded one')
    add('--out', type=Path, default=OUT, metavar='DIR', help='where the results go')
    add(
        '--wheels', type=Path, default=WHEELS, metavar='DIR', help='wheels to take what lacks from'
    )
    add('--read', action='store_true', help='measure nothing: summarise what lies in --out')
    add('--write-docs', action='store_true', help='also fill docs/performance.md')
    return parser


def measure(args: argparse.Namespace) -> None:
    """Run the stages, one after the other."""
    args.out = args.out.absolute()
    args.out.mkdir(parents=True, exist_ok=True)
    for stage in args.stages:
        for old in args.out.glob(f'{stage}.*'):
            old.unlink()
    if args.wheels.is_dir():
        unpack(args.wheels, args.out / 'packages')
    end, began = 0.0, time.monotonic()
    for stage in STAGES:
        end += 60.0 * args.minutes * stage.share
        if stage.name not in args.stages:
            continue
        parts = gpu_test_files() if stage.name == 'tests' else [None]
        for part in parts:
            seconds = max(end - (time.monotonic() - began), 1.0)
            named = stage.name if part is None else f'{stage.name}: {part}'
            print(f'==> {named}, {seconds:.0f} s at most', file=sys.stderr)
            command = stage_command(args, stage.name, part, seconds)
            reason = run_process(command, args.out / f'{stage.name}.log', seconds)
            if reason:
                line = {'check': part or 'the whole stage', 'ok': False, 'reason': reason}
                with (args.out / f'{stage.name}.jsonl').open('a', encoding='utf-8') as file:
                    file.write(json.dumps(line) + '\n')


def stage_command(
    args: argparse.Namespace, stage: str, part: str | None, seconds: float
) -> list[str]:
    """Return the command of a stage's process."""
    options: dict[str, Any] = {
        '--device': args.device,
        '--out': args.out,
        '--seconds': seconds,
        '--model': args.model,
        '--part': part,
    }
    command = [sys.executable, '-m', 'benchmarks.gpu_stages', stage]
    command += [str(each) for pair in options.items() if pair[1] is not None for each in pair]
    return [*command, *(['--quick'] if args.quick else [])]


def run_process(command: Sequence[str], log: Path, seconds: float) -> str:
    """Run a process in a group of its own, and end it when its time is over.

    Returns:
        Why it did not end well; empty if it did.
    """
    with log.open('a', encoding='utf-8') as file:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return f'ended after its {seconds:.0f} s'
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if code == 0:
        return ''
    lines = log.read_text('utf-8', errors='replace').strip().splitlines() or ['no reason given']
    return f'exit code {code}: {lines[-1]}'


def gpu_test_files() -> list[str]:
    """Return the test files that have tests for a GPU, relative to the repository."""

    def found() -> Iterator[str]:
        for path in sorted((ROOT / 'test').rglob('test_*.py')):
            if any(
                _MARK in line and not line.lstrip().startswith('#')
                for line in path.read_text('utf-8').splitlines()
            ):
                yield path.relative_to(ROOT).as_posix()

    return list(found())


if __name__ == '__main__':
    sys.exit(main())

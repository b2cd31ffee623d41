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
"""Runs of the ablation: train, score, and know what is done already.

Each run keeps a file ``run.json`` beside its model. A run whose training or one of whose scorings
was stopped goes on there; the folder's name tells configurations apart, so that nothing of another
configuration is taken for finished.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import json
import os
from pathlib import Path
import re
import shlex
import signal
import subprocess
import sys
import time
from typing import Any

from benchmarks.ablation_matrix import Job, Scoring
from benchmarks.reports import write_json
from zegclip_core.errors import ZegCLIPError

FIGURES = ('pixel_accuracy', 'miou', 'miou_seen', 'miou_unseen', 'hiou')
Execute = Callable[[Sequence[str], Path], None]
"""Runs a command of ours, its output going to a log file; raises ``RunError`` if it fails."""


class RunError(ZegCLIPError, RuntimeError):
    """A command of a run failed; the text says why."""


@dataclass(frozen=True)
class Failure:
    """A run that failed, and why."""

    job: Job
    reason: str


def execute(command: Sequence[str], log: Path) -> None:
    """Run a ``zegclip`` command as a process of its own, and show what it says.

    Args:
        command: As one would type it.
        log: File that its output is appended to.

    Raises:
        RunError: If it fails.
        KeyboardInterrupt: If one interrupts it; it has come to its end by then.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    # Not in the terminal's group of processes: it shall be interrupted once, by us.
    process = subprocess.Popen(
        [sys.executable, '-m', 'zegclip_core.cli.main', *command[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    with process, log.open('ab') as file:
        begin = file.tell()
        try:
            _forward(process, file.fileno())
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            _forward(process, file.fileno())
            raise
        finally:
            process.kill()  # Only if interrupted a second time; else it has ended.
    if process.returncode:
        raise RunError(_reason(log.read_bytes()[begin:], process.returncode))


def _forward(process: subprocess.Popen[bytes], log: int) -> None:
    """Pass on what a process says until it closes its output, and await its end."""
    while process.stdout and (chunk := os.read(process.stdout.fileno(), 65536)):
        os.write(log, chunk)
        sys.stderr.buffer.write(chunk)
        sys.stderr.buffer.flush()
    process.wait()


def _reason(said: bytes, code: int) -> str:
    """Return why a process failed: what it says about it, or the signal that ended it."""
    if code < 0:
        return f'ended by {signal.Signals(-code).name}'
    lines = [line.strip() for line in re.split(r'[\r\n]', said.decode('utf-8', 'replace'))]
    told = [line for line in lines if line]
    errors = [line for line in told if line.startswith('zegclip: error: ')]
    last = (errors or told or [f'exit code {code}'])[-1]
    return last.removeprefix('zegclip: error: ')


def read_run(job: Job) -> dict[str, Any]:
    """Return what is known of a run, with nothing done if it has not begun."""
    path = job.folder / 'run.json'
    if path.is_file():
        run: dict[str, Any] = json.loads(path.read_text('utf-8'))
        return run
    training = {'command': shlex.join(job.command()), 'seconds': 0.0, 'finished': False}
    return {
        **{'row': job.row, 'config': str(job.config), 'seed': job.seed, 'steps': job.steps},
        **{'training': training, 'scores': []},
    }


def is_finished(job: Job) -> bool:
    """Return whether a run is trained and scored."""
    run = read_run(job)
    return _is_trained(job, run) and not _unscored(job, run)


def finish(job: Job, call: Execute = execute) -> dict[str, Any]:
    """Do what is still to do of a run.

    Args:
        job: The run.
        call: Runs a command.

    Returns:
        What is known of it; the same stands in ``run.json``.

    Raises:
        RunError: If training or scoring fails.
    """
    run = read_run(job)
    if not _is_trained(job, run):
        _train(job, run, call)
    for scoring in _unscored(job, run):
        _score(job, run, scoring, call)
    return run


def _is_trained(job: Job, run: dict[str, Any]) -> bool:
    return bool(run['training']['finished']) and job.model.is_file()


def _train(job: Job, run: dict[str, Any], call: Execute) -> None:
    """Train, and count the time, that of earlier attempts as well."""
    if job.starts_from is not None and not job.starts_from.is_file():
        raise RunError(f'there is no {job.starts_from} to start from')
    training, start = run['training'], time.monotonic()
    run['scores'] = []  # Those of a model that was deleted do not count.
    try:
        call(job.command(), job.folder / 'train.log')
        if not job.model.is_file():
            raise RunError(f'training wrote no {job.model}')
        training['finished'] = True
    finally:
        training['seconds'] = round(training['seconds'] + time.monotonic() - start, 1)
        write_json(job.folder / 'run.json', run)


def _score_command(job: Job, scoring: Scoring) -> tuple[list[str], Path]:
    output = job.folder / f'{scoring.data}-bias{scoring.seen_bias:g}.json'
    return scoring.command(job.model, output), output


def _unscored(job: Job, run: dict[str, Any]) -> list[Scoring]:
    """Return the scorings whose commands have not been run yet."""
    done = {score['command'] for score in run['scores']}
    return [
        scoring
        for scoring in job.scorings
        if shlex.join(_score_command(job, scoring)[0]) not in done
    ]


def _score(job: Job, run: dict[str, Any], scoring: Scoring, call: Execute) -> None:
    """Score the model, and replace what an earlier command said of the same."""
    command, output = _score_command(job, scoring)
    output.unlink(missing_ok=True)
    call(command, job.folder / 'evaluate.log')
    try:
        figures = json.loads(output.read_text('utf-8'))
        kept = {name: figures[name] for name in (*FIGURES, 'iou', 'images', 'seconds')}
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f'cannot use the figures in {output}: {error!r}') from error
    key = {'data': scoring.data, 'seen_bias': scoring.seen_bias}
    others = [score for score in run['scores'] if not key.items() <= score.items()]
    run['scores'] = [*others, {**key, 'command': shlex.join(command), **kept}]
    write_json(job.folder / 'run.json', run)


def run_all(
    jobs: Sequence[Job], say: Callable[[str], object], call: Execute = execute
) -> list[Failure]:
    """Do what is still to do of all runs; one that fails does not stop the others.

    Args:
        jobs: The runs.
        say: Takes lines that tell of the progress.
        call: Runs a command.

    """
    failures = []
    for number, job in enumerate(jobs, start=1):
        where = f'[{number}/{len(jobs)}] {job.title}'
        if is_finished(job):
            say(f'{where}: finished before')
            continue
        say(f'{where}: {job.steps} steps, in {job.folder}')
        try:
            say(f'{where}: {_short(finish(job, call))}')
        except RunError as error:
            failures.append(Failure(job, str(error)))
            say(f'{where}: FAILED: {error}')
    return failures


def _short(run: dict[str, Any]) -> str:
    """Return a finished run's figures in one line."""
    parts = [
        f'{score["data"]} (bias {score["seen_bias"]:g}) '
        + ' / '.join(percent(score[name]) for name in ('miou_seen', 'miou_unseen', 'hiou'))
        for score in run['scores']
    ]
    return f'{run["training"]["seconds"]:.0f} s; seen / unseen / hIoU: ' + ', '.join(parts)


def percent(value: float | None) -> str:
    """Return a share in percent, or a dash if there is none."""
    return '-' if value is None else f'{100 * value:.1f}'

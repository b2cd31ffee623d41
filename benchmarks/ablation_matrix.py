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
"""Which models the ablation trains, on what they are scored, and the commands that do both."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
import hashlib
import json
from pathlib import Path

from zegclip_core.data.datasets import FOLDER, open_dataset, unseen_of
from zegclip_core.errors import ConfigError
from zegclip_core.settings import read_values
from zegclip_core.training.config import load_config, TrainConfig, ValidationConfig

STEPS = {
    '1': '(1) frozen tower',
    '2': '(2) fine-tuned tower',
    '3': '(3) + deep prompts',
    '4': '(4) + non-exclusive loss',
    '5': '(5) + relationship descriptor',
}
"""The steps of the paper's Figure 1, by what ends the name of their configuration."""
TRANSDUCTIVE = 'transductive'
TITLES = {**STEPS, TRANSDUCTIVE: 'transductive, from (5) at half-way'}
INDUCTIVE = '5'
"""What the transductive run goes on from and is compared with."""
_STEPS = 'schedule.steps='
BIASES = (0.1, 0.0)
"""What is subtracted from the scores of seen classes: as published, and nothing."""


@dataclass(frozen=True)
class Scoring:
    """One evaluation of a model.

    Attributes:
        data: Short name of the dataset.
        seen_bias: What is subtracted from the scores of seen classes.
        options: The options of ``zegclip evaluate`` but for the model and the output.
    """

    data: str
    seen_bias: float
    options: tuple[str, ...]

    def command(self, model: Path, output: Path) -> list[str]:
        """Return the command that scores a model."""
        return [
            *('zegclip', 'evaluate', '--model', str(model)),
            *(*self.options, '--json', str(output)),
        ]


@dataclass(frozen=True)
class Job:
    """One model to train and to score.

    Attributes:
        row: Key of ``TITLES``.
        config: Its configuration.
        seed: Its seed.
        settings: What is changed in the configuration, as ``key=value``.
        folder: Where its files lie; the name tells configurations apart.
        steps: How many steps it is trained.
        scorings: How it is scored.
        starts_from: The checkpoint that it goes on from, which another job writes.
    """

    row: str
    config: Path
    seed: int
    settings: tuple[str, ...]
    folder: Path
    steps: int
    scorings: tuple[Scoring, ...]
    starts_from: Path | None = None

    @property
    def title(self) -> str:
        """What the run is called where it is told of."""
        return f'{self.config.stem}, seed {self.seed}'

    @property
    def model(self) -> Path:
        """The model file that training writes."""
        return self.folder / f'{self.folder.name}.safetensors'

    def command(self) -> list[str]:
        """Return the command that trains the model, or goes on where it was stopped."""
        return ['zegclip', 'train', '--config', str(self.config), '--resume', *self.settings]


@dataclass(frozen=True)
class Matrix:
    """What is asked for.

    Attributes:
        name: Which configurations: ``camvid`` or ``joint``.
        rows: Keys of ``TITLES``.
        seeds: Seeds of each.
        out: Folder of all runs.
        overrides: Settings to change in every configuration, as ``key=value``.
        configs: Folder of the configurations.
    """

    name: str
    rows: tuple[str, ...]
    seeds: tuple[int, ...]
    out: Path
    overrides: tuple[str, ...] = ()
    configs: Path = Path('config/train/ablation')

    def jobs(self) -> list[Job]:
        """Return what there is to do, one seed after the other.

        Raises:
            ConfigError: If a configuration cannot be used.
            DataError: If what the models are scored on is not there.
        """
        return [job for seed in self.seeds for job in self._jobs(seed)]

    def _jobs(self, seed: int) -> Iterator[Job]:
        """Yield the jobs of a seed; the inductive one before the transductive one."""
        inductive = self._job(INDUCTIVE, seed)
        for row in sorted({*self.rows, *([INDUCTIVE] if TRANSDUCTIVE in self.rows else [])}):
            half_way = _half_way(inductive) if row == TRANSDUCTIVE else None
            yield self._job(row, seed, half_way)

    def _length(self, row: str) -> tuple[str, ...]:
        """Return what another length means for the halves of the transductive run."""
        given = [text.partition('=')[2] for text in self.overrides if text.startswith(_STEPS)]
        if not given or not given[-1].isdigit():
            return ()
        half = _half(int(given[-1]))
        return (f'{_STEPS}{half}',) if row == TRANSDUCTIVE else (f'schedule.keep=[{half}]',)

    def _job(self, row: str, seed: int, starts_from: Path | None = None) -> Job:
        path = self.configs / f'{self.name}-{row}.yaml'
        settings = (*self.overrides, *self._length(row), f'seed={seed}')
        if starts_from is not None:
            settings = (*settings, f'initialize_from={starts_from}')
        config = load_config(path, settings)
        name = f'{path.stem}-seed{seed}-{_digest(path, settings)}'
        return Job(
            row=row,
            config=path,
            seed=seed,
            settings=(*settings, f'name={name}', f'output={self.out}'),
            folder=self.out / name,
            steps=config.schedule.steps,
            scorings=_scorings(config, path),
            starts_from=starts_from,
        )


def _half(steps: int) -> int:
    """Return how many steps the first and the second half of a run have."""
    return max(steps // 2, 1)


def _digest(path: Path, settings: Sequence[str]) -> str:
    """Return what tells a configuration from others, whatever its comments say."""
    values = json.dumps([read_values(path), settings], sort_keys=True)
    return hashlib.sha256(values.encode()).hexdigest()[:8]


def _half_way(job: Job) -> Path:
    """Return the checkpoint that a run keeps for the transductive one."""
    keep = load_config(job.config, job.settings).schedule.keep
    if not keep:
        raise ConfigError(
            f'Expected schedule.keep in {job.config} to have the step that the transductive run '
            'goes on from, but it is empty.'
        )
    return job.folder / f'step={keep[0]}.ckpt'


def _scorings(config: TrainConfig, path: Path) -> tuple[Scoring, ...]:
    """Return how a model is scored: on all that its configuration validates on."""
    if not config.validation or not config.unseen:
        missing = 'unseen' if config.validation else 'validate'
        raise ConfigError(f'Expected a value for {missing} in {path}, but there is none.')
    return tuple(
        _scoring(entry, config.unseen, bias) for entry in config.validation for bias in BIASES
    )


def _scoring(entry: ValidationConfig, unseen: Sequence[str], bias: float) -> Scoring:
    """Return one evaluation, without a threshold, as published."""
    dataset = open_dataset(entry.root, entry.dataset, entry.split)
    names = unseen_of(entry.dataset, unseen, dataset.classes).classes
    options = ['--data', entry.root, '--split', entry.split, '--unseen', ','.join(names)]
    options += ['--seen-bias', str(bias), '--threshold', '0']
    if entry.dataset != FOLDER:
        options += ['--dataset', entry.dataset]
    if entry.hold_out:
        options += ['--hold-out', str(entry.hold_out)]
    if entry.absent_words >= 0:
        options += ['--absent', str(entry.absent_words)]
    return Scoring(Path(entry.root).name, bias, tuple(options))

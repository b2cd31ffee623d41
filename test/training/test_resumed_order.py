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
"""What a resumed run reads, by processes of its own: what an uninterrupted one would have read."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from training_helpers import LIVE, Runs
from zegclip_core.cli.main import INTERRUPTED
from zegclip_core.data.folder import FolderDataset
from zegclip_core.settings import validated
from zegclip_core.training.batches import Batch, LiveViews, TrainingData
from zegclip_core.training.config import TrainConfig
from zegclip_core.training.task import SegmentationTask

STEPS, STOPPED = 9, 4
DONE = 2 * STOPPED
"""Batches until then, of which a step has two."""
IMAGES = 6
"""In a round of the squares; four steps of eight views end within the sixth."""


@pytest.fixture
def batches(squares: Path, clip: str) -> Callable[..., list[Batch]]:
    """Return a function that reads a process's batches from a step on."""

    def read(
        start: int, count: int, *, workers: int, rank: int = 0, world: int = 1
    ) -> list[Batch]:
        values = {
            'name': 'mine',
            'towers': {'image': clip, 'text': clip},
            'views': {'size': [16, 16]},
            'train': [{'root': str(squares), 'split': 'train'}],
            'schedule': {
                **{'steps': STEPS, 'batch_size': 4 // world},
                **{'accumulate': 2, 'workers': workers},
            },
        }
        config = validated(TrainConfig, values)
        views = LiveViews(FolderDataset(squares, 'train'), range(IMAGES), config.views, seed=1)
        data = TrainingData([views], [], config)
        place = SimpleNamespace(global_rank=rank, world_size=world, global_step=start)
        data.trainer = cast(Any, place)
        return list(islice(data.train_dataloader(), 2 * count))

    return read


def assert_equal(found: list[Batch], expected: list[Batch]) -> None:
    assert [batch.position for batch in found] == [batch.position for batch in expected]
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)


@pytest.mark.parametrize('workers', [0, 1, 2])
def test_in_the_middle_of_a_round_readers_go_on_with_the_views_that_would_have_followed(
    batches: Callable[..., list[Batch]], workers: int
) -> None:
    assert STOPPED * 8 % IMAGES  # Or it is not the middle.
    whole = batches(0, STEPS, workers=0)
    assert_equal(batches(0, STEPS, workers=workers), whole)
    rest = batches(STOPPED, STEPS - STOPPED, workers=workers)
    done, left = whole[:DONE], whole[DONE:]
    assert_equal(rest, left)
    assert not any(torch.equal(rest[0].images, batch.images) for batch in done)


def test_so_do_two_processes_with_readers_each(batches: Callable[..., list[Batch]]) -> None:
    whole = batches(0, STEPS, workers=0)
    parts = [batches(STOPPED, 2, workers=2, rank=rank, world=2) for rank in range(2)]
    # Of each step two batches of two views on either process: the first half of its views is that
    # of the first batches of both.
    for number in range(2):
        begin = 2 * (STOPPED + number)
        expected = torch.cat([batch.images for batch in whole[begin:][:2]])
        mine = [parts[rank][2 * number + part].images for part in range(2) for rank in range(2)]
        assert torch.equal(torch.cat(mine), expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('kind', 'then'), [(LIVE[1:-1], 2), (LIVE[1:-1], 0), (LIVE[:-1], 2)], ids=['2', '0', 'live']
)
def test_a_run_with_readers_that_was_interrupted_within_a_round_learns_from_the_same_views(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, kind: tuple[str, ...], then: int
) -> None:
    seen: list[tuple[int, int, Tensor]] = []
    ends: list[int] = []
    plain = SegmentationTask.training_step

    def noting(task: SegmentationTask, batch: Batch, index: int) -> Tensor:
        if task.global_step in ends:
            raise KeyboardInterrupt
        seen.append((task.global_step, batch.position, batch.images.clone()))
        return plain(task, batch, index)

    monkeypatch.setattr(SegmentationTask, 'training_step', noting)
    # Kept features are of three views of each of six pictures.
    settings = (*kind, 'schedule.steps=7', 'schedule.validate_every=2', 'schedule.batch_size=5')
    assert runs.train(*settings, 'schedule.workers=2', 'name=whole') == 0
    whole, seen[:] = list(seen), []
    ends.append(5)
    assert runs.train(*settings, 'schedule.workers=2', 'name=parts') == INTERRUPTED
    assert runs.last_step('parts') == 4
    ends.clear()
    seen.clear()
    assert runs.train(*settings, f'schedule.workers={then}', 'name=parts', '--resume') == 0
    assert [entry[:2] for entry in seen] == [entry[:2] for entry in whole[4:]]
    for (*_, found), (*_, expected) in zip(seen, whole[4:], strict=True):
        assert torch.equal(found, expected)
    runs.assert_same('whole', 'parts')

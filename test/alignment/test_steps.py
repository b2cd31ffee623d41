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
"""Steps of an alignment: how they are resumed, and shared out to processes and readers."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from teacher_folders import write_masks
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from zegclip_core.alignment.steps import Pictures, PictureSource, Step, StepStream
from zegclip_core.data.captions import open_captions
from zegclip_core.data.datasets import open_dataset
from zegclip_core.data.views import random_view, view_seed, ViewConfig
from zegclip_core.options import UNLABELLED
from zegclip_core.training.batches import LiveViews

VIEWS = ViewConfig(size=(8, 8))
TAUGHT = [2, 3, 5, 7, 11]
CLASSES = {'cup': (200, 30, 30), 'cat': (30, 160, 30)}


@pytest.fixture(scope='module')
def stream(teachers: Path, tmp_path_factory: pytest.TempPathFactory) -> StepStream:
    """Return views of two datasets with masks and of captioned images, drawn anew."""
    root = tmp_path_factory.mktemp('steps')
    masks = []
    for name, count in (('one', 5), ('two', 7)):
        dataset = open_dataset(str(write_masks(root / name, CLASSES, count)), 'folder', 'train')
        masks.append(PictureSource(LiveViews(dataset, range(count), VIEWS, seed=1), 2))
    captions = Pictures(open_captions(teachers / 'captions'))
    shown = PictureSource(LiveViews(captions, TAUGHT, VIEWS, seed=1), 2)
    return StepStream(masks, [0.5, 0.5], {'sentences': shown}, seed=3)


def steps(stream: StepStream, count: int, start: int = 0, **place: int) -> list[Step]:
    placed = stream.placed(start=start, **{'rank': 0, 'world': 1, **place})
    return list(islice(placed, count))


def parts(step: Step) -> list[Tensor]:
    assert step.masks is not None
    assert step.sentences is not None
    return [
        step.masks.images,
        step.masks.labels,
        step.sentences.batch.images,
        torch.tensor([step.position, step.masks.source, *step.sentences.indices]),
    ]


def assert_same(found: list[Step], expected: list[Step]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for mine, theirs in zip(parts(one), parts(other), strict=True):
            assert torch.equal(mine, theirs)


def test_a_resumed_stream_goes_on_where_it_stopped(stream: StepStream) -> None:
    whole = steps(stream, 9)
    assert_same(steps(stream, 9), whole)
    assert_same(steps(stream, 5, start=4), whole[4:])
    assert [step.position for step in whole] == list(range(9))
    assert {step.masks.source for step in whole if step.masks} == {0, 1}


def test_views_are_of_the_images_that_their_numbers_say(
    stream: StepStream, teachers: Path
) -> None:
    pictures = Pictures(open_captions(teachers / 'captions'))
    for step in steps(stream, 2):
        assert step.sentences is not None
        views = step.sentences.batch.images
        for view, index in zip(views, step.sentences.indices, strict=True):
            sample = pictures[TAUGHT[index]]
            expected, _ = random_view(sample, VIEWS, view_seed(1, sample.name, 0))
            assert torch.equal(view, expected)


def test_rounds_show_each_image_once_in_another_view(stream: StepStream) -> None:
    found = [parts(step) for step in steps(stream, 5)]
    indices = [k for part in found for k in part[3].tolist()[2:]]
    assert sorted(indices[:5]) == sorted(indices[5:]) == [0, 1, 2, 3, 4]
    images = torch.cat([part[2] for part in found])
    again = indices.index(indices[0], 1)
    assert not torch.equal(images[0], images[again])


@pytest.mark.parametrize('start', [0, 3])
def test_ranks_share_out_the_images_of_a_step(stream: StepStream, start: int) -> None:
    ranks = [steps(stream, 4, start=start, rank=rank, world=2) for rank in (0, 1)]
    for step, (one, other) in enumerate(zip(*ranks, strict=True), start=start):
        # What is random in them, such as words, differs as well.
        assert (one.position, other.position) == (2 * step, 2 * step + 1)
        assert one.masks is not None
        assert other.masks is not None
        assert one.masks.source == other.masks.source
        assert one.sentences is not None
        assert other.sentences is not None
        mine, theirs = parts(one), parts(other)
        for view in mine[0]:
            assert not (view == theirs[0]).flatten(1).all(dim=1).any()
        for view in mine[2]:
            assert not (view == theirs[2]).flatten(1).all(dim=1).any()


def test_a_world_shows_what_one_process_would(stream: StepStream) -> None:
    """Of the sentences' images, two processes with two each take the order of one with four."""
    ranks = [steps(stream, 4, rank=rank, world=2) for rank in (0, 1)]

    def indices(found: list[Step]) -> Iterator[int]:
        for step in found:
            assert step.sentences is not None
            yield from step.sentences.indices

    together = [list(indices([step])) for pair in zip(*ranks, strict=True) for step in pair]
    alone = list(indices(steps(stream, 8)))
    assert [k for pair in together for k in pair] == alone


def test_reading_processes_give_the_same_steps_in_order(stream: StepStream) -> None:
    loader = DataLoader(stream.placed(start=1, rank=0, world=1), batch_size=None, num_workers=2)
    assert_same(list(islice(loader, 5)), steps(stream, 5, start=1))


def test_pictures_have_no_labels(teachers: Path) -> None:
    captions = open_captions(teachers / 'captions')
    pictures = Pictures(captions)
    assert (len(pictures), pictures.title, pictures.classes) == (12, 'captions', ())
    sample = pictures[3]
    assert sample.name == pictures.name(3) == captions.names[3]
    assert (sample.image == captions.image(3)).all()
    assert sample.labels.shape == (40, 56)
    assert (sample.labels == UNLABELLED).all()

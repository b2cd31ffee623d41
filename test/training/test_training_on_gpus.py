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
"""What training does differently on a GPU, with PyTorch told that there are some."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from zegclip_core.alignment.steps import AlignmentData
from zegclip_core.data.datasets import open_dataset
from zegclip_core.data.views import present_classes, ViewConfig
from zegclip_core.model.losses import count_present_classes, IGNORED, UNSEEN
from zegclip_core.model.vit import VisionConfig, VisionTransformer
from zegclip_core.training.batches import TrainingData
from zegclip_core.training.config import CourseConfig
from zegclip_core.training.features import FeatureStore
from zegclip_core.training.trainer import fit


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.setattr(torch.cuda, 'empty_cache', lambda: None)


class Trainer:
    """Notes the precision of products that it trains with."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.seen = ''
        self.fault = fault

    def fit(self, *_: object, **__: object) -> None:
        self.seen = torch.get_float32_matmul_precision()
        if self.fault is not None:
            raise self.fault


@pytest.mark.usefixtures('gpus')
@pytest.mark.parametrize('wanted', ['highest', 'high', 'medium', None])
def test_float32_products_are_as_precise_as_asked_for(wanted: str | None) -> None:
    settings: Any = {} if wanted is None else {'float32_products': wanted}
    schedule, before = CourseConfig(steps=1, **settings), torch.get_float32_matmul_precision()
    for trainer in (Trainer(), Trainer(RuntimeError('by design'))):
        with suppress(RuntimeError):
            fit(trainer, None, None, None, schedule)  # type: ignore[arg-type]
        assert trainer.seen == (wanted or 'high')
        assert torch.get_float32_matmul_precision() == before


def test_without_a_gpu_products_are_as_before() -> None:
    trainer, before = Trainer(), torch.get_float32_matmul_precision()
    schedule = CourseConfig(steps=1, float32_products='medium')
    fit(trainer, None, None, None, schedule)  # type: ignore[arg-type]
    assert trainer.seen == before


@pytest.mark.parametrize('available', [False, True])
def test_batches_are_pinned_where_they_go_to_a_gpu(
    monkeypatch: pytest.MonkeyPatch, available: bool
) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: available)
    config: Any = type('Config', (), {'schedule': CourseConfig(steps=1)})
    batches: Any = [1, 2]
    assert TrainingData([], [], config)._loader(batches).pin_memory is available
    data = AlignmentData(batches, [], 0)
    assert data._loader(batches).pin_memory is available


@pytest.mark.usefixtures('gpus')
@pytest.mark.parametrize(('rank', 'place'), [(None, 'cuda:0'), ('1', 'cuda:1')])
def test_the_tower_of_features_is_on_the_gpu_of_its_process_while_it_computes(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    squares: Path,
    rank: str | None,
    place: str,
) -> None:
    monkeypatch.delenv('LOCAL_RANK', raising=False)
    if rank is not None:
        monkeypatch.setenv('LOCAL_RANK', rank)
    places = list[str]()
    monkeypatch.setattr(VisionTransformer, 'to', lambda tower, device: places.append(str(device)))
    vision = VisionConfig(patch_size=8, width=32, layers=1, heads=1, mlp_width=32, grid=(2, 2))
    views = ViewConfig(size=(16, 16))
    store = FeatureStore(tmp_path / 'kept', VisionTransformer(vision).eval(), 'tower', views)
    dataset = open_dataset(str(squares), 'folder', 'train')
    store.views(dataset, [0, 1], count=2, seed=5)
    assert places == [place, 'cpu']
    store.views(dataset, [0, 1], count=2, seed=5)  # All there: as for every other process.
    assert places == [place, 'cpu']


def unexpected(what: str) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError(f'{what} waits for the device')

    return fail


def test_classes_of_a_batch_are_counted_without_a_wait_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 200, (3, 6, 9), generator=generator)
    labels[0, 0, :3], labels[2, 1, :4], labels[1] = IGNORED, UNSEEN, IGNORED
    expected = sum(len(set(image.ravel().tolist()) - {IGNORED}) for image in labels.numpy())
    shown = sorted(set(labels[0].ravel().tolist()) - {IGNORED})
    monkeypatch.setattr(torch.Tensor, '__int__', unexpected('int'))
    assert present_classes(labels[0].byte()) == shown
    for name in ('item', 'tolist', '__bool__', '__float__'):
        monkeypatch.setattr(torch.Tensor, name, unexpected(name))
    monkeypatch.setattr(torch, 'unique', unexpected('unique'))
    found = count_present_classes(labels)
    monkeypatch.undo()
    assert float(found) == expected

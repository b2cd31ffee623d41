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
"""Every row of ``zegclip reproduce`` runs from data to figures, on a small CLIP and small data."""

from collections.abc import Callable, Iterator, Sequence
import json
from pathlib import Path
import signal
from typing import Any, NamedTuple

import huggingface_hub
import open_clip
import pytest
from safetensors.torch import load_file, save_file
from tiny_datasets import write_coco_stuff, write_context, write_voc
import torch
from torch import Tensor
import torch.nn.functional as F
from training_helpers import CLIP, clip_state
from zegclip_core.cli.main import INTERRUPTED, main
from zegclip_core.evaluation.reproduction import load_row, published_rows
from zegclip_core.training.batches import Batch
from zegclip_core.training.checkpoints import read_run_checkpoint, trained_weights
from zegclip_core.training.queries import Query
from zegclip_core.training.task import SegmentationTask
from zegclip_core.weights.catalogue import cache_folder
from zegclip_core.weights.checkpoint import load_checkpoint

SHORT = (
    *('model.dim=64', 'views.size=[32,32]', 'settings.short_side=32'),
    *('schedule.steps=2', 'schedule.warmup=0', 'schedule.batch_size=2', 'schedule.workers=0'),
)
"""What fits a row to the small CLIP, and to seconds."""
FIGURES = {
    'pAcc': 'pixel_accuracy',
    'mIoU(S)': 'miou_seen',
    'mIoU(U)': 'miou_unseen',
    'hIoU': 'hiou',
}
PROMPTED = {
    *('visual.prompt_embeddings', 'visual.deep_prompt_embeddings'),
    *('visual.prompt_proj.weight', 'visual.prompt_proj.bias'),
    *('visual.prompt_norm.weight', 'visual.prompt_norm.bias'),
}
"""What is trained of a frozen tower with prompts, by the release's names."""
SOFTMAX, NON_EXCLUSIVE = {'cross_entropy'}, {'focal', 'dice'}


class Expected(NamedTuple):
    """What the paper and the release say of a row.

    Attributes:
        prompts: Prompt tokens in each layer.
        words: How many words each of its trainings asks for.
        classes: Classes of the dataset.
        losses: Parts of the loss.
        descriptor: Whether the decoder has the relationship descriptor.
        tower: Whether the image tower's own weights are trained.
    """

    prompts: int
    words: tuple[int, ...]
    classes: int
    losses: set[str] = NON_EXCLUSIVE
    descriptor: bool = True
    tower: bool = False


EXPECTED = {
    'voc12-inductive': Expected(10, (15,), 20),
    'voc12-transductive': Expected(10, (15, 20), 20),
    'voc12-fully': Expected(10, (20,), 20),
    'voc12-step1': Expected(0, (15,), 20, SOFTMAX, descriptor=False),
    'voc12-step2': Expected(0, (15,), 20, SOFTMAX, descriptor=False, tower=True),
    'voc12-step3': Expected(10, (15,), 20, SOFTMAX, descriptor=False),
    'voc12-step4': Expected(10, (15,), 20, descriptor=False),
    'coco-inductive': Expected(100, (156,), 171),
    'coco-transductive': Expected(100, (156, 171), 171),
    'coco-fully': Expected(100, (171,), 171),
    'context-inductive': Expected(10, (50,), 60),
    'context-transductive': Expected(10, (50, 60), 60),
}


class Step(NamedTuple):
    """What a step of training computed its loss of, and the loss.

    Attributes:
        logits: Of the words that it asked for, ``(B, K, H, W)``.
        labels: The dataset's, ``(B, H, W)``.
        places: Where the dataset's classes stand among the words, ``(256,)``.
        loss: Its parts by name.
    """

    logits: Tensor
    labels: Tensor
    places: Tensor
    loss: dict[str, Tensor]


@pytest.fixture(scope='module', autouse=True)
def openai(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Put the small CLIP in the place of OpenAI's ViT-B/16, as if it had been downloaded."""
    cache = tmp_path_factory.mktemp('hub')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, 'HF_HUB_CACHE', str(cache))
        patch.setitem(open_clip.factory._MODEL_CONFIGS, 'ViT-B-16', CLIP)
        folder = cache_folder('timm/vit_base_patch16_clip_224.openai')
        folder.mkdir(parents=True)
        save_file(clip_state(), folder / 'open_clip_model.safetensors')
        yield


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write the datasets, by the first part of the rows' names."""
    write = {'voc12': write_voc, 'coco': write_coco_stuff, 'context': write_context}
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in write.items()}


@pytest.fixture
def button(
    data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., int]:
    """Return what runs the command for a row, with some settings, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(row: str, *settings: str) -> int:
        place = ['--data', str(data[row.split('-')[0]]), '--device', 'cpu']
        return main(['reproduce', row, *place, '--json', 'figures.json', *SHORT, *settings])

    return run


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    """Return where every step of training is noted from now on."""
    noted: list[Step] = []
    plain = SegmentationTask._losses

    def noting(
        task: SegmentationTask, logits: Tensor, labels: Tensor, query: Query
    ) -> tuple[dict[str, Tensor], Tensor]:
        parts, divisor = plain(task, logits, labels, query)
        loss = {name: value.detach() / divisor for name, value in parts.items()}
        noted.append(Step(logits.detach(), labels, query.index, loss))
        return parts, divisor

    monkeypatch.setattr(SegmentationTask, '_losses', noting)
    return noted


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Give back the handling of Ctrl+C, which Lightning switches off when it was pressed."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


def model_of(row: str) -> Path:
    return Path('runs', row, f'{row}.safetensors')


def check_table(row: str, shown: str, found: dict[str, Any]) -> None:
    """Compare the table with the file, and what is published with the row."""
    _, _, table = shown.partition(f'\n{load_row(row).title}, 3 pictures\n')
    _, *lines = table.splitlines()
    assert [line.split()[0] for line in lines[:4]] == list(FIGURES)
    for line, key in zip(lines, FIGURES.values(), strict=False):
        published, ours = load_row(row).published.get(key), 100 * found[key]
        left = 'not verified' if published is None else str(published)
        right = '-' if published is None else f'{ours - published:+.1f}'
        assert line.split()[1:] == [*left.split(), f'{ours:.1f}', right]
        wanted = None if published is None else pytest.approx(published / 100)
        assert found['published'][key] == wanted


def check_weights(row: str, expected: Expected) -> None:
    """Look at what was trained by the names and shapes of a row's model, and by its rates."""
    weights = load_checkpoint(model_of(row)).state_dict
    tower = {name for name in weights if name.startswith('visual.')}
    own = {name for name in clip_state() if name.startswith('visual.')}
    assert tower == (PROMPTED if expected.prompts else set()) | (own if expected.tower else set())
    if expected.prompts:
        assert weights['visual.prompt_embeddings'].shape == (1, expected.prompts, 64)
        assert weights['visual.deep_prompt_embeddings'].shape == (1, expected.prompts, 64)
    queries = weights['decoder.relationship.q_proj.weight']
    assert queries.shape == (64, 128 if expected.descriptor else 64)
    run = read_run_checkpoint(Path('runs', row, 'last.ckpt'))
    groups = run['optimizer_states'][0]['param_groups']
    rates = [2e-4, 0.04 * 2e-4] if expected.tower else [2e-4]
    assert [group['initial_lr'] for group in groups] == pytest.approx(rates)
    if expected.tower:
        exact = trained_weights(run)
        assert [name for name in own if torch.equal(exact[name], clip_state()[name])] == []


def check_loss(step: Step, expected: Expected) -> None:
    """Compare the loss of softmax steps with PyTorch's over the seen classes, the first 15."""
    assert set(step.loss) == expected.losses
    if expected.losses == SOFTMAX:
        assert sorted(step.places[:15].tolist()) == list(range(15))
        assert {15, 19} & set(step.labels.unique().tolist())
        targets = step.places[step.labels].where(step.labels < 15, 255)
        reference = F.cross_entropy(step.logits, targets, ignore_index=255)
        assert float(step.loss['cross_entropy']) == pytest.approx(float(reference))


def test_all_rows_are_expected() -> None:
    assert list(published_rows()) == list(EXPECTED)


@pytest.mark.parametrize('row', EXPECTED)
def test_a_row_runs_from_data_to_figures(
    button: Callable[..., int], steps: list[Step], capsys: pytest.CaptureFixture[str], row: str
) -> None:
    expected = EXPECTED[row]
    assert button(row) == 0
    found = json.loads(Path('figures.json').read_text('utf-8'))
    assert (found['row'], found['images'], len(found['iou'])) == (row, 3, expected.classes)
    check_table(row, capsys.readouterr().out, found)
    first = load_row(row).first
    assert {path.name for path in Path('runs').iterdir()} == {row, *([first] if first else [])}
    check_weights(row, expected)
    asked = [step.logits.shape[1] for step in steps]
    assert asked == [count for count in expected.words for _ in range(2)]
    for step in steps:
        check_loss(step, expected)


def interrupted_at(count: int) -> pytest.MonkeyPatch:
    """Press Ctrl+C at some step of training, counted from 1, until the patch is undone."""
    patch, plain, done = pytest.MonkeyPatch(), SegmentationTask.training_step, []

    def pressed(task: SegmentationTask, batch: Batch, index: int) -> Tensor:
        done.append(index)
        if len(done) == count:
            raise KeyboardInterrupt
        return plain(task, batch, index)

    patch.setattr(SegmentationTask, 'training_step', pressed)
    return patch


@pytest.mark.usefixtures('ctrl_c')
@pytest.mark.parametrize(
    ('row', 'presses', 'left'),
    [
        ('voc12-step2', [4], 1),
        # In the inductive training, then in the transductive one.
        ('voc12-transductive', [2, 7], 1),
    ],
)
def test_a_stopped_row_goes_on(
    button: Callable[..., int], steps: list[Step], row: str, presses: Sequence[int], left: int
) -> None:
    settings = ('schedule.steps=4', 'schedule.validate_every=1')
    for press in presses:
        patch = interrupted_at(press)
        assert button(row, *settings) == INTERRUPTED
        patch.undo()
        assert not model_of(row).exists()
    steps.clear()
    assert button(row, *settings) == 0
    assert len(steps) == left
    assert button(row, *settings, 'output=whole') == 0
    found, whole = load_file(model_of(row)), load_file(Path('whole', row, f'{row}.safetensors'))
    assert found.keys() == whole.keys()
    assert [name for name, value in found.items() if not torch.equal(value, whole[name])] == []


def test_a_finished_row_is_only_scored_again(
    button: Callable[..., int],
    data: dict[str, Path],
    steps: list[Step],
    capsys: pytest.CaptureFixture[str],
) -> None:
    row, figures = 'voc12-transductive', Path('figures.json')
    assert button(row) == 0
    assert 'train_aug has 6 pictures, but the published one 10582' in capsys.readouterr().err
    found = json.loads(figures.read_text('utf-8'))['iou']
    steps.clear()
    assert button(row) == 0
    assert json.loads(figures.read_text('utf-8'))['iou'] == found
    # So does the model by itself.
    given = ['--data', str(data['voc12']), '--checkpoint', str(model_of(row)), '--device', 'cpu']
    assert main(['reproduce', row, *given, '--json', 'figures.json']) == 0
    assert json.loads(figures.read_text('utf-8'))['iou'] == found
    assert steps == []

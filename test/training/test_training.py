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
"""Training: words, batches, kept features, and a run from start to model."""

from collections import Counter
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors.torch import load_file
import torch
from training_helpers import run_arguments
from zegclip_core.cli.main import main
from zegclip_core.data.folder import FolderDataset, read_classes, Sample
from zegclip_core.data.views import (
    asked_classes,
    random_view,
    split_indices,
    ViewConfig,
    whole_view,
)
from zegclip_core.errors import ConfigError, DataError
from zegclip_core.evaluation.evaluate import evaluate
from zegclip_core.images.sheets import sheet_width
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.encoder import TextEncoder
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_core.training.batches import Batch, batch_order
from zegclip_core.training.config import SourceConfig
from zegclip_core.training.queries import (
    balance_weights,
    ClassSet,
    ClassWords,
    PhraseTable,
    QueryMaker,
    read_words,
)
from zegclip_core.training.task import SegmentationTask

CONFIG = Path(__file__).parents[2] / 'config' / 'train' / 'everyday-s.yaml'


class _PowerCutError(Exception):
    """What stops a run half-way."""


class _Words:
    """A text tower whose embeddings follow from the text alone."""

    name = 'test'
    embed_dim = 8

    def encode(self, texts: list[str]) -> torch.Tensor:
        rows = [torch.randn(8, generator=torch.Generator().manual_seed(len(t))) for t in texts]
        return torch.nn.functional.normalize(torch.stack(rows), dim=-1)


@pytest.fixture
def encoder() -> TextEncoder:
    return TextEncoder(_Words(), ['{}', 'a photo of a {}'])


def test_the_shipped_words_fit_their_datasets() -> None:
    folder = CONFIG.parent.parent / 'words'
    street = read_words(
        str(folder / 'street.yaml'),
        ['sky', 'building', 'pole', 'road', 'pavement', 'tree', 'traffic sign', 'fence', 'car',
         'pedestrian', 'bicyclist'],
    )  # fmt: skip
    assert all(len(entry.phrases) >= 3 for entry in street)
    with pytest.raises(ConfigError, match="got 'sky'"):
        read_words(str(folder / 'street.yaml'), ['car'])


def test_views_are_the_same_for_the_same_seed_and_keep_image_and_mask_together() -> None:
    labels = np.zeros((60, 80), np.uint8)
    labels[20:40, 30:60] = 1
    image = np.repeat(np.where(labels[..., None] == 1, 255, 0).astype(np.uint8), 3, axis=2)
    sample = Sample(image, labels, 'x')
    config = ViewConfig(size=(56, 70), jitter=0.0)
    seen = set()
    for seed in range(8):
        view, mask = random_view(sample, config, seed)
        again, _ = random_view(sample, config, seed)
        assert torch.equal(view, again)
        # Antialiasing blurs the border, so the mask is compared away from it.
        white = view[..., 0].float()
        assert ((white > 250) & (mask == 0)).float().mean() < 0.03
        assert ((white < 5) & (mask == 1)).float().mean() < 0.03
        seen.add(view.numpy().tobytes())
    assert len(seen) == 8
    whole, mask = whole_view(sample, config)
    assert whole.shape == (56, 70, 3)
    assert mask.shape == (56, 70)


def test_batches_visit_every_view_and_resume_where_they_stopped() -> None:
    def order(start: int) -> list[tuple[int, list[int]]]:
        stream = batch_order([10, 4], [0.75, 0.25], batch_size=2, seed=3, start=start)
        return list(islice(stream, 400 - start))

    full = order(0)
    assert order(17) == full[17:]
    sources = Counter(source for source, _ in full)
    assert sources[0] / 400 == pytest.approx(0.75, abs=0.06)
    drawn = [view for source, views in full if source == 0 for view in views]
    # Each round has every view once, in another order.
    for begin in range(0, 100, 10):
        once = drawn[begin:][:10]
        assert sorted(once) == list(range(begin, begin + 10))
    assert [view % 10 for view in drawn[:10]] != [view % 10 for view in drawn[10:20]]


def test_balance_evens_out_frequencies() -> None:
    counts = torch.tensor([900.0, 100.0, 0.0])
    assert balance_weights(counts, 0.0).tolist() == pytest.approx([1, 1, 1])
    weights = balance_weights(counts, 1.0)
    assert weights[0] * 900 == pytest.approx(weights[1] * 100)
    assert (weights[:2] * counts[:2]).sum() / 1000 == pytest.approx(1.0)
    assert weights[2] == 1.0


def test_a_foreign_word_counts_only_where_it_cannot_be_true(encoder: TextEncoder) -> None:
    own = [ClassWords('pedestrian', overlaps=('person',)), ClassWords('road'), ClassWords('car')]
    foreign = [ClassWords('person'), ClassWords('cat'), ClassWords('car')]
    tables = [PhraseTable(words, encoder) for words in (own, foreign)]
    config = SourceConfig(root='', split='', unlabelled='unknown', foreign_words=3)
    sets = [
        ClassSet(tuple(words), table) for words, table in zip((own, foreign), tables, strict=True)
    ]
    maker = QueryMaker(config, sets[0], sets[1:], torch.ones(3))
    labels = torch.tensor([[[0, 1], [2, 255]]], dtype=torch.uint8)
    query = maker.make(labels, torch.Generator().manual_seed(0))
    assert query.text.shape == (6, 8)
    assert query.index[:3].tolist() == [0, 1, 2]
    assert query.index[255] == 255
    assert query.valid[:3, :3].all()
    assert not query.valid[:, 255].any()
    # Which foreign word stands where is random; what may be true of them is not.
    assert sorted(query.valid[3:, :3].int().tolist()) == sorted([[0, 1, 1], [1, 1, 1], [1, 1, 0]])


def test_an_unlabelled_pixel_is_none_of_the_own_classes_where_the_set_says_so(
    encoder: TextEncoder,
) -> None:
    words = [ClassWords('cat'), ClassWords('dog')]
    config = SourceConfig(root='', split='', unlabelled='none_of_these')
    own = ClassSet(tuple(words), PhraseTable(words, encoder))
    maker = QueryMaker(config, own, [], torch.ones(2))
    query = maker.make(torch.zeros(1, 2, 2, dtype=torch.uint8), torch.Generator())
    assert query.valid.all()


def test_a_class_goes_by_its_name_half_the_time(encoder: TextEncoder) -> None:
    table = PhraseTable([ClassWords('cat', ('kitten', 'tabby cat'))], encoder)
    generator = torch.Generator().manual_seed(0)
    name = table.canonical([0])
    same = [torch.equal(table.sample([0], generator), name) for _ in range(200)]
    # One in nine of the other draws is the averaged name as well.
    assert 0.4 < np.mean(same) < 0.7


def test_held_out_pictures_are_not_trained_on() -> None:
    kept, held = split_indices(11, 5, held_out=False), split_indices(11, 5, held_out=True)
    assert held == [0, 5, 10]
    assert sorted(kept + held) == list(range(11))
    assert split_indices(3, 0, held_out=False) == split_indices(3, 0, held_out=True) == [0, 1, 2]


def test_validation_asks_for_the_present_and_some_absent_classes() -> None:
    labels = torch.tensor([3, 7, 255], dtype=torch.uint8)
    asked = asked_classes(labels, 80, 5)
    assert asked[:2] == [3, 7]
    assert len(set(asked)) == 7
    assert asked == asked_classes(labels, 80, 5)
    assert sorted(asked_classes(labels, 9, -1)) == list(range(9))


def test_a_dataset_that_lies_wrong_is_described(squares: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'classes\.txt'):
        FolderDataset(tmp_path, 'train')
    with pytest.raises(DataError, match='no_split'):
        FolderDataset(squares, 'no_split')
    root = tmp_path / 'copy'
    for kind in ('images', 'labels'):
        (root / kind / 'train').mkdir(parents=True)
    (root / 'classes.txt').write_text('a\n')
    cv2.imwrite(str(root / 'images/train/1.png'), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(DataError, match='1 have none'):
        FolderDataset(root, 'train')
    cv2.imwrite(str(root / 'labels/train/1.png'), np.full((4, 4), 9, np.uint8))
    with pytest.raises(DataError, match='but got 9'):
        FolderDataset(root, 'train')[0]
    cv2.imwrite(str(root / 'labels/train/1.png'), np.zeros((4, 5), np.uint8))
    with pytest.raises(DataError, match='size'):
        FolderDataset(root, 'train')[0]


@pytest.mark.slow
@pytest.mark.parametrize('prompts', [0, 2])
def test_a_run_learns_and_leaves_a_model(
    squares: Path, clip: str, tmp_path: Path, prompts: int
) -> None:
    arguments = run_arguments(squares, clip, tmp_path, f'model.prompt_tokens={prompts}')
    assert main(arguments) == 0
    folder = tmp_path / 'squares'
    sheets = sorted((folder / 'pictures').iterdir())
    assert [path.stem[-6:] for path in sheets] == ['000030', '000060']
    # Image, prediction and truth of three views, and what the colours mean.
    sheet = cv2.imread(str(sheets[1]))[:, :, ::-1]
    assert sheet.shape[1] == sheet_width(3)
    colors = Vocabulary.from_names(read_classes(squares / 'classes.txt')).colors
    below = sheet[-100:].reshape(-1, 3)
    assert all((below == color).all(axis=1).sum() >= 100 for color in colors)
    assert (folder / 'logs' / 'metrics.csv').is_file()
    assert (tmp_path / 'features').is_dir() == (prompts == 0)
    segmenter = Segmenter.load(str(folder / 'squares.safetensors'), device='cpu')
    dataset = FolderDataset(squares, 'val')
    result = evaluate(segmenter, dataset, range(len(dataset)))
    assert result.images == 3
    assert result.metrics.miou > 0.8


@pytest.mark.slow
def test_a_resumed_run_ends_as_an_uninterrupted_one(
    squares: Path, clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ('schedule.steps=8', 'schedule.validate_every=3', 'schedule.threads=1')
    assert main(run_arguments(squares, clip, tmp_path, *settings, 'name=whole')) == 0
    arguments = [*run_arguments(squares, clip, tmp_path, *settings, 'name=parts'), '--resume']
    step = SegmentationTask.training_step

    def stops_at_the_fifth(task: SegmentationTask, batch: Batch, index: int) -> torch.Tensor:
        if task.global_step == 5:
            raise _PowerCutError
        return step(task, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(SegmentationTask, 'training_step', stops_at_the_fifth)
        with pytest.raises(_PowerCutError):
            main(arguments)
    assert not (tmp_path / 'parts' / 'parts.safetensors').exists()
    assert main(arguments) == 0
    whole, parts = (load_file(tmp_path / n / f'{n}.safetensors') for n in ('whole', 'parts'))
    assert whole.keys() == parts.keys()
    for key, value in whole.items():
        assert torch.equal(value, parts[key]), key


@pytest.mark.slow
def test_a_run_can_start_from_another_model(squares: Path, clip: str, tmp_path: Path) -> None:
    first = run_arguments(squares, clip, tmp_path, 'schedule.steps=3')
    assert main(first) == 0
    model = tmp_path / 'squares' / 'squares.safetensors'
    settings = ('name=second', 'schedule.steps=1', 'schedule.learning_rate=0.0')
    assert main([*first, *settings, f'initialize_from={model}']) == 0
    before, after = load_file(model), load_file(tmp_path / 'second' / 'second.safetensors')
    for key, value in before.items():
        assert torch.equal(value, after[key]), key
    assert main([*first, *settings, f'initialize_from={model}', 'model.detail_width=16']) == 2
    assert main([*first, *settings, 'initialize_from=none']) == 2


@pytest.mark.slow
def test_evaluate_writes_the_figures_that_its_table_shows(
    squares: Path, clip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(run_arguments(squares, clip, tmp_path, 'schedule.steps=2')) == 0
    model, figures = tmp_path / 'squares' / 'squares.safetensors', tmp_path / 'figures.json'
    arguments = ['evaluate', '--model', str(model), '--data', str(squares), '--json', str(figures)]
    assert main([*arguments, '--rename', 'red square=crimson']) == 0
    assert '"miou"' in figures.read_text()
    assert 'blue square' in capsys.readouterr().out
    assert main([*arguments, '--rename', 'green=x']) == 2
    assert capsys.readouterr().err.count('\n') == 1

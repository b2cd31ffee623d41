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
"""``zegclip evaluate``: the labels of ``zegclip segment``, scored for seen and unseen classes."""

from collections.abc import Sequence
from dataclasses import replace
import json
import math
from pathlib import Path
from types import SimpleNamespace

from commands import answer_of, refused
import numpy as np
from PIL import Image
import pytest
from tiny_models import published_state
import torch
from zegclip_core.cli.main import main
from zegclip_core.data.folder import FolderDataset, Sample
from zegclip_core.evaluation.choices import chosen_words
from zegclip_core.evaluation.evaluate import evaluate
from zegclip_core.images import confusion
from zegclip_core.segmentation import Segmentation
from zegclip_core.segmenter import EncodedVocabulary, Segmenter
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_core.weights.checkpoint import save_checkpoint, with_settings
from zegclip_core.weights.published import load_published

CLASSES = ('road', 'car', 'tree', 'sky')
KEYS = [
    'pixel_accuracy', 'miou', 'miou_seen', 'miou_unseen', 'hiou', 'iou', 'images', 'seconds',
]  # fmt: skip
THRESHOLD = 0.95
"""Some of the best scores of the tiny model are above it and some below."""
BIAS = 0.01
"""Enough for other labels, and not so much that only the unseen class is left."""


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write three noisy pictures with random blocks of labels, some of them unlabelled."""
    root = tmp_path_factory.mktemp('data')
    rng = np.random.default_rng(1)
    (root / 'classes.txt').write_text('\n'.join(CLASSES) + '\n')
    for kind in ('images', 'labels'):
        (root / kind / 'val').mkdir(parents=True)
    for name, (height, width) in (('a', (40, 56)), ('b', (48, 32)), ('c', (33, 47))):
        blocks = rng.choice([0, 1, 2, 3, 255], (4, 5)).astype(np.uint8)
        labels = np.kron(blocks, np.ones((12, 12), np.uint8))[:height, :width]
        image = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3)).astype(np.uint8)
        picture = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        picture.save(root / f'images/val/{name}.png')
        Image.fromarray(labels).save(root / f'labels/val/{name}.png')
    return root


@pytest.fixture(scope='module')
def published(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return random weights with so much contrast that every class wins somewhere."""
    state = published_state()
    state['text_encoder.token_embedding.weight'] *= 8
    state['decode_head.decoder_1.layers.2.multihead_attn.q.weight'] *= 8
    path = tmp_path_factory.mktemp('published') / 'tiny.pth'
    torch.save({'state_dict': state}, path)
    return str(path)


@pytest.fixture(scope='module')
def model(published: str) -> str:
    """Return a model that knows that it saw three of the classes, and their bias."""
    path = Path(published).with_suffix('.safetensors')
    checkpoint = with_settings(
        load_published(published), seen_classes=('road', 'tree', 'sky'), seen_bias=BIAS
    )
    save_checkpoint(checkpoint, path)
    return str(path)


@pytest.fixture(scope='module')
def segmenter(model: str) -> Segmenter:
    return Segmenter.load(model, device='cpu')


def scores(tmp_path: Path, data: Path, model: str, *options: str) -> dict:
    """Run the command and return what it wrote as JSON."""
    out = tmp_path / 'scores.json'
    arguments = ['--data', str(data), '--model', model, '--device', 'cpu', '--json', str(out)]
    assert main(['evaluate', *arguments, *options]) == 0
    return json.loads(out.read_text())


def slow_figures(
    pairs: list[tuple[np.ndarray, np.ndarray]], seen: set[int], names: Sequence[str] = CLASSES
) -> dict:
    """Count pixel by pixel over all pictures, and average."""
    both, guessed, real = ([0] * len(names) for _ in range(3))
    for predicted, truth in pairs:
        for guess, label in zip(predicted.ravel().tolist(), truth.ravel().tolist(), strict=True):
            if label == 255:
                continue
            real[label] += 1
            if guess != 255:
                guessed[guess] += 1
            both[label] += guess == label
    counts = zip(both, guessed, real, strict=True)
    iou = [b / (g + r - b) if g + r else math.nan for b, g, r in counts]
    one, other = (
        float(np.nanmean([iou[k] for k in range(len(names)) if (k in seen) == wanted]))
        for wanted in (True, False)
    )
    return {
        'pixel_accuracy': sum(both) / sum(real),
        'miou': float(np.nanmean(iou)),
        'miou_seen': one,
        'miou_unseen': other,
        'hiou': 2 * one * other / (one + other),
        'iou': dict(zip(names, iou, strict=True)),
    }


def segmented(tmp_path: Path, data: Path, model: str, *options: str) -> list:
    """Return the labels that ``zegclip segment`` writes, each with its mask."""
    out = tmp_path / 'labels'
    arguments = ['--model', model, '--device', 'cpu', '--out', str(out)]
    words = () if '--classes-file' in options else ('--classes', ', '.join(CLASSES))
    assert main(['segment', str(data / 'images/val'), *arguments, *words, *options]) == 0
    return [
        (
            np.array(Image.open(out / f'{name}_label.png')),
            np.array(Image.open(data / f'labels/val/{name}.png')),
        )
        for name in 'abc'
    ]


def test_the_labels_that_segment_writes_are_scored(
    tmp_path: Path, data: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = segmented(tmp_path, data, model, '--threshold', str(THRESHOLD))
    values = np.concatenate([labels.ravel() for labels, _ in pairs])
    assert 0.1 < np.mean(values == 255) < 0.9
    assert len(np.unique(values)) == 5
    found = scores(tmp_path, data, model, '--threshold', str(THRESHOLD))
    assert list(found) == KEYS
    for key, value in slow_figures(pairs, seen={0, 2, 3}).items():
        assert found[key] == pytest.approx(value, rel=1e-12), key
    assert found['images'] == 3
    table = capsys.readouterr().out
    rows = [line.split() for line in table.splitlines()]
    assert ['car', '(unseen)', f'{found["iou"]["car"]:.3f}'] in rows
    assert ['hIoU', f'{found["hiou"]:.3f}'] in rows
    assert 'tree (unseen)' not in table


def test_phrases_and_thresholds_of_a_words_file_count_as_in_segment(
    tmp_path: Path, data: Path, model: str
) -> None:
    words = tmp_path / 'words.json'
    entries = ['street', {'name': 'automobile', 'phrases': ['bus', 'van'], 'threshold': 0.6}]
    words.write_text(json.dumps([*entries, 'bush', 'clouds']))
    options = ('--classes-file', str(words), '--threshold', str(THRESHOLD))
    pairs = segmented(tmp_path, data, model, *options)
    # The words are in no list of seen classes, so `segment` has no bias for them.
    found = scores(tmp_path, data, model, *options, '--seen-bias', '0')
    expected = slow_figures(pairs, seen={0, 2, 3})
    assert found['iou'] == pytest.approx(expected['iou'], rel=1e-12)
    assert found['hiou'] == pytest.approx(expected['hiou'], rel=1e-12)


def test_the_bias_follows_the_class_not_the_word(data: Path, segmenter: Segmenter) -> None:
    dataset = FolderDataset(data, 'val')
    words = chosen_words(CLASSES, 'tree=bush, sky=clouds')
    labels = []
    told = segmenter.settings
    segmenter.settings = replace(told, seen_classes=('road', 'bush', 'clouds'))
    try:
        for index in range(3):
            sample = dataset[index]
            labels.append((segmenter.segment(sample.image, words).labels, sample.labels))
    finally:
        segmenter.settings = told
        segmenter._last = None
    result = evaluate(segmenter, dataset, range(3), words=words)
    assert result.metrics.iou == pytest.approx(slow_figures(labels, seen={0})['iou'], rel=1e-12)
    without = evaluate(segmenter, dataset, range(3), words=words, bias={})
    assert without.metrics.iou != result.metrics.iou


def test_the_seen_classes_lose_the_bias_that_is_asked_for(
    tmp_path: Path, data: Path, model: str, published: str
) -> None:
    known = scores(tmp_path, data, model)
    told = scores(tmp_path, data, published, '--unseen', 'car', '--seen-bias', str(BIAS))
    assert told['iou'] == known['iou']
    assert told['hiou'] == known['hiou']
    # A published file does not say what was seen, but it has a bias, 0.1.
    strong = scores(tmp_path, data, published, '--seen', 'road, tree, sky')
    assert strong['iou'] != known['iou']
    assert strong['iou'] == scores(tmp_path, data, model, '--seen-bias', '0.1')['iou']
    none = scores(tmp_path, data, model, '--seen-bias', '0')
    assert none['iou'] != known['iou']
    assert none['iou'] == scores(tmp_path, data, published)['iou']


def test_what_counts_as_seen_if_nobody_says_so(
    tmp_path: Path, data: Path, model: str, published: str
) -> None:
    everything = scores(tmp_path, data, published)
    assert everything['miou_seen'] == everything['miou']
    assert everything['miou_unseen'] is None
    assert everything['hiou'] is None
    # A model on names of which it knows none: a bias of all of them would change nothing.
    other = tmp_path / 'other'
    other.mkdir()
    for kind in ('images', 'labels'):
        (other / kind).symlink_to(data / kind)
    (other / 'classes.txt').write_text('Straße\nAuto\nBaum\nHimmel\n')
    crossed = scores(tmp_path, other, model)
    assert crossed['miou_unseen'] is None
    assert crossed['iou'] == pytest.approx(scores(tmp_path, other, published)['iou'])


class Made:
    """SegmentationDataset of given labels."""

    classes = CLASSES
    title = key = 'made'

    def __init__(self, *masks: list) -> None:
        self.masks = [np.array([mask], np.uint8) for mask in masks]

    def name(self, index: int) -> str:
        return f'picture {index}'

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, index: int) -> Sample:
        mask = self.masks[index]
        return Sample(np.full((*mask.shape, 3), index, np.uint8), mask, self.name(index))


class Answers:
    """A segmenter that says of each picture what it is told to, with a score of its own."""

    settings = SimpleNamespace(seen_classes=(), seen_bias=0.0)

    def __init__(self, *labels: list, score: float = 0.5) -> None:
        self.labels = labels
        self.score = score
        self.asked: list[tuple[str, ...]] = []

    def encode(self, vocabulary: Vocabulary) -> EncodedVocabulary:
        zeros = torch.zeros(len(vocabulary))
        return EncodedVocabulary(vocabulary, zeros[:, None], zeros, zeros)

    def segment(self, image: np.ndarray, encoded: EncodedVocabulary) -> Segmentation:
        self.asked.append(encoded.vocabulary.names)
        labels = np.array([self.labels[image.flat[0]]], np.uint8)
        scores = np.full(labels.shape, self.score, np.float32)
        return Segmentation(labels, scores, encoded.vocabulary)


def test_classes_are_asked_for_in_their_order_whatever_is_there() -> None:
    # Of equal scores the first class wins, which must not be one because it is there.
    asks = Answers([0, 0], [1, 1])
    result = evaluate(asks, Made([3, 1], [2, 255]), [0, 1], absent=1)
    assert asks.asked == [('road', 'car', 'sky'), ('tree', 'sky')]
    assert result.confusion.matrix[3].tolist() == [1, 0, 0, 0, 0]
    assert result.confusion.matrix[2].tolist() == [0, 0, 0, 1, 0]
    everything = Answers([0, 0])
    evaluate(everything, Made([3, 1]), [0])
    assert everything.asked == [CLASSES]


def test_the_worst_pictures_are_those_of_least_mean_iou() -> None:
    masks = ([0, 0, 1, 1], [2, 2, 2, 255], [255, 255, 255, 255], [3, 3, 3, 3])
    answers = ([0, 0, 0, 1], [2, 2, 2, 0], [0, 0, 0, 0], [3, 0, 255, 1])
    result = evaluate(Answers(*answers), Made(*masks), range(4), worst=2)
    assert [score.index for score in result.worst] == [3, 0]
    assert [score.miou for score in result.worst] == pytest.approx([1 / 4, (2 / 3 + 1 / 2) / 2])
    assert [score.pixel_accuracy for score in result.worst] == [0.25, 0.75]
    assert result.worst[0].labels.tolist() == [[3, 0, 255, 1]]
    assert evaluate(Answers(*answers), Made(*masks), range(4)).worst == ()


def test_the_best_pictures_are_those_of_the_greatest_mean_iou() -> None:
    masks = [np.array([[0, 0, 1, 1]], np.uint8)] * 3
    answers = [np.array([labels], np.uint8) for labels in ([0, 0, 1, 0], [0, 0, 1, 1], [1] * 4)]
    result = evaluate(Answers(*answers), Made(*masks), range(3), worst=1, best=2)
    assert [score.index for score in result.best] == [1, 0]
    assert [score.index for score in result.worst] == [2]


def test_low_scores_are_counted_where_the_mask_is_labelled() -> None:
    dataset = Made([0, 255], [1, 1])
    assert evaluate(Answers([0, 0], [0, 1], score=0.01), dataset, [0, 1]).low_scores == 1.0
    assert evaluate(Answers([0, 0], [0, 1], score=0.1), dataset, [0, 1]).low_scores == 0.0


OUTPUTS = [
    (['--json', 'nowhere/out.json'], 'Expected a folder for --json'),
    (['--json', '.'], "--json to be a file, but '.' is a folder"),
    (['--worst', 'out.jpg'], '--worst to be a file that ends in .png'),
    (['--confusion', 'out'], '--confusion to be a file that ends in .png'),
    (['--confusion', 'nowhere/out.png'], 'Expected a folder for --confusion'),
]
CHOICES = [
    (['--dataset', 'voc13'], "but got 'voc13'"),
    (['--split', 'test'], 'images/test with pictures, but there is none; in '),
    (['--split', 'test'], 'there is val.'),
    (['--data', 'nowhere'], 'a folder with a dataset, but nowhere is none'),
    (['--seen', 'boat'], "but got 'boat'"),
    (['--rename', 'boat=ship'], 'class=word'),
    (['--classes-file', 'nowhere.txt'], 'nowhere.txt'),
    (['--classes-file', 'a', '--rename', 'car=bus'], 'not allowed with'),
    (['--seen-bias', '2'], 'in [0, 1]'),
]


@pytest.mark.parametrize(('options', 'expected'), [*OUTPUTS, *CHOICES])
def test_what_cannot_be_is_refused_in_one_line_before_the_model_is_loaded(
    tmp_path: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    # The model is missing, too, but that is not what the line says.
    arguments = ['evaluate', '--data', str(data), '--model', 'nowhere.safetensors', *options]
    assert expected in refused(answer_of(capsys, *arguments))


def test_a_file_that_cannot_be_finished_leaves_nothing(
    tmp_path: Path, data: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks_off(counts: object, is_seen: object, path: Path) -> None:
        path.write_bytes(b'half')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(confusion, 'save_confusion', breaks_off)
    out = tmp_path / 'confusion.png'
    arguments = ['evaluate', '--data', str(data), '--model', model, '--device', 'cpu']
    assert main([*arguments, '--confusion', str(out)]) == 2
    assert list(tmp_path.iterdir()) == []

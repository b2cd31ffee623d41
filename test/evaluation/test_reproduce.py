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
"""``zegclip reproduce``: rows of the published tables, from data to figures, on small models."""

import json
from pathlib import Path
import re

import numpy as np
from PIL import Image
import pytest
from test_evaluation import slow_figures
from tiny_datasets import SIZES, write_voc
from tiny_models import published_state
import torch
import torch.nn.functional as F
from zegclip_core.cli.main import main
from zegclip_core.data.datasets import load_spec
from zegclip_core.evaluation.reproduction import half_way, load_row, published_rows, row_configs
from zegclip_core.images.checks import working_size
from zegclip_core.loading import load_model
from zegclip_core.model.vit import IMAGENET_MEAN, IMAGENET_STD
from zegclip_core.training.config import find_recipe, load_config

VOC = load_spec('voc12').classes
UNSEEN = ('pottedplant', 'sheep', 'sofa', 'train', 'tvmonitor')
PUBLISHED = {
    'voc12-inductive': (94.6, 91.9, 77.8, 84.3),
    'voc12-transductive': (96.2, 92.3, 89.9, 91.1),
    'voc12-fully': (96.3, 92.4, 90.9, 91.6),
    'voc12-step1': (None, 71.1, 16.3, 26.5),
    'voc12-step2': (None, 76.5, 13.8, 23.4),
    'voc12-step3': (None, 75.9, 28.3, 41.2),
    'voc12-step4': (None, 89.9, 40.4, 55.7),
    'coco-inductive': (62.0, 40.2, 41.1, 40.8),
    'coco-transductive': (69.2, 40.7, 59.9, 48.5),
    'coco-fully': (69.9, 40.7, 63.2, 49.6),
    'context-inductive': (None, None, None, None),
    'context-transductive': (None, None, None, None),
}
FIGURES = ('pixel_accuracy', 'miou_seen', 'miou_unseen', 'hiou')


@pytest.fixture(scope='module')
def voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_voc(tmp_path_factory.mktemp('voc'))


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write random weights in the published layout, with contrast, as mmcv stores them."""
    state = published_state(seed=5)
    state['text_encoder.token_embedding.weight'] *= 8
    state['decode_head.decoder_1.layers.2.multihead_attn.q.weight'] *= 8
    path = tmp_path_factory.mktemp('published') / 'voc12_inductive.pth'
    torch.save({'meta': {}, 'state_dict': state, 'optimizer': {}}, path)
    return path


def published_labels(checkpoint: Path, image: np.ndarray, bias: float) -> np.ndarray:
    """Label a picture as section 'slide' of the release's test code does, step by step."""
    loaded = load_model(str(checkpoint))
    texts = [[f'a photo of a {name}'] for name in VOC]
    encoded = [F.normalize(loaded.text_encoder.tower.encode(text), dim=-1) for text in texts]
    height, width = image.shape[:2]
    short = min(height, width)
    size = [int(side * 32 / short + 0.5) for side in (height, width)]
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    pixels = F.interpolate(pixels, size=size, mode='bilinear', antialias=True)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    pixels = (pixels - mean) / std
    total, count = torch.zeros(1, len(VOC), *size), torch.zeros(1, 1, *size)
    tops, lefts = (sorted({min(k * 27, side - 32) for k in range(4)}) for side in size)
    for top in tops:
        for left in lefts:
            part = (..., slice(top, top + 32), slice(left, left + 32))
            with torch.inference_mode():
                logits = loaded.network(pixels[part], torch.cat(encoded))
            logits = F.interpolate(logits, size=(32, 32), mode='bilinear', align_corners=False)
            total[part] += logits.sigmoid()
            count[part] += 1
    scores = total / count
    scores[:, [name not in UNSEEN for name in VOC]] -= bias
    scores = F.interpolate(scores, size=(height, width), mode='bilinear', align_corners=False)
    return scores[0].argmax(dim=0).numpy()


def protocol_figures(voc: Path, checkpoint: Path, bias: float) -> dict:
    """Label all pictures step by step, count pixel by pixel, and average."""
    base, pairs = voc / 'VOCdevkit/VOC2012', []
    for name in SIZES:
        image = np.array(Image.open(base / f'JPEGImages/val{name}.jpg'))
        values = np.array(Image.open(base / f'SegmentationClass/val{name}.png'))
        # Background and outlines are not counted.
        truth = np.where((values == 0) | (values == 255), 255, values.astype(int) - 1)
        pairs.append((published_labels(checkpoint, image, bias), truth))
    seen = {k for k, name in enumerate(VOC) if name not in UNSEEN}
    return slow_figures(pairs, seen, VOC)


def reproduced(tmp_path: Path, *arguments: object) -> dict:
    """Run the command and return what it wrote as JSON."""
    out = tmp_path / 'figures.json'
    words = [str(argument) for argument in arguments]
    assert main(['reproduce', *words, '--device', 'cpu', '--json', str(out)]) == 0
    return json.loads(out.read_text())


@pytest.mark.parametrize(('setting', 'bias'), [('inductive', 0.1), ('fully', 0.0)])
def test_a_published_checkpoint_is_scored_by_the_published_protocol(
    tmp_path: Path,
    voc: Path,
    checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
    setting: str,
    bias: float,
) -> None:
    row = f'voc12-{setting}'
    found = reproduced(tmp_path, row, '--data', voc, '--checkpoint', checkpoint)
    expected = protocol_figures(voc, checkpoint, bias)
    assert expected['miou_seen'] > 0.0
    for key in FIGURES:
        assert found[key] == pytest.approx(expected[key], rel=1e-12), key
    iou = {name: np.nan if value is None else value for name, value in found['iou'].items()}
    assert iou == pytest.approx(expected['iou'], rel=1e-12, nan_ok=True)
    assert found['row'] == row
    figures = dict(zip(FIGURES, PUBLISHED[row], strict=True))
    assert {key: 100 * value for key, value in found['published'].items()} == pytest.approx(
        figures
    )
    shown = capsys.readouterr()
    ours = 100 * found['miou_unseen']
    line = f'mIoU(U) {figures["miou_unseen"]} {ours:.1f} {ours - figures["miou_unseen"]:+.1f}'
    assert line.split() in [text.split() for text in shown.out.splitlines()]
    assert 'README of ZiqinZhou66/ZegCLIP' in shown.out
    assert 'val has 3 pictures, but the published one 1449' in shown.err


def test_a_row_without_verified_figures_says_so(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tmp_path / 'VOCdevkit/VOC2010'
    for folder, name, values in (
        ('JPEGImages', 'a.jpg', np.full((32, 40, 3), 90)),
        ('SegmentationClassContext', 'a.png', np.tile(np.arange(40), (32, 1))),
    ):
        (base / folder).mkdir(parents=True)
        Image.fromarray(values.astype(np.uint8)).save(base / folder / name)
    (base / 'ImageSets/SegmentationContext').mkdir(parents=True)
    (base / 'ImageSets/SegmentationContext/val.txt').write_text('a\n')
    options = ('--data', tmp_path, '--checkpoint', checkpoint)
    found = reproduced(tmp_path, 'context-inductive', *options)
    assert set(found['published'].values()) == {None}
    assert len(found['iou']) == 60
    table = capsys.readouterr().out.splitlines()
    ours = f'{100 * found["pixel_accuracy"]:.1f}'
    assert table[2].split() == ['pAcc', 'not', 'verified', ours, '-']


def test_the_published_figures_are_those_of_readme_and_paper() -> None:
    assert tuple(published_rows()) == tuple(PUBLISHED)
    for name, figures in PUBLISHED.items():
        published = load_row(name).published
        assert set(published) <= set(FIGURES)
        assert tuple(published.get(key) for key in FIGURES) == figures
        _, seen, unseen, both = figures
        if seen and unseen:
            # As an average over runs it differs a little from the mean of the averages.
            assert both == pytest.approx(2 * seen * unseen / (seen + unseen), abs=0.2)


@pytest.mark.parametrize('name', PUBLISHED)
def test_a_row_is_trained_as_it_is_scored(name: str) -> None:
    row, config = load_row(name), row_configs(name, 'data')[-1]
    assert config.name == name
    (validated,) = config.validation
    assert (validated.dataset, validated.split) == (row.dataset, row.part)
    assert {source.dataset for source in config.train} == {row.dataset}
    assert config.towers.templates == row.templates
    assert config.settings.seen_bias == row.seen_bias
    assert config.settings.threshold == 0.0
    assert list(config.unseen) == ([] if name.endswith('fully') else [row.unseen])
    assert bool(row.first) == (config.setting == 'transductive')


@pytest.mark.parametrize('name', [name for name in PUBLISHED if 'step' in name])
def test_a_step_changes_model_and_loss_alone(name: str) -> None:
    (step,), (whole,) = row_configs(name, '/data'), row_configs('voc12-inductive', '/data')
    model = {'prompt_tokens', 'relationship_descriptor', 'tower'}
    assert step.model.model_dump(exclude=model) == whole.model.model_dump(exclude=model)
    changed = {'name': True, 'model': True, 'loss': True, 'schedule': {'tower_rate'}}
    assert step.model_dump(exclude=changed) == whole.model_dump(exclude=changed)
    weights = {'mask_weight', 'dice_weight', 'cross_entropy_weight'}
    assert step.loss.model_dump(exclude=weights) == whole.loss.model_dump(exclude=weights)


@pytest.mark.parametrize('name', [name for name in PUBLISHED if name.endswith('transductive')])
def test_a_transductive_row_starts_half_way_through_the_inductive_one(name: str) -> None:
    first, second = row_configs(name, '/data/x y')
    plain = load_config(find_recipe(load_row(name).first))
    half = plain.schedule.steps // 2
    assert first.schedule == plain.schedule.model_copy(update={'stop': half})
    assert first.schedule.end == half
    assert first.name == load_row(name).first
    assert [source.root for source in (*first.train, *second.validation)] == ['/data/x y'] * 2
    assert second.initialize_from == str(half_way(first))
    # The configuration alone says the same.
    assert second.initialize_from == load_config(find_recipe(name)).initialize_from
    short, last = row_configs(name, '/data', ['schedule.steps=5', 'output=/out', 'name=mine'])
    assert (short.schedule.steps, short.schedule.keep) == (10, (5,))
    assert last.initialize_from == f'/out/{load_row(name).first}/step=5.ckpt'
    assert (short.name, last.name) == (load_row(name).first, 'mine')


def test_pictures_for_windows_keep_their_aspect_to_the_pixel() -> None:
    def size(height: int, width: int, window: int | None) -> tuple[int, int]:
        return working_size(height, width, short_side=512, patch_size=16, window=window)

    # What mmcv makes of them: 512 / 375 * 500 is 682.67.
    assert size(375, 500, 512) == (512, 683)
    assert size(500, 375, 512) == (683, 512)
    assert size(375, 500, None) == (512, 672)
    # A side that no window covers, or a window of broken patches, is brought to whole patches.
    assert size(10, 3000, 512)[0] % 16 == 0
    assert size(375, 500, 500) == (512, 672)


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (['voc12'], "Expected a row of voc12-inductive, .* but got 'voc12'"),
        (['voc12-inductive', '--data', '.'], 'PASCAL VOC 2012 .* JPEGImages'),
        (['voc12-inductive', '--json', 'nowhere/x.json'], 'Expected a folder for --json'),
        (['voc12-inductive', '--checkpoint', 'none.pth'], 'no file at none.pth'),
        (['voc12-inductive', '--checkpoint', 'x.pth', 'seed=1'], 'no settings of training'),
        (['voc12-inductive', 'schedule.stepz=1'], "but got 'stepz'"),
        (['voc12-inductive', 'towers.image=package:none/x.onnx'], 'none'),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    tmp_path: Path,
    voc: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    data = [] if '--data' in arguments else ['--data', str(voc)]
    assert main(['reproduce', *arguments, *data]) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith('zegclip: error: ')
    assert re.search(expected, line)
    assert list(tmp_path.iterdir()) == []


def test_a_row_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(['reproduce', '--data', '.'])
    assert 'required: ROW (' in capsys.readouterr().err

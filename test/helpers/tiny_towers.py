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
"""Small seeded models of other families than CLIP's, built and saved by their own libraries."""

from collections.abc import Callable
import io
import json
from pathlib import Path

import open_clip
import pytest
from safetensors.torch import save_file
import sentencepiece
import timm
from timm.models import register_model
from tokenizers import models, normalizers, pre_tokenizers, processors, Tokenizer
import torch
from torch import nn
from transformers import PreTrainedTokenizerFast, Tipsv2Config, Tipsv2Model
from zegclip_core.weights.tips import TIPS, TipsModel, TOKENIZER_FILE
from zegclip_core.weights.trunks import Trunk, TRUNKS

WIDTH, LAYERS, HEADS = 64, 2, 2
PATCH = 16
GRIDS = [(3, 3), (3, 5)]
"""In patches, for which each source is built: square and not."""
PLAIN_TEXT = {'context_length': 77, 'vocab_size': 49408, 'width': 64, 'heads': 2, 'layers': 1}
WORDS = ['a', 'photo', 'of', 'cat', 'bus', 'sky', 'wall', 'tree', 'the', 'red', '.']


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Move every parameter, so that no bias is 0, no factor 1 and no pooling even."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def write_tokenizer(folder: Path) -> int:
    """Write a tokenizer as transformers does, its text ended by ``</s>``; return its size."""
    special = ['<pad>', '</s>', '<unk>']
    # Whole words, and every letter for the others.
    entries = [*special, *WORDS, *(chr(code) for code in range(98, 123))]
    own = Tokenizer(models.WordLevel({word: i for i, word in enumerate(entries)}, '<unk>'))
    own.normalizer = normalizers.Lowercase()
    own.pre_tokenizer = pre_tokenizers.Whitespace()
    own.post_processor = processors.TemplateProcessing(
        single='$A </s>', special_tokens=[('</s>', 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=own, pad_token='<pad>', eos_token='</s>', unk_token='<unk>'
    ).save_pretrained(folder)
    return len(entries)


def register_trunk(
    monkeypatch: pytest.MonkeyPatch, name: str, build: Callable[..., nn.Module], trunk: Trunk
) -> None:
    """Make a small ViT known to timm by name, and to the table of those that are supported."""

    def tiny(pretrained: bool = False, **kwargs: object) -> nn.Module:
        return build(**kwargs)

    tiny.__name__ = name
    tiny.__module__ = timm.models.vision_transformer.__name__
    if not timm.is_model(name):
        register_model(tiny)
    else:
        monkeypatch.setitem(timm.models._registry._model_entrypoints, name, tiny)
    monkeypatch.setitem(TRUNKS, name, trunk)


def register_clip(folder: Path, name: str, config: dict) -> None:
    """Make a model known to open_clip by name."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f'{name}.json'
    path.write_text(json.dumps(config))
    open_clip.add_model_config(path)


def eva02(
    monkeypatch: pytest.MonkeyPatch, folder: Path, grid: tuple[int, int]
) -> tuple[str, open_clip.CustomTextCLIP, Path]:
    """Write a small EVA-02 CLIP as open_clip does; returns its name, the model, and its file."""
    name = f'tiny-eva02-{grid[0]}-{grid[1]}'
    size = [PATCH * side for side in grid]

    def build(**kwargs: object) -> nn.Module:
        return timm.create_model(
            'eva02_base_patch16_clip_224',
            **{'img_size': size, 'embed_dim': WIDTH, 'depth': LAYERS, 'num_heads': HEADS},
            **kwargs,
        )

    hidden = int(WIDTH * 4 * 2 / 3)
    trunk = Trunk('eva02', WIDTH, LAYERS, HEADS, hidden, PATCH)
    register_trunk(monkeypatch, 'tiny_eva02', build, trunk)
    config = {
        'embed_dim': 40,
        'custom_text': True,
        'vision_cfg': {
            'image_size': size,
            'timm_model_name': 'tiny_eva02',
            'timm_model_pretrained': False,
            'timm_pool': 'token',
            'timm_proj': None,
        },
        'text_cfg': PLAIN_TEXT,
    }
    register_clip(folder / 'configs', name, config)
    model = open_clip.CustomTextCLIP(**{k: v for k, v in config.items() if k != 'custom_text'})
    randomise(model)
    path = folder / 'open_clip_model.safetensors'
    save_file(model.state_dict(), path)
    return name, model, path


def timm_tower(
    monkeypatch: pytest.MonkeyPatch, folder: Path, grid: tuple[int, int], base: str
) -> tuple[str, nn.Module, Path]:
    """Write a small ViT of timm's, shaped as ``base``; returns its name, the model, its file."""
    size = [PATCH * side for side in grid]

    def build(**kwargs: object) -> nn.Module:
        sizes = {'embed_dim': WIDTH, 'depth': LAYERS, 'num_heads': HEADS, 'patch_size': PATCH}
        return timm.create_model(base, img_size=size, mlp_ratio=4.0, **sizes, **kwargs)

    trunk = Trunk('siglip', WIDTH, LAYERS, HEADS, 4 * WIDTH, PATCH)
    register_trunk(monkeypatch, 'tiny_timm', build, trunk)
    model = randomise(build(num_classes=0))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / 'model.safetensors'
    save_file(model.state_dict(), path)
    return 'tiny_timm', model, path


def siglip(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    grid: tuple[int, int],
    *,
    activation: str = 'gelu',
) -> tuple[str, open_clip.CustomTextCLIP, Path]:
    """Write a small SigLIP as open_clip does, with its tokenizer beside it.

    Returns its name, the model, and its weights file.
    """
    name = f'tiny-siglip-{grid[0]}-{grid[1]}-{activation}'
    size = [PATCH * side for side in grid]

    def build(**kwargs: object) -> nn.Module:
        return timm.create_model(
            'vit_base_patch16_siglip_224',
            **{'img_size': size, 'embed_dim': WIDTH, 'depth': LAYERS, 'num_heads': HEADS},
            **({'act_layer': 'gelu_tanh'} if activation == 'gelu_tanh' else {}),
            **kwargs,
        )

    trunk_name = f'vit_{name.replace("-", "_")}'
    trunk = Trunk('siglip', WIDTH, LAYERS, HEADS, 4 * WIDTH, PATCH, activation)
    register_trunk(monkeypatch, trunk_name, build, trunk)
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = write_tokenizer(folder)
    second = activation == 'gelu_tanh'
    config = {
        'embed_dim': WIDTH,
        'init_logit_bias': -10,
        'custom_text': True,
        'vision_cfg': {
            'image_size': size,
            'timm_model_name': trunk_name,
            'timm_model_pretrained': False,
            'timm_pool': 'map',
            'timm_proj': 'none',
        },
        'text_cfg': {
            'context_length': 16,
            'vocab_size': vocabulary,
            'hf_tokenizer_name': 'nobody/tiny-siglip',
            'tokenizer_kwargs': {'clean': 'canonicalize'},
            **{'width': WIDTH, 'heads': HEADS, 'layers': LAYERS},
            **{'no_causal_mask': True, 'proj_bias': True, 'pool_type': 'last'},
            'norm_kwargs': {'eps': 1e-6},
            **({'act_kwargs': {'approximate': 'tanh'}} if second else {}),
        },
    }
    register_clip(folder / 'configs', name, config)
    model = open_clip.CustomTextCLIP(
        **{k: v for k, v in config.items() if k != 'custom_text'},
        init_logit_scale=1.5,
    )
    randomise(model)
    path = folder / 'open_clip_model.safetensors'
    save_file(model.state_dict(), path)
    return name, model, path


def tips(
    monkeypatch: pytest.MonkeyPatch, folder: Path, grid: tuple[int, int], *, gated: bool = False
) -> tuple[str, Tipsv2Model, Path]:
    """Write a small TIPSv2 as transformers does, with its tokenizer beside it.

    Its position table is square whatever the grid, as transformers knows no other. Returns its
    name, the model, and its weights file.
    """
    name, side, text_width = f'TIPSv2-tiny-{"g" if gated else "b"}', 4 * PATCH, 96
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = write_sentencepiece(folder)
    shared = {'hidden_size': WIDTH, 'num_hidden_layers': LAYERS, 'num_attention_heads': HEADS}
    sizes = {'image_size': side, 'patch_size': PATCH, 'use_swiglu_ffn': gated}
    text = {'vocab_size': vocabulary, 'intermediate_size': text_width}
    config = Tipsv2Config(vision_config=shared | sizes, text_config=shared | text)
    model = randomise(Tipsv2Model(config))
    with torch.no_grad():
        model.temperature.fill_(0.02)
    model.save_pretrained(folder)
    shape = TipsModel(
        *('nobody/tiny-tips', WIDTH, LAYERS, HEADS, 4 * WIDTH, LAYERS, text_width, 0.5),
        **{'gated': gated, 'image_size': side, 'patch_size': PATCH, 'vocabulary': vocabulary},
    )
    monkeypatch.setitem(TIPS, name, shape)
    return name, model, folder / 'model.safetensors'


def write_sentencepiece(folder: Path) -> int:
    """Write a tokenizer as SentencePiece does; return its size."""
    written, size = io.BytesIO(), 330  # Each byte is a token, and some pairs of letters.
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([' '.join(WORDS), 'a photo of the red wall.'] * 4),
        model_writer=written,
        **{'model_type': 'bpe', 'vocab_size': size, 'byte_fallback': True, 'minloglevel': 2},
        **{'pad_id': 0, 'unk_id': 1, 'bos_id': -1, 'eos_id': -1},
    )
    (folder / TOKENIZER_FILE).write_bytes(written.getvalue())
    return size

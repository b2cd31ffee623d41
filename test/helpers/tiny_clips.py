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
"""Small seeded CLIPs: one that open_clip knows by name, and one with its outputs in a file."""

import json
from pathlib import Path
import tempfile
from typing import TYPE_CHECKING

from safetensors.torch import save_file
import torch
from zegclip_core.model.training_free import TrainingFreeCLIP, TrainingFreeConfig
from zegclip_core.model.vit import VisionConfig
from zegclip_core.options import Attention
from zegclip_core.text.templates import fill_template

if TYPE_CHECKING:
    import open_clip

NAME = 'tiny-clip'
CONFIG = {
    'embed_dim': 64,
    'vision_cfg': {
        'image_size': 64,
        'patch_size': 16,
        'width': 96,
        'layers': 2,
        'head_width': 32,
    },
    'text_cfg': {
        'context_length': 77,
        'vocab_size': 49408,
        'width': 64,
        'heads': 2,
        'layers': 1,
    },
}
MADE = {
    'embed_dim': 40,
    'image_size': 72,
    'patch_size': 24,
    'vision_width': 96,
    'vision_layers': 2,
    'vision_heads': 3,
    'text_width': 160,
    'text_heads': 5,
    'text_layers': 3,
    'context_length': 29,
    'vocab_size': 49408,
    'class_names': ['bus', 'washing machine', 'café {au} lait'],
    'templates': ['{}', 'two {}s, side by side!'],
}


def register() -> str:
    """Make the model known to open_clip, also with QuickGELU, and return its name."""
    import open_clip  # Not on every machine with a GPU, whose tests import this file.

    if NAME not in open_clip.list_models():
        folder = Path(tempfile.mkdtemp())  # open_clip reads its folders again and again.
        for ending, more in (('', {}), ('-quickgelu', {'quick_gelu': True})):
            (folder / f'{NAME}{ending}.json').write_text(json.dumps({**CONFIG, **more}))
        open_clip.add_model_config(folder)
    return NAME


def tiny_clip(seed: int = 3, *, quick_gelu: bool = False) -> 'open_clip.CLIP':
    """Return the model with seeded weights, its biases not zero."""
    import open_clip

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = open_clip.get_model_config(register()) | {'quick_gelu': quick_gelu}
        model = open_clip.CLIP(**config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.eval()


def write_tiny_clip(path: Path, model: 'open_clip.CLIP | None' = None) -> Path:
    """Write the weights as open_clip's safetensors."""
    save_file((model or tiny_clip()).state_dict(), path)
    return path


def model_config(sizes: dict) -> dict:
    """Return open_clip's configuration of a model with these sizes."""
    return {
        'embed_dim': sizes['embed_dim'],
        'vision_cfg': {
            'image_size': sizes['image_size'],
            'patch_size': sizes['patch_size'],
            'width': sizes['vision_width'],
            'layers': sizes['vision_layers'],
            'head_width': sizes['vision_width'] // sizes['vision_heads'],
        },
        'text_cfg': {
            'context_length': sizes['context_length'],
            'vocab_size': sizes['vocab_size'],
            'width': sizes['text_width'],
            'heads': sizes['text_heads'],
            'layers': sizes['text_layers'],
        },
    }


def make_reference(path: Path) -> None:
    """Store a seeded model of open_clip and its outputs as the given file is laid out."""
    import open_clip

    torch.manual_seed(7)
    config = model_config(MADE)
    model = open_clip.CLIP(**config, quick_gelu=True).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # open_clip begins with zero biases
            parameter.add_(torch.randn_like(parameter) * 0.05)
    prompts = [[fill_template(t, n) for t in MADE['templates']] for n in MADE['class_names']]
    tokens = torch.stack(
        [open_clip.tokenize(row, context_length=MADE['context_length']) for row in prompts]
    )
    images = torch.randn(3, 3, MADE['image_size'], MADE['image_size'])
    with torch.no_grad():
        texts = model.encode_text(tokens.flatten(0, 1), normalize=True).unflatten(
            0, tokens.shape[:2]
        )
        image_embedding = model.encode_image(images)
    state_dict = model.state_dict()
    table = state_dict.pop('token_embedding.weight')
    used = tokens.unique()
    mean = texts.mean(dim=1)
    tensors = {
        'expected.token_ids': tokens,
        'expected.text_embedding_first_template': texts[:, 0].clone(),
        'expected.text_embedding_ensemble': mean / mean.norm(dim=-1, keepdim=True),
        'expected.image_embedding': image_embedding,
        'input.image': images,
        'token_embedding.used_ids': used,
        'token_embedding.used_rows': table[used],
        **{f'state_dict.{key}': value for key, value in state_dict.items()},
    }
    save_file(tensors, path, metadata={'config': json.dumps(MADE)})


def seeded(attention: Attention, *, prefix: int = 1, **changes: float) -> TrainingFreeCLIP:
    """Return a small model whose patches differ; rows and columns of its table too."""
    torch.manual_seed(5)
    vision = VisionConfig(
        *(8, 48, 3, 3, 96, (3, 5)),
        embed_dim=20,
        num_prefix_tokens=prefix,
        pooling='token' if prefix else 'avg',
    )
    network = TrainingFreeCLIP(TrainingFreeConfig(vision, attention, **changes)).eval()
    for parameter in network.parameters():
        parameter.add_(0.2 * torch.randn_like(parameter))
    return network

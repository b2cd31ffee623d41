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
"""TIPSv2's models, which open_clip does not have; never imports torch.

Reference: Cao et al., "TIPSv2", https://arxiv.org/abs/2604.12012, and its release
(https://github.com/google-deepmind/tips, Apache-2.0), whose files the model hub has.
"""

from dataclasses import dataclass
from typing import Any

from zegclip_core.errors import TowerError
from zegclip_core.weights.about import nearest_names

TAG = 'webli'
"""The one set of weights that each model has, by what it was trained on."""
FILE = 'model.safetensors'
TOKENIZER_FILE = 'tokenizer.model'
"""Of the repository of a model; the second one is SentencePiece's."""
_CONTEXT, _VOCABULARY = 64, 32_000
_SHOWN = 4


@dataclass(frozen=True)
class TipsModel:
    """The shape of a model, whose two towers have one width, that of the joint space.

    Attributes:
        repository: Where the model hub has it.
        width: Of the tokens of both towers.
        layers: Blocks of the image tower.
        heads: Attention heads of each block, in both towers.
        mlp_width: Hidden width of the image tower's feed-forward parts.
        text_layers: Blocks of the text tower.
        text_mlp_width: Hidden width of its feed-forward parts.
        temperature: What cosines are divided by, as it was learnt.
        gated: Whether the image tower's feed-forward parts are SwiGLUs.
        image_size: Side of the images that it was made for, in pixels, or ``(H, W)``.
        patch_size: Side of a patch, in pixels.
        vocabulary: Number of tokens.
    """

    repository: str
    width: int
    layers: int
    heads: int
    mlp_width: int
    text_layers: int
    text_mlp_width: int
    temperature: float
    gated: bool = False
    image_size: int | tuple[int, int] = 448
    patch_size: int = 14
    vocabulary: int = _VOCABULARY

    @property
    def config(self) -> dict[str, Any]:
        """The shape as a configuration of open_clip's says it."""
        return {
            'embed_dim': self.width,
            'vision_cfg': {
                'image_size': self.image_size,
                'patch_size': self.patch_size,
                'head_width': self.width // self.heads,
            },
            'text_cfg': {
                'context_length': _CONTEXT,
                'vocab_size': self.vocabulary,
                'hf_tokenizer_name': self.repository,
                **{'width': self.width, 'heads': self.heads, 'layers': self.text_layers},
                'mlp_width': self.text_mlp_width,
            },
            'temperature': self.temperature,
        }

    @property
    def tag_config(self) -> dict[str, Any]:
        """Where its weights are and how pixels are brought to them, as open_clip says it."""
        return {
            'hf_hub': f'{self.repository}/{FILE}',
            'mean': (0.0, 0.0, 0.0),  # Pixels in [0, 1] as they are.
            'std': (1.0, 1.0, 1.0),
        }

    @property
    def parameters(self) -> int:
        """How many parameters its file has, in both towers."""
        width, side = self.width, self.image_size
        height, wide = (side, side) if isinstance(side, int) else side
        patches = (height // self.patch_size) * (wide // self.patch_size)
        # Patches, class token, register, mask token, positions and the last norm.
        ends = (3 * self.patch_size**2 + 1 + 3 + 1 + patches + 2) * width
        image = self.layers * (_block(width, self.mlp_width, self.gated) + 2 * width) + ends
        text = self.text_layers * _block(width, self.text_mlp_width, False)
        return image + text + (self.vocabulary + 2) * width


def _block(width: int, hidden: int, gated: bool) -> int:
    """Return how many parameters a block has, without any factors of its branches."""
    attention = 4 * width**2 + 4 * width
    first = 2 * hidden if gated else hidden
    return attention + (width + 1) * first + (hidden + 1) * width + 4 * width


TIPS: dict[str, TipsModel] = {
    'TIPSv2-B-14': TipsModel(
        'google/tipsv2-b14', 768, 12, 12, 3072, 12, 3072, 0.005065968260169029
    ),
    'TIPSv2-L-14': TipsModel(
        'google/tipsv2-l14', 1024, 24, 16, 4096, 12, 4096, 0.004785141441971064
    ),
    'TIPSv2-SO400M-14': TipsModel(
        'google/tipsv2-so400m14', 1152, 27, 16, 4304, 27, 4304, 0.004638021811842918
    ),
    'TIPSv2-g-14': TipsModel(
        'google/tipsv2-g14', 1536, 40, 24, 4096, 12, 6144, 0.003622700460255146, gated=True
    ),
}
"""By name; shapes and temperatures are those of the configurations beside the weights."""


def tips_model(name: str, tag: str | None) -> TipsModel:
    """Return what is known of a model.

    Raises:
        TowerError: If there is none of that name, or it has no such tag.
    """
    model = TIPS.get(name)
    if model is None:
        near = ', '.join(nearest_names(name, TIPS, _SHOWN) or TIPS)
        raise TowerError(f'Expected a model of TIPSv2, such as {near}, but got {name!r}.')
    if tag not in {None, TAG}:
        raise TowerError(f'Expected a tag of {name}: {TAG}; but got {tag!r}.')
    return model

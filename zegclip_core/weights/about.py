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
"""What is to be known of published towers before they are downloaded; never imports torch.

Licences are those that timm and the models' own pages give; their terms are for the user to read.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

_LICENCES = {
    'openai': 'MIT',
    'laion': 'MIT',
    'datacomp': 'MIT',
    'commonpool': 'MIT',
    'merged2b': 'MIT',
    'dfn': 'Apple ASCL',
    'metaclip': 'CC-BY-NC-4.0',
    'webli': 'Apache-2.0',
}
"""Of weights, by what their tags begin with."""
_FAMILIES = {'dfn': 'DFN', 'metaclip': 'MetaCLIP'}
"""Of CLIPs in OpenAI's layout, by what their tags begin with."""
_MULTILINGUAL = ('siglip2', 'i18n')
"""Parts of the names, in small letters, of CLIPs that have learnt words of many languages."""
_REFUSED = {
    'no_ln_pre': 'CLIPA takes the mean of the patches before its last norm',
    'attentional_pool': 'CoCa pools by attention to several queries',
    'hf_model_name': 'its words go through a model of transformers that is not read here',
    'hf_tokenizer_name': 'its words need a tokenizer that is not read here',
    'fastvit': 'it is made of convolutions and has no patch tokens',
    'convnext': 'it is made of convolutions and has no patch tokens',
    'vit_base_mci': 'several convolutions in a row make its patches, not one',
    'vitamin': 'its patches are made by stages of convolutions',
    'swin': 'its blocks look into windows, where prompts have no place',
    'eva_giant': 'EVA-01 has a layout of weights that is not read here',
    'eva02_enormous': 'its norms stand behind the branches, not before them',
    'vit_pe': 'PE-Core has rotary positions and a pooling that are not computed here',
    'timm_model_name': 'it is of no family that is read here',
}
"""Why a setting of open_clip's, or a ViT of timm's whose name begins so, cannot be followed; the
first that fits counts."""


_ALIKE = 0.5
"""Likeness of two names, in [0, 1], from which one may be meant by the other."""


def why_refused(setting: str, value: object) -> str:
    """Return why a setting of a tower cannot be followed, for the end of a pair of brackets."""
    texts = (setting, str(value))
    fitting = (why for start, why in _REFUSED.items() if any(t.startswith(start) for t in texts))
    why = next(fitting, '')
    return f'; {why}' if why else ''


def family_of(name: str, tag: str) -> str:
    """Return the family of a CLIP that can be used."""
    for part, family in (('SigLIP2', 'SigLIP 2'), ('SigLIP', 'SigLIP'), ('EVA02', 'EVA-02')):
        if part in name:
            return family
    return next((each for start, each in _FAMILIES.items() if tag.startswith(start)), 'CLIP')


def licence_of(tag: str) -> str:
    """Return the licence of the weights of a tag; empty if it is not known."""
    return next((each for start, each in _LICENCES.items() if tag.startswith(start)), '')


def languages_of(name: str) -> str:
    """Return which languages the text tower of a CLIP has learnt."""
    return 'many' if any(part in name.lower() for part in _MULTILINGUAL) else 'English'


def image_size_of(config: Mapping[str, Any]) -> int:
    """Return the longer side, in pixels, of the images that a CLIP of open_clip's was made for."""
    size = config['vision_cfg']['image_size']
    return int(size if isinstance(size, int) else max(size))


def nearest_names(name: str, known: Iterable[str], count: int) -> list[str]:
    """Return the names that are most like one, the likest first, then as they come."""

    def likeness(other: str) -> float:
        return SequenceMatcher(None, name.lower(), other.lower()).ratio()

    alike = [other for other in known if likeness(other) >= _ALIKE]
    return sorted(alike, key=likeness, reverse=True)[:count]


@dataclass(frozen=True)
class TimmEntry:
    """An image tower of timm's that can be used, by its reference ``timm:NAME``."""

    name: str
    family: str
    parameters: int
    patch_size: int
    image_size: int
    licence: str = 'Apache-2.0'
    gated: bool = False

    @property
    def size(self) -> int:
        """Bytes of its weights, which are float32."""
        return 4 * self.parameters

    @property
    def repository(self) -> str:
        """The repository of the model hub that it comes from."""
        return f'timm/{self.name}'


_REGISTERS, _META = 'DINOv2, registers', 'DINOv3'
TIMM_ENTRIES = (
    TimmEntry('vit_small_patch14_dinov2.lvd142m', 'DINOv2', 22_056_192, 14, 518),
    TimmEntry('vit_base_patch14_dinov2.lvd142m', 'DINOv2', 86_579_712, 14, 518),
    TimmEntry('vit_large_patch14_dinov2.lvd142m', 'DINOv2', 304_367_616, 14, 518),
    TimmEntry('vit_small_patch14_reg4_dinov2.lvd142m', _REGISTERS, 22_057_344, 14, 518),
    TimmEntry('vit_base_patch14_reg4_dinov2.lvd142m', _REGISTERS, 86_582_016, 14, 518),
    TimmEntry('vit_large_patch14_reg4_dinov2.lvd142m', _REGISTERS, 304_370_688, 14, 518),
    TimmEntry('vit_small_patch16_dinov3.lvd1689m', 'DINOv3', 21_586_944, 16, 256, _META),
    TimmEntry('vit_base_patch16_dinov3.lvd1689m', 'DINOv3', 85_641_216, 16, 256, _META),
    TimmEntry('vit_large_patch16_dinov3.lvd1689m', 'DINOv3', 303_079_424, 16, 256, _META),
)
"""The families that have no text tower; their words are brought to them by training."""

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
"""What an image costs by each family of towers, and what bfloat16 changes, beside CLIP's ViT-B/16.

Run it with ``python -m benchmarks.families``. Every family is measured in turn with CLIP without
training, by NACLIP, in the same run. Towers have the sizes of the published ones and seeded
weights: neither times nor rounding depend on what was learnt. Families with words of their own run
without training, as ``zegclip_core.model.training_free.usual_attention`` has it, the others as
aligned towers.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
import statistics
import sys
from typing import Any

from benchmarks.reports import report
from tabulate import tabulate
import torch
from torch import Tensor
import torch.nn.functional as F
from tqdm import tqdm
from zegclip_core.devices import pick_device, pick_precision
from zegclip_core.engines.contract import Network
from zegclip_core.engines.lean.engine import LeanEngine
from zegclip_core.engines.lean.vocabulary import LeanVocabulary
from zegclip_core.model.alignment import AlignedTowers, AlignmentConfig
from zegclip_core.model.training_free import (
    TrainingFreeCLIP,
    TrainingFreeConfig,
    usual_attention,
)
from zegclip_core.model.vit import VisionConfig
from zegclip_core.options import wait_without_spinning
from zegclip_core.speed.timing import device_name, timed
from zegclip_core.text.encoder import EncodedVocabulary
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_core.weights.tips import TIPS

PAGE = Path(__file__).resolve().parents[1] / 'docs' / 'models.md'
SIDE, CLASSES, TEXT_DIM = 512, 20, 512
BESIDE = 'CLIP, DFN, MetaCLIP'
_BASE: dict[str, Any] = {'width': 768, 'layers': 12, 'heads': 12, 'mlp_width': 3072}
_BARE: dict[str, Any] = {'pre_norm': False, 'patch_bias': True, 'norm_eps': 1e-6}
_DINO: dict[str, Any] = {**_BASE, **_BARE, 'layer_scale': True}


@dataclass(frozen=True)
class Family:
    """A tower of base size.

    Attributes:
        title: What it is called.
        vision: Its shape.
        words: Whether it has a text tower of its own.
        unprojected: As of ``TrainingFreeConfig``.
    """

    title: str
    vision: VisionConfig
    words: bool = True
    unprojected: bool = False

    @property
    def size(self) -> int:
        """Side of the images: whole patches, as near to ``SIDE`` as can be."""
        patch = self.vision.patch_size
        return max(1, round(SIDE / patch)) * patch

    @property
    def text_dim(self) -> int:
        """Width of the text embeddings."""
        return (self.vision.embed_dim or self.vision.width) if self.words else TEXT_DIM


def base_families() -> list[Family]:
    """Return the families in the order of docs/models.md, that of ``BESIDE`` first."""
    grid, tips = (14, 14), TIPS['TIPSv2-B-14']
    eva: dict[str, Any] = {
        **_BASE,
        **_BARE,
        'mlp_width': 2048,
        'gated_mlp': True,
        'sub_norms': True,
    }
    return [
        Family(
            BESIDE,
            VisionConfig(16, **_BASE, grid=grid, embed_dim=512, activation='quick_gelu'),
        ),
        Family(
            'SigLIP, SigLIP 2',
            VisionConfig(16, **_BASE, **_BARE, grid=grid, num_prefix_tokens=0, pooling='map'),
        ),
        Family(
            'EVA-02 CLIP',
            VisionConfig(16, **eva, grid=grid, embed_dim=512, proj_bias=True, rotary='eva02'),
        ),
        Family(
            'TIPSv2',
            VisionConfig(
                tips.patch_size,
                **_DINO,
                grid=(32, 32),
                num_prefix_tokens=2,
                position_resize='bilinear_antialias',
            ),
            unprojected=True,
        ),
        Family('DINOv2', VisionConfig(14, **_DINO, grid=(37, 37)), words=False),
        Family(
            'DINOv2 with registers',
            VisionConfig(14, **_DINO, grid=(37, 37), num_prefix_tokens=5),
            words=False,
        ),
        Family(
            'DINOv3',
            VisionConfig(16, **_DINO, grid=(1, 1), num_prefix_tokens=5, rotary='dinov3'),
            words=False,
        ),
    ]


def seeded_network(family: Family) -> Network:
    """Return the family's model with seeded weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if not family.words:
            shape = AlignmentConfig(family.vision, text_dim=TEXT_DIM, dim=TEXT_DIM, text_hidden=0)
            return AlignedTowers(shape).eval()
        config = TrainingFreeConfig(
            family.vision,
            attention=usual_attention(family.vision, unprojected=family.unprojected),
            unprojected=family.unprojected,
        )
        return TrainingFreeCLIP(config).eval()


class Side:
    """A family's model on a device, with an image and words.

    Args:
        family: Which one.
        device: Where it runs.
        dtype: Floating-point type of its products.
    """

    def __init__(self, family: Family, device: torch.device, dtype: torch.dtype) -> None:
        self._engine = LeanEngine(seeded_network(family), dtype=dtype, device=device)
        generator = torch.Generator().manual_seed(1)
        text = F.normalize(torch.randn(CLASSES, family.text_dim, generator=generator), dim=-1)
        zeros = torch.zeros(CLASSES)
        names = Vocabulary.from_names([f'word {index}' for index in range(CLASSES)])
        self._words = self._engine.prepare(EncodedVocabulary(names, text, zeros, zeros))
        self._size = (family.size, family.size)
        noise = torch.rand(1, 3, 16, 16, generator=generator)
        smooth = F.interpolate(noise, self._size, mode='bicubic').clamp(0, 1)
        self._pixels = (255 * smooth).byte().permute(0, 2, 3, 1).contiguous()
        self._device = device

    def __call__(self) -> float:
        """Label the image; return the seconds that it took."""
        run = self._engine.run
        _, seconds = timed(
            self._device, lambda: run(self._pixels, self._size, self._words, self._size)
        )
        return seconds

    def winners(self) -> Tensor:
        """Return the best word of each patch, int64 ``(1, h, w)``, on the CPU."""
        words: LeanVocabulary = self._words
        found = self._engine.run(
            self._pixels, self._size, words, self._size, mask_logits=True
        ).mask_logits
        if found is None:
            raise TypeError('Expected an engine that gives mask logits.')
        return found.argmax(dim=1).cpu()


def measure(
    family: Family, beside: Family, device: torch.device, dtype: torch.dtype, rounds: int
) -> Mapping[str, str]:
    """Return a family's row: times beside another's, in turn, and what bfloat16 changes."""
    sides = [Side(each, device, dtype) for each in (family, beside)]
    for side in sides:  # The first image is slower.
        side()
    times = [[side() for side in sides] for _ in range(rounds)]
    ratio = statistics.median(own / other for own, other in times)
    exact = Side(family, device, torch.float32).winners()
    near = Side(family, device, torch.bfloat16).winners()
    return {
        'family': family.title,
        'side [px]': str(family.size),
        'ms': f'{1e3 * statistics.median(own for own, _ in times):.0f}',
        'beside ViT-B/16 by NACLIP': f'{ratio:.2f}',
        'same best word in bf16': f'{(exact == near).float().mean():.1%}',
    }


def table(families: Sequence[Family], options: argparse.Namespace) -> str:
    """Return the rows of all families, and what they were measured on."""
    device = pick_device(options.device)
    dtype = pick_precision(options.precision, device)
    beside = families[0]
    with torch.inference_mode():
        rows = [
            measure(family, beside, device, dtype, options.rounds) for family in tqdm(families)
        ]
    text = tabulate(rows, headers='keys', tablefmt='github', disable_numparse=True)
    kind = str(dtype).removeprefix('torch.')
    return f'{text}\n\n({device_name(device)}; {kind}, {CLASSES} words)'


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; return 0."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.families')
    add = parser.add_argument
    add('--device', default='cpu', help='where (default: %(default)s)')
    add('--precision', default='fp32', help='of the times (default: %(default)s)')
    add('--rounds', type=int, default=5, help='images of each (default: %(default)s)')
    add('--write-docs', action='store_true', help='put the table into docs/models.md')
    options = parser.parse_args(arguments)
    return report(
        'families', lambda: table(base_families(), options), PAGE, write=options.write_docs
    )


wait_without_spinning()
if __name__ == '__main__':
    sys.exit(main())

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
"""A decoder that starts from aligned towers says what they say."""

import math

from aligned_towers import VISION
import pytest
import torch
from torch import Tensor
import torch.nn.functional as F
from zegclip_core.model.decoder import MaskDecoder
from zegclip_core.model.zegclip import ZegCLIP, ZegCLIPConfig

DIM, HEADS = 64, 4
FACTOR = (DIM // HEADS) ** -0.5 / HEADS
"""Of the last layer: scaled dot products, averaged over the heads."""
TEXT_DIM = 40


def seeded(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def centred(text: Tensor) -> Tensor:
    """Return texts as the norms of layers leave them, with a length of 1."""
    return F.normalize(text - text.mean(dim=-1, keepdim=True), dim=-1)


@pytest.mark.parametrize('descriptor', [True, False])
@pytest.mark.parametrize('layers', [1, 2, 4])
def test_a_started_decoder_gives_cosines(layers: int, descriptor: bool) -> None:
    torch.manual_seed(0)
    decoder = MaskDecoder(
        DIM, layers=layers, heads=HEADS, mlp_dim=32, relationship_descriptor=descriptor
    ).eval()
    factor = decoder.start_with_cosines()
    assert factor == pytest.approx(FACTOR * (math.sqrt(DIM) if layers > 1 else 1.0))
    patches = F.normalize(seeded(2, DIM, 3, 5), dim=1)
    text = F.normalize(seeded(6, DIM, seed=1) + 0.3, dim=-1)  # Their mean is not 0.
    with torch.no_grad():
        found = decoder(patches, F.normalize(seeded(2, DIM, seed=2), dim=-1), text)
    compared = centred(text) if layers > 1 else text
    cosines = torch.einsum('kc,bchw->bkhw', compared, patches)
    # Each norm adds 1e-5 to a variance, which is 1 / C before the first.
    torch.testing.assert_close(found, factor * cosines, rtol=2e-3, atol=1e-5)


def started(detail: int = 0, scale: float = 30.0, **changes: object) -> ZegCLIP:
    torch.manual_seed(1)
    shape = {'decoder_layers': 3, 'decoder_heads': HEADS, 'decoder_mlp_dim': 32} | changes
    config = ZegCLIPConfig(
        VISION, TEXT_DIM, DIM, projections=True, logit_scale=True, detail_width=detail, **shape
    )
    network = ZegCLIP(config).eval()
    network.start_aligned(scale)
    return network


@pytest.mark.parametrize('changes', [{}, {'decoder_layers': 1}, {'text_hidden': 24}])
def test_a_started_model_says_what_the_aligned_towers_say(changes: dict[str, int]) -> None:
    network = started(**changes)
    images, text = seeded(2, 3, 42, 56), seeded(5, TEXT_DIM, seed=3)
    with torch.no_grad():
        found = network(images, text)
        tokens, _ = network.project(*network.visual(images))
        words = network.project_text(text)
    words = words if changes.get('decoder_layers') == 1 else centred(words)
    cosines = torch.einsum('kc,bchw->bkhw', words, F.normalize(tokens, dim=1))
    assert cosines.std() > 0.05
    torch.testing.assert_close(found, 30.0 * (cosines - 0.3), rtol=5e-3, atol=5e-3)


def test_a_detail_branch_adds_nothing_at_first() -> None:
    network = started(detail=8)
    images, text = seeded(2, 3, 42, 56), seeded(5, TEXT_DIM, seed=3)
    with torch.no_grad():
        found = network(images, text)
        tokens, _ = network.project(*network.visual(images))
        words = centred(network.project_text(text))
        size = found.shape[2:]
        assert size == (11, 14)
        fine = F.interpolate(tokens, size=size, mode='bilinear')
        cosines = torch.einsum('kc,bchw->bkhw', words, F.normalize(fine, dim=1))
    torch.testing.assert_close(found, 30.0 * (cosines - 0.3), rtol=5e-3, atol=5e-3)


def test_all_of_a_started_model_learns() -> None:
    """What starts at nothing gets a gradient, or what lies behind it after one step."""
    network = started(detail=8).train()
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], 0.1)
    before = {name: network.get_parameter(name).clone() for name in network.trained_names()}
    for seed in range(3):
        optimizer.zero_grad()
        network(seeded(2, 3, 42, 56, seed=seed), seeded(5, TEXT_DIM)).square().mean().backward()
        optimizer.step()
    still = [name for name, value in before.items() if network.get_parameter(name).equal(value)]
    # Neither a softmax nor a norm sees what is added to all that it looks at.
    blind = ('multihead_attn.k.bias', 'stem.0.bias', 'stem.3.bias')
    assert [name for name in still if not name.endswith(blind)] == []

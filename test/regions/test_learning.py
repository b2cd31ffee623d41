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
"""One linear layer finds which patches photos of a word have in common."""

import numpy as np
from PIL import Image
import pytest
import torch
from zegclip_core.loading import load_model
from zegclip_core.regions.learning import (
    evidence_of,
    GRID,
    learn_words,
    whitened_tokens,
    Whitening,
)

PATCHES, CHANNELS = 64, 24


def test_whitened_tokens_have_one_variance_and_no_correlation() -> None:
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn(4000, 8, generator=generator) @ torch.randn(8, 8, generator=generator)
    tokens = mixed + 5.0
    white = Whitening.of(tokens)(tokens)
    covariance = torch.cov(white.T)
    # A twentieth of the mean variance is added to each, so that the least are below 1.
    off = covariance - torch.diag(covariance.diag())
    assert white.mean(dim=0).abs().max() < 1e-3
    assert off.abs().max() < 0.01
    variances = torch.linalg.eigvalsh(torch.cov(tokens.T))
    expected = variances / (variances + 0.05 * variances.mean())
    torch.testing.assert_close(covariance.diag(), expected, rtol=0.01, atol=0.01)


def planted(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return tokens of photos, which words are named, and where the words are, ``(N, P, K)``."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(200, PATCHES, CHANNELS, generator=generator)
    named = torch.rand(200, 2, generator=generator) < 0.4
    looks = 4.0 * torch.eye(2, CHANNELS)
    places = torch.zeros(200, PATCHES, 2, dtype=torch.bool)
    for photo, word in named.nonzero().tolist():
        where = torch.randperm(PATCHES, generator=generator)[:12]
        tokens[photo, where] += looks[word]
        places[photo, where, word] = True
    return tokens.half(), named, places


def test_patches_of_a_word_stand_out_though_only_photos_were_named() -> None:
    tokens, named, places = planted(0)
    layer = learn_words(tokens[:150], named[:150])
    evidence = evidence_of(layer, tokens[150:])
    for word in range(2):
        inside, outside = (
            evidence[..., word][mask] for mask in (places[150:, :, word], ~places[150:, :, word])
        )
        assert inside.quantile(0.1) > outside.quantile(0.95)
    shows = evidence.topk(25, dim=1).values.mean(dim=1) > 0
    assert (shows == named[150:]).float().mean() > 0.95


def test_what_is_learnt_depends_on_the_seed_alone() -> None:
    tokens, named, _ = planted(1)
    first, again, other = (learn_words(tokens, named, seed=seed).weight for seed in (0, 0, 1))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first, other)


def test_tokens_are_those_of_the_tower_row_by_row(tiny: str) -> None:
    visual = load_model(tiny).network.visual
    config = visual.config
    pixels = np.random.default_rng(0).integers(0, 256, (3, 40, 60, 3), np.uint8)
    found = whitened_tokens(visual, lambda index: pixels[index], [0, 2])
    side = GRID * config.patch_size
    squares = [
        np.array(Image.fromarray(pixels[index]).resize((side, side), Image.Resampling.BILINEAR))
        for index in (0, 2)
    ]
    images = torch.from_numpy(np.stack(squares)).movedim(3, 1).float()
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (config.mean, config.std))
    with torch.inference_mode():
        tokens, _ = visual((images - mean) / std)
    tokens = tokens.movedim(1, 3).flatten(1, 2)
    expected = Whitening.of(tokens.flatten(0, 1))(tokens)
    assert found.shape == (2, GRID * GRID, min(256, tokens.shape[2]))
    # Directions are known up to their sign.
    torch.testing.assert_close(found.float().abs(), expected.abs(), rtol=0.01, atol=0.02)


@pytest.mark.parametrize('count', [1, 3])
def test_few_photos_are_enough_to_run(count: int) -> None:
    tokens = torch.randn(count, 4, 3).half()
    layer = learn_words(tokens, torch.ones(count, 1, dtype=torch.bool))
    assert evidence_of(layer, tokens).isfinite().all()

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
"""Mask logits of words that training did not ask for, blended with the plain cosine."""

from dataclasses import replace
from pathlib import Path

from made_vocabularies import seeded_vocabulary
import numpy as np
import pytest
from test_lean import ALL, CPU, frames, OUTPUT, size_of
from tiny_clips import NAME, register, write_tiny_clip
from tiny_models import noise, write_published
import torch
from torch import Tensor
import torch.nn.functional as F
from zegclip_core.engines.lean.engine import LeanEngine
from zegclip_core.engines.lean.pixels import resized
from zegclip_core.engines.plain import PlainEngine
from zegclip_core.errors import ModelError
from zegclip_core.model.zegclip import ZegCLIP
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.encoder import EncodedVocabulary
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_core.weights.checkpoint import save_checkpoint
from zegclip_core.weights.published import load_published

DECODED = ('published', 'detailed')
ROWS = 40
SHARES = torch.linspace(0.0, 1.0, ROWS)


def words(network: ZegCLIP) -> EncodedVocabulary:
    """Return words of which each has another share."""
    return replace(seeded_vocabulary(ROWS, network.config.text_dim), blend=SHARES)


def by_hand(network: ZegCLIP, images: Tensor, text: Tensor) -> Tensor:
    """Return the blend of normalised images as its description has it."""
    tokens, embedding = network.project(*network.visual(images))
    features = network.detail(tokens, images) if network.config.detail_width else tokens
    text = network.project_text(text)
    cosines = F.normalize(features, dim=1).movedim(1, 3) @ text.T
    direct = 20.0 * (cosines.movedim(3, 1) - 0.3)
    decoded = network.decoder(
        *(F.normalize(part, dim=1) for part in (tokens, embedding)),
        text,
        F.normalize(features, dim=1),
    )
    if network.config.logit_scale:
        decoded = network.logit_scale(decoded)
    shares = SHARES.view(1, -1, 1, 1)
    return (1 - shares) * decoded + shares * direct


@pytest.mark.parametrize('model', DECODED)
@torch.inference_mode()
def test_each_class_has_its_share_in_plain_and_lean_form(model: str) -> None:
    network = ALL[model]()
    encoded, size = words(network), size_of(network)
    plain = PlainEngine(network)
    pixels = frames(2, *OUTPUT)
    expected = by_hand(network, plain.normalised(pixels, size), encoded.embeddings)
    found = plain.run(pixels, size, plain.prepare(encoded), OUTPUT, mask_logits=True)
    torch.testing.assert_close(found.mask_logits, expected, rtol=1e-4, atol=1e-4)
    lean = LeanEngine(network, dtype=torch.float32, device=CPU)
    asked, images = lean.prepare(encoded), resized(pixels, size)
    logits = lean.model.logits(images, asked)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    # Also of the candidates alone.
    best, rows = lean.model.best_logits(images, asked, 7)
    for image in range(2):
        torch.testing.assert_close(best[image], expected[image, rows[image]], rtol=1e-4, atol=1e-4)
    # No share is no change.
    none = lean.prepare(replace(encoded, blend=torch.zeros(ROWS)))
    alone = lean.prepare(replace(encoded, blend=None))
    same = (lean.model.logits(images, words) for words in (none, alone))
    torch.testing.assert_close(*same, rtol=1e-5, atol=1e-5)


def test_only_words_that_training_did_not_ask_for_are_blended(tmp_path: Path) -> None:
    checkpoint = load_published(write_published(tmp_path / 'tiny.pth'))
    settings = replace(checkpoint.settings, seen_classes=('cat', 'tree'))
    save_checkpoint(replace(checkpoint, settings=settings), tmp_path / 'tiny.safetensors')
    loaded = {'device': 'cpu', 'negatives': ('wall',)}
    name = str(tmp_path / 'tiny.safetensors')
    vocabulary = Vocabulary.from_names(['cat', 'bus', 'tree'])
    alone, blended = (Segmenter.load(name, blend=share, **loaded) for share in (0.0, 0.25))
    assert alone.encode(vocabulary).blend is None
    assert blended.encode(vocabulary).blend.tolist() == [0.0, 0.25, 0.0, 0.25]
    first, second = (
        each.segment(noise(40, 60), vocabulary, mask_logits=True).mask_logits
        for each in (alone, blended)
    )
    same = np.isclose(first, second, atol=1e-4).all(axis=(1, 2))
    assert same.tolist() == [True, False, True]


def test_what_cannot_be_blended_is_refused(tmp_path: Path) -> None:
    register()
    clip = f'{NAME}@{write_tiny_clip(tmp_path / "clip.safetensors")}'
    with pytest.raises(ModelError, match=r'no decoder to blend .* but got 0\.5') as caught:
        Segmenter.load(clip, device='cpu', blend=0.5)
    assert '\n' not in str(caught.value)
    for share in (-0.1, 1.5, float('nan'), 'half'):
        with pytest.raises(ModelError, match='blend to be'):
            Segmenter.load('everyday-s', blend=share)
    with pytest.raises(ValueError, match='`blend` of 40 rows'):
        replace(seeded_vocabulary(ROWS, 8), blend=SHARES[:3])

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
"""Kernels of the lean engine, and its postprocessing on a CPU: tiles, calibration, odd values."""

from hypothesis import given, settings, strategies
from made_vocabularies import made_vocabulary
import pytest
import torch
from torch import Tensor
import torch.nn.functional as F
from zegclip_core.engines.contract import EngineVocabulary
from zegclip_core.engines.lean.folding import fold_quick_gelu
from zegclip_core.engines.lean.model import attend_in_bfloat16, convolve, kernels_for, ROWS
from zegclip_core.engines.lean.postprocess_cpu import (
    interpolation,
    label_logits,
    SAFE_SPREAD,
    sum_of_exponentials,
    TiledImage,
)
from zegclip_core.engines.plain import label_maps
from zegclip_core.model import scoring as scoring_module
from zegclip_core.model.blocks import MLP, PYTORCH, QuickGELU
from zegclip_core.model.scoring import best_class, Scoring
from zegclip_core.model.vit import VisionConfig, VisionTransformer

CPU = torch.device('cpu')


def vocabulary(classes: int, seed: int = 0, *, biased: bool) -> EngineVocabulary:
    """Return words whose embeddings nobody reads."""
    generator = torch.Generator().manual_seed(seed)
    encoded = made_vocabulary(
        torch.zeros(classes, 1),
        0.2 * (torch.arange(classes) % 3 == 0) if biased else torch.full((classes,), 0.1),
        torch.rand(classes, generator=generator),
    )
    parts = encoded.embeddings, encoded.bias, encoded.thresholds
    return EngineVocabulary(encoded.vocabulary, (), *parts)


def maps(*shape: int, seed: int = 0, spread: float = 3.0) -> Tensor:
    """Return logits that are smooth, as a model's are, with some noise."""
    generator = torch.Generator().manual_seed(seed)
    batch, classes, height, width = shape
    coarse = torch.randn((batch, classes, 3, 4), generator=generator)
    smooth = F.interpolate(coarse, size=(height, width), mode='bilinear')
    return spread * (smooth + 0.2 * torch.randn(smooth.shape, generator=generator))


def assert_same(
    logits: Tensor, size: tuple[int, int], words: EngineVocabulary, scoring: Scoring = 'sigmoid'
) -> None:
    """Compare with the plain engine, where no two classes are equal, nor score and threshold."""
    labels, scores = label_logits(logits, size, words, scoring)
    expected, exact = label_maps(logits, size, words, scoring=scoring)
    assert labels.dtype == expected.dtype
    torch.testing.assert_close(scores, exact, rtol=1e-5, atol=1e-5)
    full = F.interpolate(logits.float(), size=size, mode='bilinear')
    full = full.sigmoid() if scoring == 'sigmoid' else full.softmax(dim=1)
    values = full - words.bias.view(-1, 1, 1)
    torch.testing.assert_close(exact, full.gather(1, values.argmax(1, keepdim=True))[:, 0])
    top = values.topk(min(2, words.classes), dim=1)
    clear = (exact - words.thresholds[top.indices[:, 0]]).abs() > 1e-5
    if words.classes > 1:
        clear &= top.values[:, 0] - top.values[:, 1] > 1e-5
    assert clear.float().mean() > 0.99
    assert torch.equal(labels[clear], expected[clear])


@settings(max_examples=60, deadline=None)
@given(
    grid=strategies.tuples(strategies.integers(1, 12), strategies.integers(1, 12)),
    size=strategies.tuples(strategies.integers(1, 230), strategies.integers(1, 230)),
    classes=strategies.integers(1, 30),
    seed=strategies.integers(0, 1000),
    kind=strategies.sampled_from([(True, 'sigmoid'), (False, 'sigmoid'), (False, 'softmax')]),
)
def test_any_size_and_any_number_of_classes(
    grid: tuple[int, int],
    size: tuple[int, int],
    classes: int,
    seed: int,
    kind: tuple[bool, Scoring],
) -> None:
    words = vocabulary(classes, seed, biased=kind[0])
    assert_same(maps(1, classes, *grid, seed=seed), size, words, kind[1])


@pytest.mark.parametrize('biased', [False, True])
def test_only_few_of_many_classes_are_brought_to_full_size(
    monkeypatch: pytest.MonkeyPatch, biased: bool
) -> None:
    counts: list[int] = []
    best = TiledImage._best

    def counted(self: TiledImage, logits: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        counts.append(len(classes))
        return best(self, logits, classes)

    monkeypatch.setattr(TiledImage, '_best', counted)
    words = vocabulary(300, biased=biased)
    assert_same(maps(2, 300, 16, 20, spread=1.0), (250, 330), words)
    assert len(counts) == 2 * 3 * 4
    assert max(counts) < 150


def test_no_class_is_brought_to_full_size_that_cannot_win() -> None:
    logits = torch.stack([torch.full((8, 8), float(value)) for value in (-3, 2, -1, 1)])[None]
    words = vocabulary(4, biased=False)
    image = TiledImage(logits[0], (480, 640), words, 'sigmoid')
    assert image.can_win.flatten(1).any(dim=1).tolist() == [False, True, False, False]


@pytest.mark.parametrize('value', [torch.nan, torch.inf, -torch.inf, 80.0])
def test_odd_logits_give_some_label(value: float) -> None:
    labels, _ = label_logits(torch.full((1, 3, 5, 4), value), (40, 30), vocabulary(3, biased=True))
    assert bool(((labels < 3) | (labels == 255)).all())


def test_labels_take_16_bits_above_254_classes() -> None:
    for classes, kind in ((254, torch.uint8), (255, torch.uint16)):
        labels, _ = label_logits(
            maps(1, classes, 4, 4), (20, 20), vocabulary(classes, biased=False)
        )
        assert labels.dtype == kind


@pytest.mark.parametrize(('source', 'target'), [(1, 5), (7, 7), (26, 480), (119, 640), (90, 11)])
def test_interpolation_is_that_of_torch(source: int, target: int) -> None:
    values = torch.randn(1, 1, 1, source)
    axis = interpolation(source, target, 96)
    found = torch.cat(
        [
            weights @ values[0, 0, 0, slice(first, last + 1)]
            for (first, last), weights in zip(axis.cells, axis.weights, strict=True)
        ]
    )
    expected = F.interpolate(values, size=(1, target), mode='bilinear')[0, 0, 0]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('scoring', ['sigmoid', 'softmax'])
@pytest.mark.parametrize('at_once', [1, 3, 100])
def test_scores_made_a_few_classes_at_a_time_are_those_of_all(
    monkeypatch: pytest.MonkeyPatch, at_once: int, scoring: Scoring
) -> None:
    monkeypatch.setattr(scoring_module, 'CHUNK_VALUES', at_once * 20 * 30)
    logits, bias = maps(1, 7, 4, 5), torch.tensor([0.0, 0.3, 0, 0.3, 0, 0, 0.1])
    room = torch.full((1, 2, 4, 5), 50.0)  # What stands for no class is not in the sum.
    nobody = torch.full((2,), torch.inf)
    labels, scores = best_class(
        torch.cat([logits, room], dim=1)[0],
        (20, 30),
        torch.cat([bias, nobody]),
        are_logits=True,
        scoring=scoring,
    )
    full = F.interpolate(logits, size=(20, 30), mode='bilinear')[0]
    full = full.sigmoid() if scoring == 'sigmoid' else full.softmax(dim=0)
    expected = (full - bias.view(-1, 1, 1)).argmax(dim=0)
    assert (expected != full.argmax(dim=0)).any()
    assert torch.equal(labels, expected)
    torch.testing.assert_close(scores, full.gather(0, expected[None])[0])


def test_a_softmax_of_classes_with_several_biases_is_refused() -> None:
    with pytest.raises(ValueError, match='one bias'):
        label_logits(maps(1, 4, 3, 3), (9, 9), vocabulary(4, biased=True), 'softmax')


@pytest.mark.parametrize('source', [(1, 1), (1, 5), (21, 28), (7, 3)])
@pytest.mark.parametrize('target', [(1, 1), (480, 640), (21, 28), (10, 9), (33, 1000), (5, 4)])
def test_the_sum_is_that_of_upsampled_maps(
    source: tuple[int, int], target: tuple[int, int]
) -> None:
    logits = maps(1, 37, *source, spread=9.0)[0].clamp(-0.49 * SAFE_SPREAD, 0.49 * SAFE_SPREAD)
    below = logits - logits.amax(dim=0)
    full = F.interpolate(below[None].double(), size=target, mode='bilinear')[0].exp().sum(dim=0)
    found = sum_of_exponentials(below, target).double()
    torch.testing.assert_close(found, full, rtol=1e-4, atol=0)


@pytest.mark.parametrize('spread', [3.0, 60.0])
def test_scores_of_many_words_are_their_softmax(spread: float) -> None:
    logits = maps(1, 300, 9, 12, spread=spread)  # The larger one is beyond what is safe.
    found = label_logits(logits, (70, 90), vocabulary(300, biased=False), 'softmax')
    expected = label_maps(logits, (70, 90), vocabulary(300, biased=False), scoring='softmax')
    assert (found[0] == expected[0]).float().mean() > 0.999
    torch.testing.assert_close(found[1], expected[1], rtol=1e-4, atol=1e-6)


def seeded(*shape: int) -> Tensor:
    """Return normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize('tokens', [1, ROWS, 2 * ROWS + 3])
def test_attention_in_bfloat16_is_attention(tokens: int) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn((2, count, 3, 16), generator=generator).transpose(1, 2)
        for count in (tokens, tokens + 5, tokens + 5)
    )
    exact = F.scaled_dot_product_attention(query, key, value)
    found = attend_in_bfloat16(*(part.bfloat16() for part in (query, key, value)))
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), exact, rtol=0.05, atol=0.03)


@pytest.mark.parametrize('bias', [None, seeded(7)])
@pytest.mark.parametrize('shape', [(2, 5, 3), (1, 1, 3)])
def test_a_convolution_of_one_pixel_is_a_linear_layer(
    shape: tuple[int, ...], bias: Tensor | None
) -> None:
    x, weight = seeded(*shape), seeded(7, 3)
    found = convolve(x, weight, bias)
    torch.testing.assert_close(found, F.linear(x, weight, bias), rtol=1e-5, atol=1e-6)
    assert found.is_contiguous()  # Else the next layer would copy it.


def test_every_device_and_type_has_kernels_of_its_own() -> None:
    gpu = torch.device('cuda')
    assert kernels_for(CPU, torch.float32).linear is convolve
    assert kernels_for(CPU, torch.bfloat16).attend is attend_in_bfloat16
    assert kernels_for(gpu, torch.float32) == PYTORCH
    assert kernels_for(gpu, torch.bfloat16) == PYTORCH


def test_without_onednn_linear_layers_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, 'is_available', lambda: False)
    assert kernels_for(CPU, torch.float32) == PYTORCH


def tower(activation: str) -> VisionTransformer:
    """Return an image tower of two blocks."""
    config = VisionConfig(
        patch_size=8,
        width=16,
        layers=2,
        heads=2,
        mlp_width=32,
        grid=(2, 2),
        activation='quick_gelu' if activation == 'quick_gelu' else 'gelu',
    )
    return VisionTransformer(config).eval()


@torch.no_grad()
def test_the_folded_activation_is_one_kernel_and_gives_the_same() -> None:
    visual, images = tower('quick_gelu'), seeded(1, 3, 16, 16)
    expected = visual(images)
    for _ in range(2):  # What is folded already stays.
        fold_quick_gelu(visual)
        for found, same in zip(visual(images), expected, strict=True):
            torch.testing.assert_close(found, same, rtol=1e-5, atol=1e-5)
    assert not any(isinstance(part, QuickGELU) for part in visual.modules())


def test_other_activations_are_not_folded() -> None:
    visual = tower('gelu')
    before = [parameter.clone() for parameter in visual.parameters()]
    fold_quick_gelu(visual)
    assert all(map(torch.equal, before, visual.parameters()))
    assert all(
        isinstance(part.act, torch.nn.GELU) for part in visual.modules() if isinstance(part, MLP)
    )

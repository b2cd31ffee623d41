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
"""The lean engine against the plain one."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from aligned_towers import aligned_towers
from made_vocabularies import seeded_vocabulary
import pytest
from reference_files import zegclip_parity
from tiny_clips import seeded
import torch
from torch import Tensor
import torch.nn.functional as F
from zegclip_core.engines.contract import EngineVocabulary, Network, Prediction
from zegclip_core.engines.lean import model as lean_model
from zegclip_core.engines.lean.engine import LeanEngine
from zegclip_core.engines.lean.pixels import resized
from zegclip_core.engines.plain import PlainEngine
from zegclip_core.loading import build_network
from zegclip_core.model.alignment import AlignedTowers
from zegclip_core.model.blocks import LayerScale
from zegclip_core.model.scoring import Windows
from zegclip_core.model.training_free import TrainingFreeCLIP
from zegclip_core.model.vit import IMAGENET_MEAN, IMAGENET_STD, VisionConfig
from zegclip_core.model.zegclip import ZegCLIP, ZegCLIPConfig
from zegclip_core.options import Attention, ATTENTIONS
from zegclip_core.weights.published import convert_published

CLOSE = {'rtol': 1e-4, 'atol': 1e-4}  # float32 sums in another order
CPU = torch.device('cpu')


def published() -> ZegCLIP:
    """Return the network of the reference file: CLIP's kind, with prompts."""
    reference = zegclip_parity()
    checkpoint = convert_published(
        reference.under('state_dict'),
        heads=reference.config['heads'],
        decoder_heads=reference.config['decoder_heads'],
    )
    return build_network(checkpoint, where='the reference file')


def detailed() -> ZegCLIP:
    """Return a network of the bundled model's kind: DINOv2, several layers, a detail branch."""
    torch.manual_seed(3)
    vision = VisionConfig(
        patch_size=14,
        width=64,
        layers=4,
        heads=2,
        mlp_width=128,
        grid=(5, 5),
        pre_norm=False,
        patch_bias=True,
        layer_scale=True,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        prompt_tokens=2,
        feature_layers=(1, 3),
    )
    config = ZegCLIPConfig(
        vision=vision,
        text_dim=40,
        dim=32,
        decoder_heads=4,
        decoder_mlp_dim=64,
        projections=True,
        detail_width=16,
        logit_scale=True,
    )
    network = ZegCLIP(config).eval()
    for name, parameter in network.named_parameters():
        if name.endswith(('bias', 'gamma')):
            torch.nn.init.uniform_(parameter, -0.5, 0.5)
    torch.nn.init.zeros_(network.logit_scale.log_scale)  # Scores that are neither 0 nor 1.
    return network


def clip(attention: Attention = 'naclip') -> TrainingFreeCLIP:
    """Return a training-free network."""
    return seeded(attention, scale=9.0)


MODELS = {'published': published, 'detailed': detailed, 'aligned': aligned_towers}
ALL: dict[str, Callable[[], Network]] = {**MODELS, 'training_free': clip}
SIZE = (24, 40)
OUTPUT = (61, 107)


def size_of(network: Network) -> tuple[int, int]:
    """Return a size of whole patches."""
    patch = network.config.vision.patch_size
    return 4 * patch, 6 * patch


def frames(*size: int) -> Tensor:
    """Return frames uint8 ``(B, H, W, 3)`` with something to see."""
    generator = torch.Generator().manual_seed(1)
    batch, height, width = size
    coarse = torch.rand((batch, 3, 5, 7), generator=generator) * 255
    smooth = F.interpolate(coarse, size=(height, width), mode='bicubic')
    noise = torch.randn(smooth.shape, generator=generator) * 8
    return (smooth + noise).clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous()


def words(
    engine: PlainEngine | LeanEngine,
    network: ZegCLIP | AlignedTowers,
    rows: int,
    bias: float = 0.1,
    classes: int | None = None,
) -> EngineVocabulary:
    """Return a seeded vocabulary of an engine, every other row with a bias."""
    width = network.config.text_dim
    return engine.prepare(seeded_vocabulary(rows, width, bias=bias, classes=classes))


def lean(network: Network, windows: Windows | None = None) -> LeanEngine:
    """Return a lean engine in float32 on the CPU."""
    return LeanEngine(network, dtype=torch.float32, device=CPU, windows=windows)


def clip_words(
    engine: PlainEngine | LeanEngine,
    rows: int,
    *,
    bias: float = 0.0,
    classes: int | None = None,
) -> EngineVocabulary:
    """Return a seeded vocabulary whose best scores are above and below their thresholds."""
    return engine.prepare(seeded_vocabulary(rows, 20, bias=bias, high=0.6, classes=classes))


def assert_same(found: Prediction, expected: Prediction, share: float = 0.999) -> None:
    """Compare scores, and labels where they are not a matter of rounding."""
    assert found.labels.dtype == expected.labels.dtype
    assert (found.labels.cpu() == expected.labels).float().mean() >= share
    torch.testing.assert_close(found.scores.cpu(), expected.scores, **CLOSE)


@pytest.mark.parametrize('model', MODELS)
@torch.inference_mode()
def test_logits_are_those_of_the_model(model: str) -> None:
    network = MODELS[model]()
    patch = network.config.vision.patch_size
    size = (5 * patch, 7 * patch)
    plain = PlainEngine(network)
    pixels = frames(2, 50, 90)
    text = words(plain, network, 6).embeddings
    expected = network(plain.normalised(pixels, size), text)
    engine = lean(network)
    found = engine.model.logits(resized(pixels, size), words(engine, network, 6))
    torch.testing.assert_close(found, expected, **CLOSE)


@pytest.mark.parametrize('model', MODELS)
def test_labels_are_those_of_the_plain_path(model: str) -> None:
    network = MODELS[model]()
    patch = network.config.vision.patch_size
    engine, plain = lean(network), PlainEngine(network)
    for classes, size, output in ((1, (5, 7), (61, 83)), (300, (4, 4), (20, 250))):
        working = (size[0] * patch, size[1] * patch)
        pixels = frames(2, *output)
        found = engine.run(pixels, working, words(engine, network, classes), output)
        expected = plain.run(pixels, working, words(plain, network, classes), output)
        # The softmax of a single word is 1 wherever it is.
        alone = classes == 1 and network.scoring == 'softmax'
        assert alone or expected.scores.std() > 1e-4
        assert_same(found, expected)


@pytest.mark.parametrize('model', MODELS)
def test_windows_are_averaged_as_on_the_plain_path(model: str) -> None:
    network = MODELS[model]()
    side = 4 * network.config.vision.patch_size
    windows = Windows(side, side * 3 // 4)
    engine = lean(network, windows)
    plain = PlainEngine(network, windows=windows)
    pixels = frames(2, 60, 100)
    for size in ((side, 2 * side + 3), (side // 2, side + side // 2)):
        found = engine.run(pixels, size, words(engine, network, 5), (60, 100))
        assert_same(found, plain.run(pixels, size, words(plain, network, 5), (60, 100)))


@pytest.mark.parametrize('windows', [None, Windows(56, 42)], ids=['whole', 'slide'])
@pytest.mark.parametrize('kind', ['plain', 'lean'])
def test_where_a_negative_row_wins_a_pixel_is_unlabelled(
    kind: str, windows: Windows | None
) -> None:
    network = detailed()
    engine: PlainEngine | LeanEngine = lean(network, windows)
    if kind == 'plain':
        engine = PlainEngine(detailed(), windows=windows)
    frame = (frames(1, 60, 100), (70, 112))
    # Of 300 rows labels have 16 bits, of a few classes 8, whatever competes with them.
    every = engine.run(*frame, words(engine, network, 300), (60, 100))
    labels = every.labels.long()
    winners = labels.unique()
    classes = int(winners[len(winners) // 2])
    assert int(winners[0]) < classes <= 254
    asked = words(engine, network, 300, classes=classes)
    found = engine.run(*frame, asked, (60, 100))
    assert (every.labels.dtype, found.labels.dtype) == (torch.uint16, torch.uint8)
    assert torch.equal(every.scores, found.scores)
    assert torch.equal(found.labels.long(), labels.where(labels < classes, 255))


@pytest.mark.parametrize('kind', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('model', ALL)
def test_the_network_that_was_given_stays_as_it_is(model: str, kind: torch.dtype) -> None:
    network = ALL[model]()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modules = [type(part) for part in network.modules()]
    LeanEngine(network, dtype=kind, device=CPU)
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(after[name].dtype == value.dtype for name, value in before.items())
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert [type(part) for part in network.modules()] == modules


def test_factors_of_branches_are_folded_but_for_a_training_free_last_block() -> None:
    assert not any(
        isinstance(part, LayerScale) for part in lean(detailed()).model.network.modules()
    )
    for attention in ATTENTIONS:
        network = clip(attention)
        for block in network.visual.blocks:
            block.ls_1, block.ls_2 = LayerScale(48), LayerScale(48)
            for scale in (block.ls_1, block.ls_2):
                torch.nn.init.uniform_(scale.gamma, 0.2, 2.0)
        engine, other = lean(network), PlainEngine(network)
        pixels = frames(1, *OUTPUT)
        expected = other.run(pixels, SIZE, clip_words(other, 9), OUTPUT)
        assert_same(engine.run(pixels, SIZE, clip_words(engine, 9), OUTPUT), expected)
        folded = engine.model.network.visual.blocks[:-1]
        assert not any(isinstance(block.ls_1, LayerScale) for block in folded)


@pytest.mark.parametrize('layers', [1, 4])
@pytest.mark.parametrize(
    'changes',
    [
        *({}, {'relationship_descriptor': False, 'detail_width': 8}),
        {'average_pooling': True},
    ],
)
@torch.inference_mode()
def test_decoders_of_any_shape_are_those_of_the_model(
    layers: int, changes: dict[str, Any]
) -> None:
    torch.manual_seed(5)
    vision = replace(detailed().config.vision, feature_layers=())
    config = ZegCLIPConfig(
        vision, text_dim=40, dim=24, decoder_heads=3, decoder_layers=layers, projections=True
    )
    network = ZegCLIP(replace(config, **changes)).eval()
    for name, parameter in network.named_parameters():
        if name.startswith(('decoder', 'detail')):
            torch.nn.init.normal_(parameter, std=0.3)
    images = resized(frames(2, 50, 90), size_of(network))
    engine, plain = lean(network), PlainEngine(network)
    text = words(plain, network, 6).embeddings
    expected = network(plain.normalised(frames(2, 50, 90), size_of(network)), text)
    found = engine.model.logits(images, words(engine, network, 6))
    torch.testing.assert_close(found, expected, **CLOSE)


@torch.inference_mode()
def test_prompts_are_few_rows_or_many_keys_and_values(monkeypatch: pytest.MonkeyPatch) -> None:
    network = published()
    few, many = (network.config.vision.prompt_tokens - less for less in (0, 1))
    images, found = resized(frames(2, 50, 90), size_of(network)), []
    for limit, kind in ((few, Tensor), (many, tuple)):
        monkeypatch.setattr(lean_model, 'FEW_PROMPTS', limit)
        made = lean_model.prompts_of(network.visual, CPU, torch.float32)
        assert all(isinstance(part, kind) for part in made)
        engine = lean(network)
        found.append(engine.model.logits(images, words(engine, network, 6)))
    torch.testing.assert_close(*found, **CLOSE)
    made = lean_model.prompts_of(network.visual, torch.device('cuda'), torch.float32)
    assert all(isinstance(part, Tensor) for part in made)


def test_a_frame_of_the_working_size_is_not_resampled() -> None:
    pixels = frames(1, 28, 42)
    expected = pixels.permute(0, 3, 1, 2).float() - 128
    assert torch.equal(resized(pixels, (28, 42)), expected)


def test_words_of_another_engine_are_refused() -> None:
    network = detailed()
    with pytest.raises(TypeError, match='this engine'):
        lean(network).run(
            frames(1, 28, 28), (28, 28), words(PlainEngine(network), network, 2), (28, 28)
        )


@pytest.mark.parametrize('model', MODELS)
def test_bfloat16_mostly_agrees(model: str) -> None:
    network = MODELS[model]()
    patch = network.config.vision.patch_size
    size, pixels = (6 * patch, 8 * patch), frames(1, 60, 80)
    exact = lean(network)
    expected = exact.run(pixels, size, words(exact, network, 4), (60, 80))
    half = LeanEngine(MODELS[model](), dtype=torch.bfloat16, device=CPU)
    found = half.run(pixels, size, words(half, network, 4), (60, 80))
    assert (found.labels == expected.labels).float().mean() > 0.9


@pytest.mark.parametrize('model', MODELS)
@torch.inference_mode()
def test_a_residual_stream_in_float32_keeps_bfloat16_nearer_to_the_model(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch = MODELS[model]().config.vision.patch_size
    images = resized(frames(2, 60, 80), (6 * patch, 8 * patch))
    exact = lean(MODELS[model]())
    expected = exact.model.logits(images, words(exact, exact.model.network, 9))

    def error() -> float:
        half = LeanEngine(MODELS[model](), dtype=torch.bfloat16, device=CPU)
        found = half.model.logits(images, words(half, half.model.network, 9))
        return float((found.float() - expected).abs().mean())

    near = error()
    monkeypatch.setattr(lean_model, 'cast', lambda network, dtype, _: network.to(dtype))
    assert 0 < near < 0.8 * error()

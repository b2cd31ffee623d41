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
"""Mask logits and the steps behind them: alike in every engine, and nothing to who has none."""

from collections.abc import Callable

from exported_models import export, Exported
from made_vocabularies import seeded_vocabulary
import numpy as np
import pytest
from test_lean import ALL, CLOSE, CPU, frames, OUTPUT, size_of
from tiny_models import noise
import torch
from torch import Tensor
import torch.nn.functional as F
from zegclip_core.engines.contract import (
    Engine,
    EngineVocabulary,
    PostprocessStep,
)
from zegclip_core.engines.lean.engine import LeanEngine
from zegclip_core.engines.onnx import load_exported
from zegclip_core.engines.plain import PlainEngine
from zegclip_core.loading import load_model
from zegclip_core.model.scoring import Windows
from zegclip_core.options import SegmenterOptions
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.encoder import EncodedVocabulary
from zegclip_core.text.vocabulary import Vocabulary


class Smoother:
    """Averages mask logits over time, and starts anew with other words or another size."""

    def __init__(self) -> None:
        self.words: tuple[str, ...] = ()
        self.mean: Tensor | None = None

    def __call__(
        self, mask_logits: Tensor, vocabulary: EngineVocabulary, images: Tensor
    ) -> Tensor:
        known = self.words == vocabulary.words and self.mean is not None
        if not known or self.mean.shape != mask_logits.shape:
            self.words, self.mean = vocabulary.words, mask_logits
        self.mean = torch.lerp(self.mean, mask_logits, 0.3)
        return self.mean.clone()


class Refiner:
    """Doubles the grid, and lets the first class win where the image is bright."""

    def __init__(self) -> None:
        self.images: list[Tensor] = []

    def __call__(
        self, mask_logits: Tensor, vocabulary: EngineVocabulary, images: Tensor
    ) -> Tensor:
        assert mask_logits.shape[:2] == (len(images), len(vocabulary.words))
        assert images.dtype == torch.float32
        self.images.append(images)
        size = (2 * mask_logits.shape[2], 2 * mask_logits.shape[3])
        fine = F.interpolate(mask_logits, size=size, mode='bilinear')
        grey = F.interpolate(images.mean(dim=1, keepdim=True), size=size, mode='bilinear')
        fine[:, :1] += 9 * (grey / 255 - 0.4)
        return fine


def identity(mask_logits: Tensor, vocabulary: EngineVocabulary, images: Tensor) -> Tensor:
    return mask_logits


def pair(model: str, windows: bool = False, candidates: int = 0) -> tuple[PlainEngine, LeanEngine]:
    """Return both engines on weights of their own, in float32 on the CPU."""
    patch = ALL[model]().config.vision.patch_size
    cut = Windows(4 * patch, 3 * patch - 1) if windows else None
    lean = LeanEngine(
        ALL[model](), dtype=torch.float32, device=CPU, windows=cut, candidates=candidates
    )
    return PlainEngine(ALL[model](), windows=cut), lean


def words(model: str, rows: int = 12, classes: int = 9) -> EncodedVocabulary:
    """Return classes and negative words."""
    config = ALL[model]().config
    width = getattr(config, 'text_dim', config.vision.embed_dim)
    bias = 0.0 if model == 'training_free' else 0.1
    return seeded_vocabulary(rows, width, bias=bias, classes=classes)


def run(
    engine: Engine,
    encoded: EncodedVocabulary,
    size: tuple[int, int],
    *steps: PostprocessStep,
    mask_logits: bool = True,
    pixels: tuple[int, int] = OUTPUT,
) -> list[tuple[Tensor, Tensor, Tensor | None]]:
    """Return labels, scores and mask logits of three batches of two images."""
    engine.steps = steps
    vocabulary = engine.prepare(encoded)
    batches = [frames(2, *pixels) // (1 + part) for part in range(3)]
    found = [
        engine.run(batch, size, vocabulary, OUTPUT, mask_logits=mask_logits) for batch in batches
    ]
    return [(each.labels, each.scores, each.mask_logits) for each in found]


@pytest.mark.parametrize('windows', [False, True], ids=['whole', 'slide'])
@pytest.mark.parametrize('model', ALL)
def test_plain_and_lean_give_the_same_mask_logits_at_patch_resolution(
    model: str, windows: bool
) -> None:
    plain, lean = pair(model, windows)
    encoded, size = words(model), size_of(plain.network)
    for expected, found in zip(run(plain, encoded, size), run(lean, encoded, size), strict=True):
        torch.testing.assert_close(found[2], expected[2], **CLOSE)
    assert found[2].dtype == torch.float32
    sides = (size[0] // 4, size[1] // 4) if model == 'detailed' else (4, 6)
    assert found[2].shape == (2, 12, *sides)


def test_mask_logits_of_windows_are_their_mean_where_they_lie() -> None:
    plain, _ = pair('published', windows=True)
    plain.steps = [lambda logits, *_: torch.arange(len(logits)).view(-1, 1, 1, 1) + 0 * logits]
    encoded, size = words('published'), size_of(plain.network)
    vocabulary = plain.prepare(encoded)
    whole = plain.run(frames(1, *OUTPUT), size, vocabulary, OUTPUT, mask_logits=True).mask_logits
    patch = size[0] // 4
    # Two windows, the second of which begins at the third patch.
    means = torch.tensor([0, 0, 0.5, 0.5, 1, 1]).expand(1, 12, 4, 6)
    assert plain.windows.corners(size)[1][1].start == 2 * patch
    # Antialiasing mixes in a little of the neighbours.
    torch.testing.assert_close(whole[..., (0, 5)], means[..., (0, 5)])
    torch.testing.assert_close(whole, means, rtol=0, atol=0.13)


@pytest.mark.parametrize('kind', ['whole', 'slide', 'candidates'])
@pytest.mark.parametrize('model', ALL)
def test_asking_for_logits_or_a_step_that_does_nothing_changes_no_bit(
    model: str, kind: str
) -> None:
    plain, lean = pair(model, kind == 'slide', 5 if kind == 'candidates' else 0)
    encoded, size = words(model), size_of(plain.network)
    for engine in (plain, lean):
        expected = run(engine, encoded, size, mask_logits=False)
        asked, stepped = run(engine, encoded, size), run(engine, encoded, size, identity, identity)
        # Candidates of a detail branch are compared in another product, or chosen by it.
        exact = not (kind == 'candidates' and model == 'detailed' and engine is lean)
        for one, two, three in zip(expected, asked, stepped, strict=True):
            assert one[2] is None
            assert two[2] is not None
            torch.testing.assert_close(two[2], three[2], rtol=0, atol=0)
            for other in (two, three) if exact else (two,):
                assert (one[0] == other[0]).float().mean() >= (1 if exact else 0.999)
                tolerance = {'rtol': 0, 'atol': 0} if exact else CLOSE
                torch.testing.assert_close(one[1], other[1], **tolerance)


@pytest.mark.parametrize('kind', ['whole', 'slide'])
@pytest.mark.parametrize('make', [Smoother, Refiner])
@pytest.mark.parametrize('model', ALL)
def test_a_step_changes_labels_alike_in_the_plain_and_the_lean_engine(
    model: str, make: Callable[[], PostprocessStep], kind: str
) -> None:
    plain, lean = pair(model, kind == 'slide')
    encoded, size = words(model), size_of(plain.network)
    before = run(plain, encoded, size)
    expected, found = (run(engine, encoded, size, make()) for engine in (plain, lean))
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours[0] == theirs[0]).float().mean() > 0.999
        torch.testing.assert_close(ours[1], theirs[1], **CLOSE)
        torch.testing.assert_close(ours[2], theirs[2], **CLOSE)
    changed = 0 if make is Refiner else 1  # Labels, or scores.
    parts = zip(before, expected, strict=True)
    assert not all(torch.equal(old[changed], new[changed]) for old, new in parts)


def test_steps_see_the_image_at_the_working_size() -> None:
    plain, lean = pair('published')
    encoded, size = words('published'), size_of(plain.network)
    for engine in (plain, lean):
        refiner = Refiner()
        run(engine, encoded, size, refiner)
        pixels = frames(2, *OUTPUT).permute(0, 3, 1, 2).float()
        expected = F.interpolate(pixels, size=size, mode='bilinear', antialias=True)
        torch.testing.assert_close(refiner.images[0], expected, rtol=1e-5, atol=1e-3)


def test_a_step_that_returns_something_else_is_refused() -> None:
    plain, lean = pair('published')
    for engine in (plain, lean):
        for step in (lambda logits, *_: logits[:, :2], lambda logits, *_: logits.double()):
            with pytest.raises(ValueError, match=r'mask logits torch\.float32 of shape \(2, 12'):
                run(engine, words('published'), size_of(plain.network), step)


@pytest.fixture(scope='module')
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export('published', tmp_path_factory.mktemp('published'))


@pytest.mark.slow
@pytest.mark.parametrize('make', [None, Smoother, Refiner])
def test_onnx_plain_and_lean_agree_with_steps_and_without(
    exported: Exported, make: Callable[[], PostprocessStep] | None
) -> None:
    network = load_model(str(exported.model)).network
    onnx = load_exported(str(exported.file), device='cpu').engine
    plain = PlainEngine(network.eval())
    encoded = seeded_vocabulary(7, 64, classes=5)
    lean = LeanEngine(load_model(str(exported.model)).network, dtype=torch.float32, device=CPU)
    results = [
        run(engine, encoded, exported.size, *([make()] if make else []), pixels=exported.size)
        for engine in (plain, lean, onnx)
    ]
    for other in results[1:]:
        for ours, theirs in zip(other, results[0], strict=True):
            assert (ours[0] == theirs[0]).float().mean() > 0.999
            torch.testing.assert_close(ours[1:], theirs[1:], **CLOSE)


WORDS = Vocabulary.from_names(['cat', 'traffic light', 'tree'])


def test_a_segmentation_holds_the_logits_of_its_classes(tiny: str) -> None:
    segmenter = Segmenter.load(tiny, device='cpu', precision='fp32', negatives=['wall'])
    image = noise(48, 90)
    assert segmenter.segment(image, WORDS).mask_logits is None
    one, two = segmenter.segment_batch([image, image[::-1]], WORDS, mask_logits=True)
    single = segmenter.segment(image, WORDS, mask_logits=True)
    for found in (one, single):
        assert found.mask_logits.shape == (3, 4, 7)  # Of 32x56 pixels, patches of 8.
        assert found.mask_logits.dtype == np.float32
    np.testing.assert_allclose(one.mask_logits, single.mask_logits, rtol=1e-4, atol=1e-4)
    assert not np.allclose(one.mask_logits, two.mask_logits)


def test_a_segmenter_calls_its_steps_between_logits_and_labels(tiny: str) -> None:
    def only_the_last(logits: Tensor, vocabulary: EngineVocabulary, images: Tensor) -> Tensor:
        assert vocabulary.words == WORDS.names
        return torch.cat([logits[:, :-1] - 100, logits[:, -1:]], dim=1)

    segmenter = Segmenter(load_model(tiny), SegmenterOptions(device='cpu'), steps=[only_the_last])
    assert (segmenter.segment(noise(48, 90), WORDS).labels == 2).all()

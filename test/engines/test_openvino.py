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
"""The image tower by OpenVINO beside the plain engine, and the cache of converted models."""

from collections.abc import Callable
from pathlib import Path
import subprocess
import sys

from aligned_towers import aligned_towers
from exported_models import write_dinov2
from made_vocabularies import seeded_vocabulary
import numpy as np
from PIL import Image
import pytest
from test_lean import detailed, published
from tiny_clips import seeded
from tiny_models import noise
import torch
from zegclip_core.cli.main import main
from zegclip_core.engines.contract import EngineVocabulary, Network
from zegclip_core.engines.lean.engine import LeanEngine
from zegclip_core.engines.lean.model import lean_form
from zegclip_core.engines.openvino import cache, conversion
from zegclip_core.engines.openvino.cache import cache_folder
from zegclip_core.engines.openvino.look import openvino_look
from zegclip_core.engines.plain import PlainEngine
from zegclip_core.errors import BackendError, ModelError
from zegclip_core.model.blocks import PYTORCH
from zegclip_core.model.scoring import Windows
from zegclip_core.options import ATTENTIONS
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary

pytest.importorskip('openvino')

CPU = torch.device('cpu')
WORDS = Vocabulary.from_names(['cat', 'traffic light', 'tree'])
NETWORKS: dict[str, Callable[[], Network]] = {
    'published': published,
    'detailed': detailed,
    'aligned': aligned_towers,
    **{name: (lambda name=name: seeded(name)) for name in ATTENTIONS},
}


@pytest.fixture(autouse=True)
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give every test a cache of its own, and what it converts."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'zegclip' / 'openvino'


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(write_dinov2(tmp_path / 'tiny.safetensors'))


def compiled(
    network: Network, *, windows: Windows | None = None, candidates: int = 0
) -> LeanEngine:
    return LeanEngine(
        network,
        dtype=torch.float32,
        device=CPU,
        windows=windows,
        candidates=candidates,
        compiler=lambda model: openvino_look(model, 'fp32', 'made'),
    )


def pixels(height: int, width: int, count: int = 1) -> torch.Tensor:
    return torch.from_numpy(np.stack([noise(height, width, seed) for seed in range(count)]))


@pytest.mark.parametrize('kind', NETWORKS)
def test_it_labels_as_the_plain_engine_at_any_size_and_number(kind: str) -> None:
    plain, engine = PlainEngine(NETWORKS[kind]()), compiled(NETWORKS[kind]())
    patch = plain.network.config.vision.patch_size
    width = plain.network.config.text_dim if hasattr(plain.network.config, 'text_dim') else None
    width = width or plain.network.config.vision.embed_dim
    # The same engine for all of them, as one camera follows another.
    for height, across, count, classes in ((4, 6, 1, 3), (7, 3, 2, 9), (4, 6, 3, 1)):
        encoded = seeded_vocabulary(classes, width)
        size, image = (height * patch, across * patch), pixels(61, 83, count)
        expected, found = (
            each.run(image, size, each.prepare(encoded), (50, 70), mask_logits=True)
            for each in (plain, engine)
        )
        torch.testing.assert_close(found.mask_logits, expected.mask_logits, rtol=1e-3, atol=1e-3)
        assert (found.labels == expected.labels).float().mean() >= 0.99
        torch.testing.assert_close(found.scores, expected.scores, rtol=0, atol=1e-3)


@pytest.mark.parametrize('kind', ['published', 'detailed'])
def test_windows_candidates_and_steps_go_on_as_in_torch(kind: str) -> None:
    class Halve:
        def __call__(
            self, mask_logits: torch.Tensor, vocabulary: EngineVocabulary, images: torch.Tensor
        ) -> torch.Tensor:
            return mask_logits / 2

    patch = NETWORKS[kind]().config.vision.patch_size
    encoded = seeded_vocabulary(40, NETWORKS[kind]().config.text_dim)
    size, image = (4 * patch, 6 * patch), pixels(60, 90, 2)
    for settings, steps in (
        ({'windows': Windows(3 * patch, 2 * patch)}, ()),
        ({'candidates': 5}, ()),
        ({}, (Halve(),)),
    ):
        torch_side = LeanEngine(NETWORKS[kind](), dtype=torch.float32, device=CPU, **settings)
        engine = compiled(NETWORKS[kind](), **settings)
        labels = []
        for each in (torch_side, engine):
            each.steps = steps
            labels.append(each.run(image, size, each.prepare(encoded), (60, 90)).labels)
        assert (labels[0] == labels[1]).float().mean() >= 0.99


def test_features_stay_as_they_are_while_larger_images_come() -> None:
    lean = lean_form(published(), dtype=torch.float32, device=CPU, kernels=PYTORCH)
    look, patch = openvino_look(lean, 'fp32', 'made'), lean.tower.projection.patch
    images = [
        torch.rand(count, 3, height * patch, 6 * patch) * 255
        for count, height in ((1, 4), (1, 4), (3, 9))
    ]
    found = [look(each) for each in images]
    for features, again in zip(found, map(look, images), strict=True):
        for one, other in zip(features, again, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    assert not torch.equal(found[0][0], found[1][0])


def test_a_result_outlives_the_next_frame(model: str) -> None:
    segmenter = Segmenter.load(model, backend='openvino', precision='fp32', threshold=0.3)
    first = segmenter.segment(noise(60, 80, 0), WORDS, mask_logits=True)
    kept = [part.copy() for part in (first.labels, first.scores, first.mask_logits)]
    segmenter.segment(noise(60, 80, 1), WORDS, mask_logits=True)
    for part, copy in zip((first.labels, first.scores, first.mask_logits), kept, strict=True):
        np.testing.assert_array_equal(part, copy)


def test_thresholds_and_negatives_are_those_of_torch(model: str) -> None:
    settings = {'precision': 'fp32', 'device': 'cpu', 'negatives': ('wall', 'sky')}
    theirs = Segmenter.load(model, backend='torch', threshold=0.0, **settings)
    image = noise(70, 90)
    # One that about half of the pixels reach.
    theirs.threshold = float(np.median(theirs.segment(image, WORDS).scores))
    ours = Segmenter.load(model, backend='openvino', threshold=theirs.threshold, **settings)
    words = theirs.encode(WORDS)
    found, expected = ours.segment(image, WORDS), theirs.segment(image, words)
    assert (found.labels == expected.labels).mean() >= 0.99
    assert 0 < (found.labels == 255).mean() < 1


def test_a_model_is_converted_once(
    model: str, cache_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Segmenter.load(model, backend='openvino')
    (place,) = cache_home.iterdir()
    assert {path.name for path in place.iterdir()} == {'model.xml', 'model.bin'}
    monkeypatch.setattr(conversion, 'record', lambda model: pytest.fail('converted again'))
    Segmenter.load(model, backend='openvino')
    (place / 'model.bin').write_bytes(b'')  # As after a power cut.
    with pytest.raises(pytest.fail.Exception, match='converted again'):
        Segmenter.load(model, backend='openvino')


def test_other_weights_are_another_model(cache_home: Path) -> None:
    network = detailed()
    compiled(network)
    network.decoder.layers[0].linear1.bias.data += 1  # Not in the graph, but of the model.
    compiled(network)
    assert len(list(cache_home.iterdir())) == 2


def test_a_damaged_model_is_converted_again(
    model: str, cache_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = Segmenter.load(model, backend='openvino').segment(noise(60, 80), WORDS)
    (place,) = cache_home.iterdir()
    (place / 'model.xml').write_text('<net')
    found = Segmenter.load(model, backend='openvino').segment(noise(60, 80), WORDS)
    assert 'Converting again' in caplog.text
    np.testing.assert_array_equal(found.labels, expected.labels)


def test_processes_that_convert_the_same_model_agree(model: str, cache_home: Path) -> None:
    load = f"Segmenter.load({model!r}, backend='openvino')"
    code = f'from zegclip_core.segmenter import Segmenter; {load}'
    both = [subprocess.Popen([sys.executable, '-c', code]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    (place,) = cache_home.iterdir()  # One model, and nothing half done beside it.
    assert cache.load(place) is not None


def test_a_cache_that_cannot_be_written_costs_time_alone(
    model: str, cache_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache_home.parent.mkdir(parents=True)
    cache_home.write_text('')  # Where a folder should be.
    Segmenter.load(model, backend='openvino').segment(noise(60, 80), WORDS)
    assert 'converted at every start' in caplog.text


def test_a_model_that_openvino_cannot_convert_is_said_so(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(model: object) -> None:
        raise RuntimeError('no such operator')

    monkeypatch.setattr(conversion, 'record', fail)
    with pytest.raises(BackendError, match='by OpenVINO: no such operator'):
        Segmenter.load(model, backend='openvino')


def test_int8_is_calibrated_with_pictures(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip('nncf')
    with pytest.raises(ModelError, match=r'zegclip export --format openvino .*--calibrate DIR'):
        Segmenter.load(model, precision='int8')
    folder = tmp_path / 'pictures'
    folder.mkdir()
    for seed, size in enumerate(((60, 80), (80, 60), (60, 80))):
        Image.fromarray(noise(*size, seed)).save(folder / f'{seed}.png')
    arguments = ['export', '--format', 'openvino', '--model', model]
    assert main([*arguments, '--calibrate', str(folder)]) == 0
    assert 'for OpenVINO, int8' in capsys.readouterr().out
    eight_bits = Segmenter.load(model, precision='int8', threshold=0.0)
    exact = Segmenter.load(model, precision='fp32', backend='torch', threshold=0.0)
    for size in ((60, 80), (90, 60)):  # Also one that no picture has.
        found = eight_bits.segment(noise(*size), WORDS)
        expected = exact.segment(noise(*size), WORDS)
        assert (found.labels == expected.labels).mean() >= 0.8
        assert 0 < np.abs(found.scores - expected.scores).max() < 0.3
    assert main(arguments) == 0
    assert len(list(cache_folder().iterdir())) == 2


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--format', 'openvino', '--out', 'a.onnx'], '--out only for the format onnx'),
        (['--format', 'openvino', '--size', '14x14'], '--size only for the format onnx'),
        (['--out', 'a.onnx', '--calibrate', '.'], '--calibrate only for the format openvino'),
        ([], 'Expected --out NAME.onnx'),
        (['--format', 'openvino', '--calibrate', 'no_such_folder'], 'no_such_folder'),
        (['--format', 'openvino', '--model', 'a.onnx'], "got 'a.onnx', an exported one"),
    ],
)
def test_options_of_the_other_format_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['export', *arguments]) == 2
    assert message in capsys.readouterr().err

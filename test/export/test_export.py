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
"""Exported models: what comes out of onnxruntime is what comes out of torch."""

from collections.abc import Callable
import json
from pathlib import Path
import shutil

from exported_models import export, Exported
from made_vocabularies import made_vocabulary
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from zegclip_core import export as export_module
from zegclip_core.errors import ModelError
from zegclip_core.export import export_onnx
from zegclip_core.loading import load_model
from zegclip_core.segmentation import label_type, unlabelled_id
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_core.weights.checkpoint import load_checkpoint

pytestmark = pytest.mark.slow  # An export takes seconds, and many beside other processes.

Replay = Callable[..., Path]


@pytest.fixture(scope='module', params=['published', 'dinov2'])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export(request.param, tmp_path_factory.mktemp(request.param))


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return smooth blobs of colour, as in a photo."""
    noise = torch.rand(1, 3, 5, 7, generator=torch.Generator().manual_seed(seed))
    blobs = F.interpolate(noise, (height, width), mode='bicubic').clamp(0, 1) * 255
    return blobs[0].permute(1, 2, 0).byte().numpy()


def words(classes: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return embeddings and bias of classes that were never heard of."""
    generator = torch.Generator().manual_seed(classes)
    embeddings = F.normalize(torch.randn(classes, width, generator=generator), dim=-1)
    return embeddings, 0.1 * torch.rand(classes, generator=generator)


def widest_gap(scores: torch.Tensor) -> float:
    """Return a value that many scores are above and many below, and none is near to."""
    quarters = scores.flatten().sort().values.chunk(4)
    middle = torch.cat(quarters[1:3])
    place = int(middle.diff().argmax())
    return float((middle[place] + middle[place + 1]) / 2)


@pytest.mark.parametrize('classes', [1, 2, 7, 300])
def test_onnxruntime_labels_as_torch_does(exported: Exported, classes: int) -> None:
    embeddings, bias = words(classes, 64)
    image = np.random.default_rng(0).integers(0, 256, (1, *exported.size, 3), dtype=np.uint8)
    plain = Segmenter.load(str(exported.model), device='cpu', precision='fp32', engine='plain')

    def by_torch(thresholds: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        prepared = plain.engine.prepare(made_vocabulary(embeddings, bias, thresholds))
        pixels = torch.from_numpy(image)
        found = plain.engine.run(pixels, exported.size, prepared, exported.size)
        return found.labels, found.scores

    thresholds = torch.full((classes,), widest_gap(by_torch(torch.zeros(classes))[1]))
    expected = by_torch(thresholds)
    session = onnxruntime.InferenceSession(str(exported.file))
    feed = {'image': image, 'text': embeddings, 'bias': bias, 'thresholds': thresholds}
    labels, scores, logits = session.run(
        ['labels', 'scores', 'logits'], {key: np.asarray(value) for key, value in feed.items()}
    )
    kind = label_type(classes)
    assert (labels.dtype, labels.shape) == (np.int32, (1, *exported.size))
    # -1 is the greatest value of an unsigned type.
    same = labels.astype(kind) == expected[0].numpy()
    assert same.mean() >= 0.999
    # Where two classes are as good as equal, either may win, and each has a bias of its own.
    np.testing.assert_allclose(scores[same], expected[1].numpy()[same], rtol=0, atol=1e-4)
    assert logits.shape[:2] == (1, classes)
    assert 0.2 < (labels == -1).mean() < 0.8
    assert {-1, *range(classes)} >= set(np.unique(labels))
    assert (expected[0].numpy() == unlabelled_id(kind)).any()


def test_the_segmenter_takes_the_file_and_needs_no_checkpoint(
    exported: Exported, tmp_path: Path
) -> None:
    torch_side = Segmenter.load(str(exported.model), device='cpu', precision='fp32', threshold=0.3)
    folder = shutil.copytree(exported.file.parent, tmp_path / 'robot')
    found = Segmenter.load(str(folder / exported.file.name), threshold=0.3)
    assert found.settings.seen_classes == torch_side.settings.seen_classes
    vocabulary = Vocabulary.from_names(['cat', 'traffic light', 'tree'])
    # The torch side looks at this image at the size of the export.
    image = picture(*exported.size)
    prepared = torch_side.engine.prepare(torch_side.encode(vocabulary))
    pixels = torch.from_numpy(image)[None]
    ours = found.segment(image, vocabulary)
    theirs = torch_side.engine.run(pixels, exported.size, prepared, exported.size)
    assert (ours.labels == theirs.labels[0].numpy()).mean() >= 0.999
    np.testing.assert_allclose(ours.scores, theirs.scores[0].numpy(), atol=1e-4)
    # A camera's image is brought to that size, and labels back to the camera's.
    image = picture(3 * exported.size[0] + 5, 3 * exported.size[1])
    result = found.segment(image, vocabulary)
    pixels = torch.from_numpy(image)[None]
    same = torch_side.engine.run(pixels, exported.size, prepared, image.shape[:2])
    assert result.labels.shape == image.shape[:2]
    assert (result.labels == same.labels[0].numpy()).mean() >= 0.99
    found.warm_up()
    found.close()


def test_the_file_says_what_it_is(exported: Exported) -> None:
    model = onnx.load(str(exported.file))
    onnx.checker.check_model(model)
    assert model.opset_import[0].version == 18
    header = {entry.key: entry.value for entry in model.metadata_props}
    assert header['size'] == f'{exported.size[0]}x{exported.size[1]}'
    assert header['text_dim'] == '64'
    assert header['model'] == 'tiny'
    loaded = load_model(str(exported.model))
    assert json.loads(header['settings'])['seen_bias'] == loaded.settings.seen_bias
    vision = json.loads(header['config'])['vision']
    assert vision['patch_size'] == loaded.network.config.vision.patch_size
    beside = exported.file.parent / header['text_tower_file']
    keys = load_checkpoint(beside).state_dict
    assert keys
    assert all(key.startswith('text_encoder.') for key in keys)
    shapes = {
        entry.name: [dim.dim_param or dim.dim_value for dim in entry.type.tensor_type.shape.dim]
        for entry in model.graph.input
    }
    assert shapes == {
        'image': [1, *exported.size, 3],
        'text': ['classes', 64],
        'bias': ['classes'],
        'thresholds': ['classes'],
    }


def test_prompts_and_positions_are_constants(exported: Exported) -> None:
    model = onnx.load(str(exported.file))
    names = [entry.name for entry in model.graph.initializer]
    assert not [name for name in names if 'prompt' in name]
    # One to bring the masks to the image's size, one for the detail branch.
    resized = [node for node in model.graph.node if node.op_type == 'Resize']
    assert len(resized) == (2 if 'dinov2' in exported.file.name else 1)
    prompted = any(name.endswith('attn.key') for name in names)
    assert prompted == ('published' in exported.file.name)


@pytest.fixture(scope='module')
def replay(tmp_path_factory: pytest.TempPathFactory) -> Replay:
    """Return a function that exports again without translating again."""
    made = export('published', tmp_path_factory.mktemp('replay'))
    programs: list[object] = []
    translate = export_module._translate

    def kept(*arguments: object) -> object:
        if not programs:
            programs.append(translate(*arguments))
        return programs[0]

    def call(out: Path, precision: str = 'fp32') -> Path:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(export_module, '_translate', kept)
            made_again = export_onnx(str(made.model), out, size=made.size, precision=precision)
            return made_again.files[0]

    return call


def test_more_weights_than_a_file_can_hold_lie_beside_it(
    replay: Replay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    single = replay(tmp_path / 'single' / 'a.onnx')
    monkeypatch.setattr(export_module, 'LARGEST_FILE', 1000)
    split = replay(tmp_path / 'split' / 'a.onnx')
    names = sorted(path.name for path in split.parent.iterdir())
    assert names == ['a.onnx', 'a.onnx.data', 'a.text.safetensors']
    assert sorted(path.name for path in single.parent.iterdir()) == [names[0], names[2]]
    image, vocabulary = picture(48, 64), Vocabulary.from_names(['cat', 'tree'])
    one, two = (Segmenter.load(str(file)).segment(image, vocabulary) for file in (single, split))
    assert np.array_equal(one.labels, two.labels)
    rounded = replay(tmp_path / 'rounded' / 'a.onnx', precision='int8')
    assert sorted(path.name for path in rounded.parent.iterdir()) == names
    assert Segmenter.load(str(rounded)).segment(image, vocabulary).labels.shape == (48, 64)


def test_eight_bits_are_of_linear_layers_alone_with_a_scale_for_each_channel(
    replay: Replay, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = replay(tmp_path / 'fp32' / 'a.onnx')
    rounded = replay(tmp_path / 'int8' / 'a.onnx', precision='int8')
    assert sorted(path.name for path in rounded.parent.iterdir()) == [
        'a.onnx',
        'a.text.safetensors',
    ]
    assert not caplog.records
    before, after = onnx.load(whole), onnx.load(rounded)
    onnx.checker.check_model(after)
    products = [node for node in after.graph.node if node.op_type == 'MatMulInteger']
    exact, found = (
        {part.name: onnx.numpy_helper.to_array(part) for part in model.graph.initializer}
        for model in (before, after)
    )
    for name in {product.input[1].removesuffix('_quantized') for product in products}:
        values, scale = found[f'{name}_quantized'], found[f'{name}_scale']
        assert values.dtype == np.int8
        assert scale.shape == values.shape[1:]
        # Rounded to the nearest step of its channel.
        assert (np.abs(values * scale - exact[name]) <= 0.501 * scale).all()
    left = [node for node in after.graph.node if node.op_type == 'MatMul']
    assert not [node for node in left if found.get(node.input[1], np.zeros(0)).ndim == 2]
    assert len(products) > 10
    kept = {entry.key: entry.value for entry in after.metadata_props}
    assert {entry.key: entry.value for entry in before.metadata_props}.items() <= kept.items()
    image, vocabulary = picture(48, 64), Vocabulary.from_names(['cat', 'tree'])
    one, two = (Segmenter.load(str(file)).segment(image, vocabulary) for file in (whole, rounded))
    assert 0.0 < np.abs(one.scores - two.scores).max() < 0.1


def test_a_write_that_fails_leaves_the_folder_as_it_was(
    replay: Replay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, 'No space left on device')

    (tmp_path / 'a.onnx').write_bytes(b'of old')
    monkeypatch.setattr(export_module, 'save_checkpoint', fail)
    with pytest.raises(ModelError, match=r'^Cannot write .*a\.onnx: No space left on device\.$'):
        replay(tmp_path / 'a.onnx')
    assert [path.name for path in tmp_path.iterdir()] == ['a.onnx']
    assert (tmp_path / 'a.onnx').read_bytes() == b'of old'


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ('precision', 'alike', 'near'), [('fp32', 0.999, 1e-4), ('int8', 0.95, 0.2)]
)
def test_the_bundled_model_can_be_exported(
    tmp_path: Path, precision: str, alike: float, near: float
) -> None:
    file = tmp_path / 'everyday.onnx'
    made = export_onnx('everyday-s', file, size=(84, 126), opset=20, precision=precision)
    assert made.files == (file,)
    assert list(tmp_path.iterdir()) == [file]
    found = Segmenter.load(str(file))
    plain = Segmenter.load('everyday-s', device='cpu', precision='fp32', short_side=84)
    vocabulary = Vocabulary.from_names(['sky', 'road', 'person', 'chair'])
    image = picture(84, 126)
    ours, theirs = found.segment(image, vocabulary), plain.segment(image, vocabulary)
    assert (ours.labels == theirs.labels).mean() >= alike
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=near)


def test_a_negative_word_takes_the_pixels_that_it_had_as_a_class(exported: Exported) -> None:
    segmenter = Segmenter.load(str(exported.file), threshold=0.0)
    image, names = picture(*exported.size), ['cat', 'traffic light', 'tree']
    wide = segmenter.segment(image, Vocabulary.from_names(names))
    winner = int(np.bincount(wide.labels.ravel()).argmax())
    others = [place for place in range(3) if place != winner]
    asked = Vocabulary.from_names([names[place] for place in others])
    found = segmenter.segment(image, segmenter.encode(asked, negatives=(names[winner],)))
    assert np.array_equal(found.unlabelled, wide.labels == winner)
    kept = ~found.unlabelled
    assert np.array_equal(np.array(others)[found.labels[kept]], wide.labels[kept])


@pytest.mark.ros
@pytest.mark.parametrize('backend', ['auto', 'onnxruntime'])
def test_the_node_labels_with_an_exported_model(backend: str, exported: Exported) -> None:
    from ros_helpers import node_parameters
    from zegclip_ros.segmenter_like import load_segmenter

    segmenter = load_segmenter(node_parameters(model=str(exported.file), backend=backend))
    segmenter.warm_up()
    words = segmenter.encode(Vocabulary.from_names(['cat', 'tree']))
    assert segmenter.segment(picture(48, 64), words).labels.shape == (48, 64)
    assert segmenter.memory_bytes() is None
    assert segmenter.runs_on == 'cpu'
    segmenter.release_memory()
    segmenter.close()

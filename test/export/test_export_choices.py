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
"""Exporting, and using what was exported: choices, refusals in one line, and the page is true."""

from collections.abc import Callable
import importlib.util
from pathlib import Path
import re
import shlex
from types import SimpleNamespace
from typing import Any

from exported_models import export
from made_vocabularies import seeded_vocabulary
import numpy as np
import onnx
from onnx import helper, TensorProto
import pytest
from tiny_models import write_published
import torch
from zegclip_core import export_check
from zegclip_core.cli.main import build_parser, main
from zegclip_core.engines import backends
from zegclip_core.engines import onnx as onnx_engine
from zegclip_core.engines.backends import pick_backend
from zegclip_core.engines.onnx import (
    INPUTS,
    OnnxEngine,
    OUTPUTS,
    pick_providers,
    place_of,
    tensorrt_shapes,
)
from zegclip_core.errors import CheckpointError, ModelError
from zegclip_core.export import export_onnx, NEWEST_OPSET, OPSET
from zegclip_core.export_check import check_onnx
from zegclip_core.options import SegmenterOptions
from zegclip_core.segmenter import Segmenter

NAMED = (('tiny', 5), ('other', 6))
"""Two models that differ in their weights, with the seeds of these."""
CUDA = ['TensorrtExecutionProvider', 'CUDAExecutionProvider', 'CPUExecutionProvider']
CPU = ['AzureExecutionProvider', 'CPUExecutionProvider']
PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'export.md'
TEXT = PAGE.read_text(encoding='utf-8')


def without(package: str) -> Callable[..., Any]:
    """Return a ``find_spec`` that does not find a package."""
    return lambda name: None if name == package else importlib.util.find_spec(name)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'path': 'model.trt'}, r"file NAME\.onnx to write to, but got 'model\.trt'"),
        ({'path': 'model'}, "but got 'model'"),
        ({'opset': 17}, r'operator set in \[18, 23\], but got 17'),
        ({'opset': 99}, 'but got 99'),
        ({'precision': 'bf16'}, "a precision of fp32 or int8, but got 'bf16'"),
        ({'size': (360, 476)}, r'multiples of 14 pixels.*such as 364x476, but got 360x476'),
        ({'size': (7, 14)}, 'such as 14x14, but got 7x14'),
        ({'model': 'nameless'}, "but got 'nameless'"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    arguments: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=message):
        export_onnx(**{'model': 'everyday-s', 'path': 'model.onnx', **arguments})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('size', ['364', '364x', 'ax476', '0x14', '14*14'])
def test_a_size_that_is_none_is_one_line(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match='2'):
        main(['export', '--out', 'a.onnx', '--size', size])
    line = capsys.readouterr().err
    assert f'such as 364x476, but got {size}' in line
    assert line.count('\n') == 1


def pick(backend: str, model: str) -> str:
    return pick_backend(SegmenterOptions(backend=backend), model)


def test_packages_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for package, use in (
        ('onnxruntime', lambda: pick('auto', 'a.onnx')),
        ('onnxscript', lambda: export_onnx('everyday-s', 'a.onnx')),
    ):
        monkeypatch.setattr(backends, 'find_spec', without(package))
        with pytest.raises(ModelError, match=rf"{package}.*pip install 'zegclip-ros\[onnx\]'"):
            use()
    assert pick('auto', 'everyday-s') == 'torch'


def test_the_backend_goes_by_the_models_name() -> None:
    assert pick('auto', 'everyday-s') == pick('torch', 'a.pth') == 'torch'
    assert pick('auto', 'a.onnx') == pick('onnxruntime', 'a.onnx') == 'onnxruntime'
    for backend, model, message in (
        ('onnxruntime', 'everyday-s', r"exported model, NAME\.onnx,.*but got 'everyday-s'"),
        ('torch', 'a.onnx', 'take the backend onnxruntime'),
        ('tensorflow', 'a.onnx', 'auto, torch, openvino, onnxruntime'),
    ):
        with pytest.raises(ModelError, match=message):
            Segmenter.load(model, backend=backend)


def test_devices_become_execution_providers() -> None:
    path = Path('/models/a.onnx')

    def names(device: str, precision: str = 'auto', available: list[str] = CUDA) -> list[str]:
        return [name for name, _ in pick_providers(device, precision, available, path)]

    assert names('auto') == names('cuda') == CUDA[1:]
    assert names('auto', available=CPU) == names('cpu') == ['CPUExecutionProvider']
    assert names('tensorrt') == CUDA
    assert pick_providers('cuda:1', 'fp32', CUDA, path)[0][1] == {'device_id': '1'}
    options = [pick_providers('tensorrt', how, CUDA, path)[0][1] for how in ('auto', 'fp32')]
    assert [one['trt_fp16_enable'] for one in options] == ['True', 'False']
    assert options[0]['trt_engine_cache_path'] == '/models/a.tensorrt'
    assert tensorrt_shapes(384)['trt_profile_min_shapes'] == 'text:1x384,bias:1,thresholds:1'


@pytest.mark.parametrize(
    ('device', 'precision', 'message'),
    [
        ('tpu', 'auto', "tensorrt for an exported model, but got 'tpu'"),
        ('cpu:1', 'auto', "but got 'cpu:1'"),
        ('cuda:x', 'auto', "but got 'cuda:x'"),
        ('cpu', 'bf16', "auto, fp32 for an exported model on cpu, but got 'bf16'"),
        ('cuda', 'fp16', "on cuda, but got 'fp16'"),
        ('tensorrt', 'int8', "auto, fp32, fp16.*but got 'int8'"),
        ('cuda', 'auto', 'onnxruntime with CUDAExecutionProvider.*has AzureExecutionProvider'),
        ('tensorrt', 'auto', 'onnxruntime with TensorrtExecutionProvider'),
    ],
)
def test_devices_that_onnxruntime_has_not_are_refused(
    device: str, precision: str, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        pick_providers(device, precision, CPU, Path('a.onnx'))


@pytest.mark.parametrize(
    'settings', [{'short_side': 224}, {'mode': 'slide'}, {'engine': 'plain'}], ids=str
)
def test_what_was_fixed_by_the_export_cannot_be_set(settings: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match='as it was exported, whole and at its own size'):
        Segmenter.load('a.onnx', **settings)


def foreign(path: Path, metadata: dict[str, str] | None = None) -> Path:
    """Write an ONNX file that takes ``x`` and gives it back."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ('x', 'y')]
    graph = helper.make_graph(
        [helper.make_node('Identity', ['x'], ['y'])], 'g', ends[:1], ends[1:]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=10)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, str(path))
    return path


def test_files_that_are_no_exported_models_are_refused(tmp_path: Path) -> None:
    broken = tmp_path / 'broken.onnx'
    broken.write_bytes(b'nothing of the kind')
    for path, message in (
        (tmp_path / 'none.onnx', 'there is no file at'),
        (broken, r'Cannot read the exported model .*broken\.onnx'),
        (foreign(tmp_path / 'foreign.onnx'), 'checkpoint of this project.*first keys are: x'),
    ):
        with pytest.raises(CheckpointError, match=message) as caught:
            Segmenter.load(str(path), device='cpu')
        assert '\n' not in str(caught.value)


class FakeSession:
    """Has the ends of an exported model."""

    def get_inputs(self) -> list[Any]:
        shapes = {'image': [1, 28, 42, 3], 'text': ['K', 8], 'bias': ['K'], 'thresholds': ['K']}
        return [type('End', (), {'name': name, 'shape': shape}) for name, shape in shapes.items()]

    def get_outputs(self) -> list[Any]:
        return [type('End', (), {'name': name}) for name in ('labels', 'scores', 'logits')]


def test_more_classes_than_tensorrt_was_built_for_are_refused() -> None:
    engine = OnnxEngine(FakeSession(), Path('a.onnx'), most=2)
    assert engine.size == (28, 42)
    assert engine.prepare(seeded_vocabulary(2, 8)).classes == 2
    with pytest.raises(ModelError, match='at most 2 classes on TensorRT, but got 3'):
        engine.prepare(seeded_vocabulary(3, 8))


@pytest.mark.parametrize(
    ('providers', 'place'),
    [
        (['CPUExecutionProvider'], 'cpu'),
        (['CUDAExecutionProvider', 'CPUExecutionProvider'], 'cuda:1'),
        (['TensorrtExecutionProvider', 'CUDAExecutionProvider'], 'tensorrt'),
    ],
)
def test_where_an_exported_model_runs_is_told(providers: list[str], place: str) -> None:
    class Session:
        """Stands for a session of onnxruntime."""

        def get_providers(self) -> list[str]:
            return providers

        def get_provider_options(self) -> dict[str, dict[str, str]]:
            return {name: {'device_id': '1'} for name in providers}

    assert place_of(Session()) == place


def blocks(language: str) -> list[str]:
    return re.findall(rf'^```{language}\n(.*?)^```', TEXT, re.DOTALL | re.MULTILINE)


def test_the_commands_are_known() -> None:
    text = ''.join(blocks('sh')).replace('\\\n', '')
    lines = [shlex.split(line, comments=True) for line in text.splitlines()]
    commands = [line[1:] for line in lines if line and line[0] == '.venv/bin/zegclip']
    assert {command[0] for command in commands} == {'export', 'evaluate', 'segment'}
    for command in commands:
        build_parser().parse_args(command)


def test_every_option_is_described() -> None:
    names = set(vars(build_parser().parse_args(['export', '--out', 'x']))) - {'command', 'run'}
    assert [name for name in names if f'| `--{name}` |' not in TEXT] == []
    assert f'| `{OPSET}` | ONNX operator set, {OPSET} to {NEWEST_OPSET}.' in TEXT


def test_inputs_and_outputs_are_those_of_the_graph() -> None:
    tables = TEXT.split('## The file')[1].split('## From Python')[0]
    assert tuple(re.findall(r'^\| `(\w+)` \|', tables, re.MULTILINE)) == (*INPUTS, *OUTPUTS)


def test_the_options_for_tensorrt_are_those_that_the_node_gives() -> None:
    found: dict[str, object] = {}
    (source,) = (block for block in blocks('python') if 'trt_' in block)
    exec(source.partition('providers =')[0], found)
    path = Path('everyday.onnx')
    ((_, ours), *_) = pick_providers('tensorrt', 'auto', ['TensorrtExecutionProvider'], path)
    options = found['options']
    assert isinstance(options, dict)
    assert {key: str(value) for key, value in options.items()} == ours | tensorrt_shapes(384)
    for key, value in tensorrt_shapes(384).items():
        assert f'--{key.split("_")[2]}Shapes={value}' in TEXT


def test_links_lead_somewhere() -> None:
    for link in re.findall(r'\]\(([^)#\s]+)', TEXT):
        assert link.startswith('https://') or (PAGE.parent / link).exists(), link


@pytest.mark.slow
def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = export('published', tmp_path)
    made.file.rename(tmp_path / 'everyday.onnx')
    beside = made.file.with_suffix('.text.safetensors')
    beside.rename(tmp_path / beside.name)
    monkeypatch.chdir(tmp_path)
    found: dict[str, object] = {}
    exec(blocks('python')[0], found)
    for name in ('labels', 'scores'):
        assert found[name].shape == (1, *made.size)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ('size', 'warned'),
    [((300, 1280), True), ((400, 200), True), ((364, 476), False), ((480, 640), False)],
)
def test_images_of_another_shape_are_squeezed_with_one_word(
    size: tuple[int, int], warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    engine = SimpleNamespace(size=(140, 182), _squeezed=False)
    for _ in range(2):
        onnx_engine.OnnxEngine._say_squeezed(engine, *size)
    assert len(caplog.messages) == warned
    if warned:
        assert f'{size[1]}x{size[0]} are squeezed into the 182x140' in caplog.messages[0]


@pytest.mark.slow
def test_check_tells_how_near_the_file_is_and_fails_for_that_of_another_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, other = (write_published(tmp_path / f'{name}.pth', seed=seed) for name, seed in NAMED)
    file = tmp_path / 'tiny.onnx'
    command = ['export', '--model', str(model), '--out', str(file), '--size', '32x48', '--check']
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert re.search(r'with 1, 7, 40 words on noise: scores .* at most \d\.\de-0[5-9]', shown)
    assert '100.00% of the labels' in shown
    with pytest.raises(ModelError, match=r'to give the scores of PyTorch to 0\.001') as caught:
        check_onnx(str(other), file)
    assert '\n' not in str(caught.value)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match='Cannot read the exported model') as caught:
        check_onnx(str(model), file)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('place', range(len(export_check.CHECKED_CLASSES)))
def test_scores_that_are_no_numbers_are_no_agreement(
    monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    labels, scores = np.zeros((1, 4, 4), np.int32), np.zeros((1, 4, 4), np.float32)
    wrong = export_check.CHECKED_CLASSES[place]
    session = SimpleNamespace(
        run=lambda _, feed: [labels, scores * (np.nan if len(feed['text']) == wrong else 1)],
        get_modelmeta=lambda: SimpleNamespace(custom_metadata_map={}),
    )
    source = SimpleNamespace(network=None, config=SimpleNamespace(text_dim=8))
    same = (torch.from_numpy(labels), torch.from_numpy(scores))
    for name, value in (
        ('open_source', lambda _: source),
        ('open_session', lambda *_: session),
        ('OnnxEngine', lambda *_: SimpleNamespace(size=(4, 4))),
        ('_by_torch', lambda *_: same),
    ):
        monkeypatch.setattr(export_check, name, value)
    with pytest.raises(ModelError, match='differ by up to nan'):
        check_onnx('a', 'a.onnx')


def test_check_is_for_onnx_files_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['export', '--format', 'openvino', '--check']) == 2
    assert 'Expected --check only for the format onnx' in capsys.readouterr().err

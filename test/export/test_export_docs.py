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
"""The page on exporting is true: its commands parse, its example runs, its options are ours."""

from pathlib import Path
import re
import shlex

from exported_models import export
import pytest
from zegclip_core.cli.main import build_parser
from zegclip_core.engines.onnx import INPUTS, OUTPUTS, pick_providers, tensorrt_shapes
from zegclip_core.export import NEWEST_OPSET, OPSET

PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'export.md'
TEXT = PAGE.read_text(encoding='utf-8')


def blocks(language: str) -> list[str]:
    return re.findall(rf'^```{language}\n(.*?)^```', TEXT, re.DOTALL | re.MULTILINE)


def test_the_commands_are_known() -> None:
    text = ''.join(blocks('sh')).replace('\\\n', '')
    lines = [shlex.split(line, comments=True) for line in text.splitlines()]
    commands = [line[1:] for line in lines if line and line[0] == '.venv/bin/zegclip']
    assert {command[0] for command in commands} == {'export', 'segment'}
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

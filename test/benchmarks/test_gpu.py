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
"""``make gpu``: a dry run on a CPU, what fails or hangs, and the packages that are carried."""

import json
from pathlib import Path
import re
import subprocess
import sys
import tarfile
import time
from types import SimpleNamespace
from typing import Any
import zipfile

from benchmarks import gpu, gpu_packages, gpu_stages, gpu_summary, speed
from benchmarks.gpu import gpu_test_files, run_process, STAGES
from benchmarks.gpu_checks import expect, Log, make_segmenter, Skipped
from benchmarks.gpu_packages import fits, PYTHONS
from benchmarks.gpu_summary import read, summary
import psutil
import pytest
import torch
from zegclip_core.engines.lean.rows import RowKernels

ROOT = Path(__file__).resolve().parents[2]
NAMES = [stage.name for stage in STAGES]


@pytest.mark.slow
def test_a_dry_run_on_a_cpu_has_results_of_every_stage(
    tiny: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(gpu, 'gpu_test_files', lambda: ['test/engines/test_lean_cuda.py'])
    arguments = ['--device', 'cpu', '--quick', '--model', tiny, '--out', str(tmp_path)]
    code = gpu.main([*arguments, '--wheels', str(tmp_path / 'none')])
    text = capsys.readouterr().out
    assert code == 0, text
    assert (tmp_path / 'summary.md').read_text('utf-8') in text
    assert re.match(r'Setting: python 3\.\d+\.\d+, torch \S+, device \S+\.\n', text)
    lines = {name: read(tmp_path / f'{name}.jsonl') for name in NAMES}
    alike = {
        line['check']: line['labels alike']
        for line in lines['checks']
        if 'classes' in line and 'labels alike' in line
    }
    assert alike['512x512, 20 classes: plain float32 as the CPU'] == 1.0
    assert alike['512x512, 20 classes: lean, best precision as eager, best precision'] == 1.0
    assert any('FLASH' in line['check'] and line['ok'] for line in lines['checks'])
    assert len([line for line in lines['tests'] if line['reason'].endswith('a CUDA device')]) > 20
    done = [line['check'].rpartition(' ')[2] for line in lines['speed'] if line['ok']]
    assert done == ['literal', 'plain', 'lean_fp32', 'lean', 'two_stage']
    assert [row['ms'] for row in json.loads((tmp_path / 'speed.json').read_text('utf-8'))['rows']]
    summed, *kernels = lines['profile']
    assert summed['us'] > 0
    assert any('mm' in line['check'] or 'conv' in line['check'] for line in kernels)


def ends(command: str) -> Any:  # noqa: ANN401
    """Return what stands in for a stage's command, by the stage's name."""

    def made(args: object, stage: str, part: str | None, seconds: float) -> list[str]:
        code = {'checks': 'raise ValueError("broken")', 'tests': 'import time; time.sleep(600)'}
        return [sys.executable, '-c', code.get(stage, command)]

    return made


def test_a_stage_that_fails_or_hangs_does_not_end_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    writes = f'print("hello", file=open({str(tmp_path / "done")!r}, "a"))'
    monkeypatch.setattr(gpu, 'stage_command', ends(writes))
    monkeypatch.setattr(gpu, 'gpu_test_files', lambda: ['test/test_a.py', 'test/test_b.py'])
    (tmp_path / 'speed.jsonl').write_text('of an earlier run\n', encoding='utf-8')
    real = gpu.run_process

    def limited(command: list[str], log: Path, seconds: float) -> str:
        # Long for what ends by itself, however busy the machine is.
        return real(command, log, 1.0 if 'sleep' in command[-1] else 120.0)

    monkeypatch.setattr(gpu, 'run_process', limited)
    assert gpu.main(['--out', str(tmp_path)]) == 1
    assert (tmp_path / 'done').read_text('utf-8') == 'hello\n' * 2  # speed, profile
    assert [line['reason'] for line in read(tmp_path / 'checks.jsonl')] == [
        'exit code 1: ValueError: broken'
    ]
    late = read(tmp_path / 'tests.jsonl')
    assert [line['check'] for line in late] == ['test/test_a.py', 'test/test_b.py']
    assert all(line['reason'] == 'ended after its 1 s' for line in late)
    assert '2 **failed**' in capsys.readouterr().out
    assert read(tmp_path / 'speed.jsonl') == []


def test_a_late_process_ends_with_its_children(tmp_path: Path) -> None:
    code = (
        'import subprocess, sys, time\n'
        'child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])\n'
        'print(child.pid, flush=True)\n'
        'time.sleep(600)'
    )
    log = tmp_path / 'log'
    assert run_process([sys.executable, '-c', code], log, 5.0) == 'ended after its 5 s'
    pid, end = int(log.read_text('utf-8')), time.monotonic() + 60.0
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert run_process([sys.executable, '-c', 'pass'], log, 60.0) == ''


def test_results_are_written_as_they_come(tmp_path: Path) -> None:
    path = tmp_path / 'log.jsonl'
    log = Log(path)
    with log.check('good') as found:
        found['us'] = 3.0
    with log.check('bad') as found:
        found['us'] = 4.0
        expect(float('nan'), 0.9, 'labels alike')
    with log.check('none'):
        raise Skipped('no such device')
    with pytest.raises(KeyboardInterrupt), log.check('interrupted'):
        raise KeyboardInterrupt
    good, bad, none = read(path)
    assert (good['ok'], good['us'], 'reason' in good) == (True, 3.0, False)
    assert (bad['ok'], bad['us']) == (False, 4.0)
    assert bad['reason'] == 'ValueError: Expected labels alike of at least 0.9, but got nan.'
    assert (none['ok'], none['reason']) == (None, 'no such device')


def test_without_kernels_of_triton_none_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = RowKernels()
    rows.fused = True
    model = SimpleNamespace(rows=rows)
    engine = SimpleNamespace(_has_kernel=True, _graphs='some', model=model)
    made = SimpleNamespace(engine=engine)
    monkeypatch.setattr('zegclip_core.segmenter.Segmenter', lambda *_: made)
    bundle = SimpleNamespace(loaded=lambda: None)
    assert make_segmenter(bundle, 'cuda', precision='auto') is made
    assert rows.fused
    make_segmenter(bundle, 'cuda', precision='auto', kernels=False)
    assert (rows.fused, engine._has_kernel, engine._graphs) == (False, False, None)


def test_a_summary_is_made_of_whatever_is_there(tmp_path: Path) -> None:
    assert summary(tmp_path).count('Not run.') == 4
    lines = [
        {'check': 'setting', 'ok': True, 'python': '3.12', 'device': 'A GPU', 'seconds': 1.0},
        {'check': 'a | b', 'ok': True, 'us': 12.3456},
    ]
    text = '\n'.join(map(json.dumps, lines)) + '\n{"check": "cut'
    (tmp_path / 'checks.jsonl').write_text(text, encoding='utf-8')
    skipped = [{'check': f't{n}', 'ok': None, 'reason': 'no GPU'} for n in range(3)]
    (tmp_path / 'tests.jsonl').write_text('\n'.join(map(json.dumps, skipped)), encoding='utf-8')
    missing = {'check': 'x', 'ok': False, 'reason': "No module named 'tqdm'"}
    (tmp_path / 'speed.jsonl').write_text(json.dumps(missing), encoding='utf-8')
    found = summary(tmp_path)
    assert found.startswith('Setting: python 3.12, device A GPU.\n')
    assert '| a \\| b | passed | 12.35 |  |' in found
    assert '1 passed, 1 **failed**.' in found
    assert '3 skipped: no GPU' in found
    assert 'make gpu-bundle' in found


@pytest.mark.parametrize('kind', ['cuda', 'cpu'])
def test_the_page_gets_what_was_found_on_another_machine(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / 'performance.md'
    page.write_text(speed.PAGE.read_text('utf-8'), encoding='utf-8')
    monkeypatch.setattr(gpu_summary, 'PAGE', page)
    row = {'method': 'lean', 'ms': 1.25, 'memory_mb': 3.0, 'gflop': 200.0}
    content = {
        **{'device': 'A GPU', 'kind': kind, 'model': 'm', 'software': 'PyTorch'},
        **{'base': {}, 'rows': [row]},
    }
    (tmp_path / 'speed.json').write_text(json.dumps(content), encoding='utf-8')
    setting = {'check': 'setting', 'ok': True, 'device': 'A GPU', kind: '13.0'}
    lines = [setting, {'check': 'agrees', 'ok': True}]
    text = '\n'.join(map(json.dumps, lines))
    (tmp_path / 'checks.jsonl').write_text(text, encoding='utf-8')
    assert gpu.main(['--out', str(tmp_path), '--read', '--write-docs']) == 0
    text = re.sub(' +', ' ', page.read_text('utf-8'))
    assert ('| agrees | passed |' in text) == (kind == 'cuda')
    assert ('| 512x512 | 20 | 1 | 10 | lean | 1.25 |' in text) == (kind == 'cuda')


def test_a_page_gets_the_summary_also_where_there_are_no_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / 'performance.md'
    page.write_text(speed.PAGE.read_text('utf-8'), encoding='utf-8')
    monkeypatch.setattr(gpu_summary, 'PAGE', page)
    setting = {'check': 'setting', 'ok': True, 'torch': '2.9', 'device': 'A GPU', 'cuda': '13'}
    (tmp_path / 'checks.jsonl').write_text(json.dumps(setting), encoding='utf-8')
    gpu.main(['--out', str(tmp_path), '--read', '--write-docs'])
    assert 'device A GPU' in page.read_text('utf-8')
    assert 'Expected a file of `zegclip benchmark' in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason='needs a machine without a CUDA device')
def test_a_device_that_is_not_there_is_said_once(tmp_path: Path) -> None:
    assert gpu_stages.main(['checks', '--device', 'cuda', '--out', str(tmp_path)]) == 0
    (line,) = read(tmp_path / 'checks.jsonl')
    assert (line['check'], line['ok'], line['torch']) == ('setting', False, torch.__version__)
    assert 'CUDA' in line['reason'] or 'NVIDIA' in line['reason']
    found = summary(tmp_path)
    assert '1 **failed**.' in found
    assert f'torch {torch.__version__}' in found


def test_files_with_tests_for_a_gpu_are_found() -> None:
    found = gpu_test_files()
    assert 'test/engines/test_lean_cuda.py' in found
    assert 'test/segmenter/test_segmenter.py' in found
    assert 'test/engines/test_lean.py' not in found


@pytest.mark.parametrize(
    ('wheel', 'version', 'fitting'),
    [
        ('tqdm-4.70.1-py3-none-any.whl', (3, 14), True),
        ('six-1.0-py2.py3-none-any.whl', (3, 10), True),
        ('old-1.0-py2-none-any.whl', (3, 10), False),
        (
            'safetensors-0.8.0-cp310-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl',
            (3, 13),
            1,
        ),
        ('safetensors-0.8.0-cp312-abi3-manylinux_2_17_x86_64.whl', (3, 11), False),
        ('pyyaml-6-cp312-cp312-manylinux_2_28_x86_64.whl', (3, 12), True),
        ('pyyaml-6-cp312-cp312-manylinux_2_28_x86_64.whl', (3, 13), False),
        ('pyyaml-6-cp313-cp313t-manylinux_2_28_x86_64.whl', (3, 13), False),
        ('pyyaml-6-1-cp312-cp312-manylinux_2_28_aarch64.whl', (3, 12), False),
    ],
)
def test_wheels_are_for_a_python_and_a_machine(
    wheel: str, version: tuple[int, int], fitting: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_packages.platform, 'machine', lambda: 'x86_64')
    assert fits(wheel, version) == fitting


def test_wheels_are_unpacked_and_bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels, target = tmp_path / 'wheels', tmp_path / 'packages'
    wheels.mkdir()
    for name in ('here-1-py3-none-any.whl', 'there-1-py2-none-any.whl'):
        with zipfile.ZipFile(wheels / name, 'w') as archive:
            archive.writestr(name.partition('-')[0] + '.py', 'x = 1')
    assert gpu_packages.unpack(wheels, target) == ['here-1-py3-none-any.whl']
    assert [path.name for path in target.iterdir()] == ['here.py']
    bundle = tmp_path / 'bundle.tar.gz'
    size = gpu_packages.write_bundle(wheels, bundle)
    assert size == bundle.stat().st_size
    with tarfile.open(bundle) as archive:
        names = set(archive.getnames())
    assert {'zegclip/benchmarks/gpu.py', 'zegclip/Makefile'} <= names
    assert 'zegclip/runs/gpu-wheels/here-1-py3-none-any.whl' in names
    assert not any(name.startswith(('zegclip/.venv', 'zegclip/data')) for name in names)
    monkeypatch.setattr(gpu_packages, 'LARGEST', 1000)
    with pytest.raises(ValueError, match='a bundle of at most 1000 bytes'):
        gpu_packages.write_bundle(wheels, bundle)


def test_what_has_no_pinned_wheel_is_taken_in_its_newest_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def download(python: str, names: list[str], target: Path) -> bool:
        asked.extend((python, name) for name in names if len(names) == 1)
        return python != '3.14' or (
            len(names) == 1 and 'pyyaml' not in names[0] and not names[0].startswith('tqdm==')
        )

    monkeypatch.setattr(gpu_packages, 'download', download)
    assert gpu_packages.fetch(tmp_path / 'wheels') == ['pyyaml for Python 3.14']
    assert ('3.14', 'tqdm') in asked
    assert {python for python, _ in asked} == {'3.14'}


@pytest.mark.parametrize('python', PYTHONS)
def test_the_sources_are_of_the_syntax_of_every_python(python: str) -> None:
    version = f'py{python.replace(".", "")}'
    command = ['ruff', 'check', '--isolated', '--no-cache', '--select', 'E9,F', '--ignore', 'F722']
    folders = ['zegclip_core', 'benchmarks', 'test/helpers', 'test/engines']
    done = subprocess.run(
        [sys.executable, '-m', *command, '--target-version', version, *folders],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


_LEAN = """
from importlib.machinery import ModuleSpec
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self) if name in sys.argv[1:] else None
    def create_module(self, spec):
        raise ModuleNotFoundError(f'No module named {spec.name!r}', name=spec.name)
    def exec_module(self, module):
        pass
sys.meta_path.insert(0, Missing())
import torch
import benchmarks.gpu_stages
import zegclip_core.speed.run
from zegclip_core.speed.inputs import seeded_bundle
from zegclip_core.speed.methods import build_method
from zegclip_core.speed.report import Case
bundle = seeded_bundle(1)
inputs = bundle.inputs(Case(64, 64, 3))
print(build_method('lean', bundle, torch.device('cpu')).label(inputs).shape)
print(build_method('literal', bundle, torch.device('cpu')).label(bundle.inputs(Case())).shape)
"""


@pytest.mark.slow
def test_the_seeded_model_needs_few_libraries() -> None:
    missing = ['timm', 'open_clip', 'lightning', 'cv2', 'PIL', 'pydantic', 'yaml', 'torchvision']
    missing += ['tokenizers', 'transformers', 'matplotlib', 'psutil', 'onnx', 'onnxruntime', 'av']
    done = subprocess.run(
        [sys.executable, '-c', _LEAN, *missing],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == '(1, 64, 64)\n(1, 512, 512)\n'


def test_make_takes_the_python_that_is_named() -> None:
    for target, module in (('gpu', 'benchmarks.gpu'), ('gpu-bundle', 'benchmarks.gpu_packages')):
        arguments = ['PYTHON=python9', 'ARGS=--device cpu --quick']
        # Within `make test` it would also say which folder it is in.
        command = ['make', '--no-print-directory', '-n', target, *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.startswith(f'python9 -m {module}')
    arguments = ['--device', 'cpu', '--quick']
    assert gpu.build_parser().parse_args(arguments).quick


@pytest.mark.parametrize(
    'arguments',
    [
        ['--stages', 'all'],
        ['--minutes', 'ten'],
        ['--minutes', 'nan'],
        ['--minutes', '-1'],
        ['--read', '--out', '/nowhere'],
        ['--what'],
    ],
)
def test_wrong_arguments_are_a_usage_error(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match='2'):
        gpu.main(arguments)

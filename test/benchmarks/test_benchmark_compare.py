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
"""``zegclip benchmark --compare``, and the rates that methods are compared with."""

from dataclasses import asdict, replace
import json
import os
from pathlib import Path
import re
import subprocess
import sys
from typing import Any

import pytest
import torch
from zegclip_core import devices
from zegclip_core.cli.main import main
from zegclip_core.speed import ceilings
from zegclip_core.speed.ceilings import measure_ceiling
from zegclip_core.speed.compare import compare, read_report
from zegclip_core.speed.report import Case, Report, Row

CPU = torch.device('cpu')
ROW = Row(method='lean', precision='bf16', ms=50.0, memory_mb=300.0, gflop=200.0)
EPYC = 'avx2 fma avx512f avx512bw avx512dq avx512vl avx512_bf16'


def report(*rows: Row, **further: Any) -> Report:  # noqa: ANN401
    return Report('A chip', 'cpu', 'a model', 'PyTorch', Case(), list(rows), **further)


def written(folder: Path, name: str, content: Report | object) -> str:
    path = folder / name
    found = asdict(content) if isinstance(content, Report) else content
    path.write_text(json.dumps(found), encoding='utf-8')
    return str(path)


def test_two_files_stand_side_by_side_with_ratios(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    camera = [{'method': 'lean', 'frame to labels [ms]': 300.0, 'as plain [%]': None}]
    first = report(ROW, replace(ROW, batch=2), bundled={'camera': camera}, commit='a' * 40)
    second = report(replace(ROW, ms=200.0, precision='fp32'), replace(ROW, classes=1))
    files = [written(tmp_path, 'a.json', first), written(tmp_path, 'b.json', second)]
    assert main(['benchmark', '--compare', *files]) == 0
    out = re.sub(' +', ' ', capsys.readouterr().out)
    assert f'A: a model; A chip; PyTorch; {"a" * 12}\n' in out
    assert '512x512 20 1 10 lean bf16, fp32 50.00 200.00 0.25x' in out
    assert '512x512 20 2 10 lean bf16 50.00 - -' in out
    assert '512x512 1 1 10 lean bf16 - 50.00 -' in out
    assert re.search('lean 300.00 - - - - -', out)


def test_one_file_is_what_a_run_is_compared_with(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, 'a.json', report(replace(ROW, prompts=99)))
    arguments = ['--model', tiny, '--device', 'cpu', '--quick', '--methods', 'lean']
    assert main(['benchmark', *arguments, '--compare', file]) == 0
    out = re.sub(' +', ' ', capsys.readouterr().out)
    assert '512x512 20 1 99 lean bf16 50.00 - -\n' in out
    assert re.search(r'512x512 20 1 \d lean \S+ - [\d.]+ -\n', out)


@pytest.mark.parametrize(
    ('content', 'given'),
    [
        ([1, 2], 'got a list'),
        ({'rows': []}, "a file without 'base'"),
        ({'miou': 0.5}, "a file without 'base'"),
        ({**asdict(report()), 'rows': [{'method': 'lean'}]}, 'a row that missing'),
        ({**asdict(report()), 'rows': [{**asdict(ROW), 'ms': 'fast'}]}, "got 'fast' in place"),
        ({**asdict(report()), 'rows': [{**asdict(ROW), 'ms': -1.0}]}, r'got -1\.0 in place'),
        ({**asdict(report()), 'rows': [{**asdict(ROW), 'ms': float('nan')}]}, 'got nan in place'),
        ({**asdict(report()), 'rows': [{**asdict(ROW), 'classes': [1]}]}, 'of whole numbers'),
        ({**asdict(report()), 'rows': [{**asdict(ROW), 'precision': 3}]}, 'place of a method'),
        ({**asdict(report()), 'device': 3}, 'got 3 in place of a text'),
        ({**asdict(report()), 'bundled': {'camera': [3]}}, 'got 3 in place of a row'),
        ({**asdict(report()), 'bundled': 3}, "got 'int' object"),
        ({**asdict(report()), 'colour': 'red'}, 'a file that got an unexpected .*colour'),
    ],
)
def test_a_file_that_is_no_benchmark_is_refused_in_one_line(
    content: object, given: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = written(tmp_path, 'good.json', report(ROW))
    bad = written(tmp_path, 'bad.json', content)
    assert main(['benchmark', '--compare', good, bad]) == 2
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    assert re.search(f'Expected a file of .*bad.json is none: .*{given}', error)


def test_files_that_cannot_be_read_or_are_too_many_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = written(tmp_path, 'good.json', report(ROW))
    (tmp_path / 'half.json').write_text('{"rows": [', encoding='utf-8')
    (tmp_path / 'binary.json').write_bytes(b'\xff\xfe\x00')
    for name in ('none.json', '.', 'half.json', 'binary.json'):
        assert main(['benchmark', '--compare', str(tmp_path / name)]) == 2
        assert 'Expected a file of `zegclip benchmark --json`' in capsys.readouterr().err
    assert main(['benchmark', '--compare', *[good] * 3]) == 2
    assert 'one file or two, but got 3' in capsys.readouterr().err


def test_a_file_from_before_there_were_ceilings_is_read(tmp_path: Path) -> None:
    new = ('commit', 'date', 'errors', 'ceilings', 'lost')
    old = {key: value for key, value in asdict(report(ROW)).items() if key not in new}
    old['rows'] = [{key: value for key, value in asdict(ROW).items() if key != 'precision'}]
    assert '50.00' in compare(read_report(Path(written(tmp_path, 'a', old))), report())


@pytest.mark.parametrize(
    ('flags', 'level', 'bf16', 'fp32'),
    [
        (EPYC, '', ('AVX512_BF16',), ('AVX512', 'AVX2')),
        (f'{EPYC} amx_tile amx_bf16', 'ALL', ('AMX_BF16', 'AVX512_BF16'), ('AVX512', 'AVX2')),
        (f'{EPYC} amx_tile', '', ('AVX512_BF16',), ('AVX512', 'AVX2')),
        (f'{EPYC} amx_tile amx_bf16', 'avx512_core_bf16', ('AVX512_BF16',), ('AVX512', 'AVX2')),
        (EPYC, 'AVX512_CORE', (), ('AVX512', 'AVX2')),
        (EPYC, 'AVX2', (), ('AVX2',)),
        ('avx2 fma', '', (), ('AVX2',)),
        ('sse4_1', '', (), ()),
    ],
)
def test_instructions_are_those_of_the_processor_that_are_allowed(
    flags: str,
    level: str,
    bf16: tuple[str, ...],
    fp32: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    info = tmp_path / 'cpuinfo'
    info.write_text(f'model name\t: A chip\nflags\t\t: {flags}\n\n', encoding='utf-8')
    monkeypatch.setattr(devices, '_CPU_INFO', info)
    monkeypatch.setenv('ONEDNN_MAX_CPU_ISA', level)
    assert devices.cpu_instructions(torch.bfloat16) == bf16
    assert devices.cpu_instructions(torch.float32) == fp32
    expected = torch.bfloat16 if bf16 else torch.float32
    assert devices.pick_precision('auto', CPU) == expected


def test_arm_and_what_is_no_linux_have_instructions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / 'cpuinfo'
    monkeypatch.setattr(devices, '_CPU_INFO', info)
    monkeypatch.delenv('ONEDNN_MAX_CPU_ISA', raising=False)
    info.write_text('Features\t: fp asimd bf16\n', encoding='utf-8')
    assert devices.cpu_instructions(torch.float32) == ('NEON',)
    assert devices.cpu_instructions(torch.bfloat16) == ()
    info.write_text('', encoding='utf-8')
    assert devices.cpu_instructions(torch.float32) == ()
    info.unlink()
    monkeypatch.setattr(torch.cpu, '_is_avx512_bf16_supported', lambda: True, raising=False)
    assert 'AVX512_BF16' in devices.cpu_instructions(torch.bfloat16)


def test_a_processor_without_bfloat16_has_no_ceiling_of_it(tiny: str) -> None:
    command = [sys.executable, '-m', 'zegclip_core.cli.main', 'benchmark', '--model', tiny]
    options = ['--device', 'cpu', '--quick', '--methods', 'lean', '--threads', '1']
    emulated = {'ATEN_CPU_CAPABILITY': 'avx2', 'ONEDNN_MAX_CPU_ISA': 'AVX2'}
    done = subprocess.run(
        [*command, *options],
        env={**os.environ, **emulated},
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.search('^Ceilings: fp32 [^,]* TFLOP/s$', done.stdout, re.MULTILINE)
    assert '1 threads, AVX2;' in done.stdout


def test_no_method_is_above_the_ceiling() -> None:
    fast, slow = replace(ROW, ms=25.0), replace(ROW, method='plain', ms=1e3, precision='fp32')
    found = report(fast, ROW, slow, ceilings={'bf16': 5.0, 'fp32': 0.5})
    shares = [row['of the ceiling [%]'] for row in found.cells()]
    assert shares == [100.0, 50.0, 40.0]  # 8 and 4 TFLOP/s of 8; 0.2 of 0.5.
    assert found.remarks()[0] == 'Ceilings: bf16 8 TFLOP/s, fp32 0.5 TFLOP/s'
    assert report(ROW).cells()[0]['of the ceiling [%]'] is None


def test_a_ceiling_is_the_fastest_product_and_takes_no_longer_than_it_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    asked: list[float] = []

    def timed(_: torch.device, work: object) -> tuple[None, float]:
        rows, inputs, outputs = shapes[-1]
        seconds = 2.0 * rows * inputs * outputs / rates.pop(0)
        clock[0] += seconds
        asked.append(seconds)
        return None, seconds

    shapes: list[tuple[int, int, int]] = []

    def products(rows: int, inputs: int, outputs: int, *_: object) -> list[object]:
        shapes.append((rows, inputs, outputs))
        return [None]

    rates = [1e9, 3e9, 2e9, *[1e9] * 50]
    monkeypatch.setattr(ceilings, 'timed', timed)
    monkeypatch.setattr(ceilings, '_products', products)
    monkeypatch.setattr(ceilings.time, 'perf_counter', lambda: clock[0])
    assert measure_ceiling('fp32', CPU, 2.0) == 3e-3
    assert clock[0] < 2.5
    assert len(shapes) < 3  # The larger ones would take seconds each.

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
"""The comparison of backends on a CPU, with a small model."""

import json
from pathlib import Path
import platform
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

from benchmarks import cpu_backends, cpu_sides
from benchmarks.cpu_backends import build_parser, measure, PAGE, page_text, row, Side, table
from benchmarks.cpu_sides import (
    Calibration,
    emulated_avx2,
    export_features,
    make_engine,
    OnnxLook,
    SIDES,
)
from exported_models import write_dinov2
import numpy as np
import pytest
from tiny_models import write_published
import torch
from zegclip_core.engines.lean.engine import LeanEngine
from zegclip_core.errors import ModelError
from zegclip_core.loading import load_model
from zegclip_core.speed.inputs import load_bundle


def test_sides_that_cannot_run_say_why_and_the_others_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(write_published(tmp_path / 'tiny.pth'))
    monkeypatch.setattr(cpu_backends, 'bundle_of', lambda case: load_bundle(path))

    def missing(package: str, purpose: str) -> None:
        raise ModelError(f'no {package}')

    monkeypatch.setattr(cpu_sides, 'require', missing)
    sides = 'plain fp32,torch fp32,openvino fp32'
    options = build_parser().parse_args(['--sides', sides, '--rounds', '2'])
    literal, plain, lean, absent = measure('vit', options)
    assert absent == {'method': 'openvino fp32', 'reason': 'no openvino'}
    assert [each['runs'] for each in (literal, plain, lean)] == [2, 2, 2]
    assert lean['as_plain'] >= 0.99
    assert literal['over_literal'] == lean['over_torch'] == 1.0
    assert lean['over_literal'] > 0


def test_a_ratio_is_the_median_over_the_rounds() -> None:
    labels = {'plain fp32': np.array([1, 2, 3, 4]), 'a': np.array([1, 2, 3, 5])}
    times = {'torch fp32': [2.0, 9.0, 4.0], 'a': [1.0, 1.0, 1.0]}
    found = row(Side('a', memory_mb=7.0), times, labels)
    assert (found['over_torch'], found['as_plain'], found['over_literal']) == (4.0, 0.75, None)
    assert found['ms'] == 1000.0


def test_tables_have_reasons_and_scores() -> None:
    known = {'ms': 12.3, 'runs': 3, 'memory_mb': 4.0, 'as_plain': 0.5, 'over_torch': 2.0}
    rows = [{'method': 'a', 'over_literal': None, **known}, {'method': 'b', 'reason': 'no b'}]
    text = table(rows, {'a': {'CamVid': 61.0}})
    assert 'over literal' not in text
    assert '61.00' in text
    assert 'no b' in text
    assert 'emulated' in page_text({'everyday-s avx2': rows}, {})
    # Eight bits have scores of their own there, and float32 those of all instructions.
    scores = {'int8': {'VOC': 60.0}, 'int8 avx2': {'VOC': 59.0}, 'fp32': {'VOC': 61.0}}
    rows = [{'method': name, 'over_literal': None, **known} for name in ('int8', 'fp32')]
    both = page_text({'everyday-s native': rows, 'everyday-s avx2': rows}, scores)
    assert [both.count(value) for value in ('60.00', '59.00', '61.00')] == [1, 1, 2]
    assert PAGE.read_text('utf-8').count('<!-- cpu-backends:begin -->') == 1


@pytest.mark.parametrize('crashing', [{'b'}, {'a', 'c'}, {'a', 'b', 'c'}, {'literal'}])
def test_a_side_that_ends_the_process_costs_the_others_nothing(
    crashing: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = build_parser().parse_args(['--sides', 'a,b,c', '--artefacts', str(tmp_path)])

    def measured(command: list[str], **_: object) -> SimpleNamespace:
        given = build_parser().parse_args(command[3:])
        for side in ('literal', *given.sides):
            cpu_backends.note(side, given)
            if side in crashing:
                return SimpleNamespace(returncode=-11)
        rows = [{'method': side, 'ms': 1.0} for side in ('literal', *given.sides)]
        given.json.write_text(json.dumps(rows))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(cpu_backends.subprocess, 'run', measured)
    rows = cpu_backends.in_process('vit', 'native', options)
    reason = 'the process ended with -11'
    ended = [row['method'] for row in rows if row.get('reason') == reason]
    assert ended == sorted(crashing)
    others = {'literal', 'a', 'b', 'c'} - crashing if len(crashing) < 3 else set()
    if crashing != {'literal'}:  # Without it there is nothing to compare with.
        assert {row['method'] for row in rows if 'ms' in row} == others


@pytest.mark.skipif(
    shutil.which('cc') is None or platform.machine() != 'x86_64',
    reason='needs a C compiler and a processor with CPUID',
)
def test_an_emulated_processor_has_avx2_alone(tmp_path: Path) -> None:
    environment = emulated_avx2(tmp_path)
    asks = 'from torch import cpu; print(cpu._is_avx512_supported(), cpu._is_amx_tile_supported())'
    # What asks the processor itself, once told by nothing but the preloaded library.
    environment.pop('ATEN_CPU_CAPABILITY')
    told = subprocess.run(
        [sys.executable, '-c', asks], env=environment, capture_output=True, text=True, check=False
    )
    if 'cannot trap CPUID' in told.stderr:
        pytest.skip(told.stderr)
    assert told.stdout.split() == ['False', 'False']
    # A fault is still one, not an endless loop.
    faults = [sys.executable, '-c', 'import ctypes; ctypes.string_at(0)']
    ended = subprocess.run(faults, env=environment, capture_output=True, check=False)
    assert ended.returncode == -signal.SIGSEGV


def test_every_side_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('ONEDNN_MAX_CPU_ISA', 'AVX2')
    network = load_model(str(write_published(tmp_path / 'tiny.pth'))).network
    calibration = Calibration([], 32, tmp_path)
    for side in SIDES:
        if side.startswith(('plain', 'torch fp32')):
            make_engine(side, network, calibration)
        elif side.endswith('bf16'):
            with pytest.raises(ModelError, match='no bfloat16'):
                make_engine(side, network, calibration)
    with pytest.raises(KeyError):
        make_engine('tensorflow fp32', network, calibration)
    assert torch.get_default_dtype() == torch.float32


@torch.inference_mode()
def test_features_by_onnxruntime_are_those_of_torch_at_every_size(tmp_path: Path) -> None:
    pytest.importorskip('onnxruntime')
    network = load_model(str(write_dinov2(tmp_path / 'tiny.safetensors'))).network
    model = LeanEngine(network, dtype=torch.float32, device=torch.device('cpu')).model
    export_features(model, tmp_path / 'features.onnx')
    look = OnnxLook(model, tmp_path / 'features.onnx')
    patch = model.tower.projection.patch
    generator = torch.Generator().manual_seed(0)
    # The grid that it was exported at, the same turned, and others.
    for grid in ((3, 5), (5, 3), (6, 4), (2, 7)):
        images = 50 * torch.randn(1, 3, *(patch * side for side in grid), generator=generator)
        for found, expected in zip(look(images), model.features(images), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)

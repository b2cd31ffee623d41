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
"""``zegclip benchmark`` with stand-ins for its methods: turns, limits, and what goes wrong."""

from pathlib import Path
import re
from typing import Any

import numpy as np
import pytest
from tiny_models import write_published
import torch
from zegclip_core.cli.main import main
from zegclip_core.speed import run as running
from zegclip_core.speed import turns
from zegclip_core.speed.compare import read_report
from zegclip_core.speed.inputs import Bundle, Inputs, seeded_bundle
from zegclip_core.speed.methods import Labels, Method
from zegclip_core.speed.report import Report
from zegclip_core.speed.run import Options, run_benchmark

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device('cpu')


@pytest.fixture(scope='module')
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_published(tmp_path_factory.mktemp('model') / 'tiny.pth', prompts=3))


class StandIn(Method):
    """A method that labels with a number, and writes down what is asked of it."""

    calls: list[str] = []  # noqa: RUF012 - shared on purpose
    label_of = {'literal': 1, 'plain': 1, 'lean': 2}  # noqa: RUF012
    error: Exception | None = None

    def __init__(self, name: str, bundle: Bundle, device: torch.device) -> None:
        super().__init__([torch.zeros(4)])
        self.name = name

    def label(self, inputs: Inputs) -> Labels:
        if self.error is not None and self.name == 'plain':
            raise self.error
        self.calls.append(self.name)
        height, width = inputs.images[0].shape[:2]
        labels = np.ones((len(inputs.images), height, width), np.uint8)
        labels[:, : height // 4] = self.label_of[self.name]
        return labels

    def operations(self, inputs: Inputs) -> int:
        return 10**9

    def needed_bytes(self, inputs: Inputs) -> float:
        return 1e18 if len(inputs.bias) == 1000 and self.name == 'literal' else 0.0


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, 'build_method', StandIn)
    monkeypatch.setattr(StandIn, 'calls', [])


def benchmark(model: str, *sweeps: str, **changes: Any) -> Report:  # noqa: ANN401
    return run_benchmark(Options('cpu', model, ['literal', 'plain', 'lean'], sweeps, **changes))


@pytest.mark.usefixtures('stand_ins')
def test_methods_take_turns_and_each_round_begins_with_another(tiny: str) -> None:
    rows = benchmark(tiny).rows
    assert StandIn.calls == [
        *('literal', 'plain', 'lean'),  # The first calls do not count.
        *('literal', 'plain', 'lean'),
        *('plain', 'lean', 'literal'),
        *('lean', 'literal', 'plain'),
    ]
    assert [row.runs for row in rows] == [3, 3, 3]
    assert [row.as_plain for row in rows] == [1.0, 1.0, 0.75]


@pytest.mark.usefixtures('stand_ins')
def test_figures_are_medians_and_the_speed_up_is_that_of_the_rounds(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of the first calls, then of three rounds, each of which begins with another method.
    seconds = iter([9.0, 9.0, 9.0, *(6.0, 1.0, 2.0), *(1.0, 30.0, 60.0), *(2.0, 8.0, 1.0)])
    monkeypatch.setattr(turns, 'timed', lambda _, work: (work(), next(seconds)))
    literal, plain, lean = benchmark(tiny, case_seconds=10.0).rows
    assert (lean.ms, plain.ms, literal.ms) == (2e3, 1e3, 8e3)
    assert lean.spread_ms == 14e3  # From 2 to 16.
    assert lean.speed_up == 3.0  # Of 3, 2 and 4; the slow round slowed both.
    assert lean.cells()['speed-up'] == '3.00x'
    assert lean.cells()['TFLOP/s'] == 1 / 2e3


@pytest.mark.usefixtures('stand_ins')
@pytest.mark.parametrize(
    ('error', 'said'),
    [
        (torch.OutOfMemoryError('Out of memory. Tried to allocate 9 GiB'), 'Out of memory'),
        (MemoryError('Unable to allocate 9. GiB for an array\nx'), 'Unable to allocate 9'),
        (MemoryError(), 'MemoryError'),
        (
            RuntimeError('CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`'),
            'CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`',
        ),
    ],
)
def test_a_method_that_does_not_fit_is_left_out_and_the_others_go_on(
    tiny: str, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    monkeypatch.setattr(StandIn, 'error', error)
    report = benchmark(tiny, 'classes')
    rows = {(row.classes, row.method): row for row in report.rows}
    assert {(20, 'plain'), (1000, 'literal'), (1000, 'plain')}.isdisjoint(rows)
    assert rows[1000, 'lean'].speed_up is None
    notes = '\n'.join(report.notes)
    assert f'20 classes, batch 1, 3 prompts: plain left out: {said}\n' in notes
    assert 'literal left out: needs about 1000000000' in notes
    assert report.errors == []


@pytest.mark.usefixtures('stand_ins')
def test_time_limits_end_rounds_and_cases(tiny: str) -> None:
    report = benchmark(tiny, 'classes', case_seconds=1e-9, minutes=1e-9)
    assert [(row.classes, row.runs) for row in report.rows] == [(20, 1)] * 3
    assert len(report.notes) == 3
    assert report.notes[-1].endswith('left out: 1e-09 minutes were over')


@pytest.mark.usefixtures('stand_ins')
def test_a_method_that_fails_is_left_out_with_its_reason_and_the_others_go_on(
    tiny: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(StandIn, 'error', RuntimeError('plain is broken\nfor good'))
    methods = ['--methods', 'literal,plain,lean', '--sweeps', 'classes']
    assert main(['benchmark', '--device', 'cpu', '--model', tiny, *methods]) == 1
    out = capsys.readouterr().out
    where = '20 classes, batch 1, 3 prompts: plain'
    assert f'{where} failed: RuntimeError: plain is broken\n' in out
    found = re.findall(r'^ *512x512 +(\d+) .* (literal|plain|lean) ', out, re.MULTILINE)
    assert ('20', 'literal') in found
    assert ('150', 'lean') in found
    assert 'plain' not in dict(found).values()


@pytest.mark.usefixtures('stand_ins')
def test_a_method_that_fails_in_a_later_round_has_no_row(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(100))
    label = StandIn.label

    def fails(self: StandIn, inputs: Inputs) -> Labels:
        if self.name == 'plain' and next(calls) == 1:
            raise ValueError
        return label(self, inputs)

    monkeypatch.setattr(StandIn, 'label', fails)
    report = benchmark(tiny)
    assert [(row.method, row.runs) for row in report.rows] == [('literal', 3), ('lean', 3)]
    assert report.errors[0].endswith('plain failed: ValueError: no reason given')
    assert report.rows[1].speed_up is not None


@pytest.mark.usefixtures('stand_ins')
def test_a_method_that_cannot_be_built_does_not_end_the_run(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(name: str, bundle: Bundle, device: torch.device) -> Method:
        if name == 'literal':
            raise ImportError('no cv2')
        return StandIn(name, bundle, device)

    monkeypatch.setattr(running, 'build_method', build)
    report = benchmark(tiny, 'classes')
    assert report.errors == ['3 prompts: literal failed: ImportError: no cv2']
    assert {row.method for row in report.rows} == {'plain', 'lean'}
    assert all(row.speed_up is None for row in report.rows)


@pytest.mark.usefixtures('stand_ins')
def test_a_device_that_is_lost_ends_the_run_with_what_was_found(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = RuntimeError('CUDA error: an illegal memory access was encountered')
    monkeypatch.setattr(StandIn, 'error', error)
    monkeypatch.setattr(running, 'answers', lambda _: False)
    report = benchmark(tiny, 'classes', 'start')
    assert [(row.classes, row.method) for row in report.rows] == [(20, 'literal'), (20, 'lean')]
    assert report.errors[-1] == 'all else left out: the device no longer answers'
    assert len(report.errors) == 2
    assert report.bundled == {}


@pytest.mark.usefixtures('stand_ins')
def test_each_row_is_recorded_as_it_comes_and_the_base_is_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[list[tuple[int, int, str]]] = []

    def record(report: Report) -> None:
        seen.append([(row.prompts, row.classes, row.method) for row in report.rows])

    order = ['literal', 'plain', 'lean']
    monkeypatch.setattr(StandIn, 'label_of', {**StandIn.label_of, 'two_stage': 3})
    small = seeded_bundle(1)
    monkeypatch.setattr(running, 'seeded_bundle', lambda _: small)
    options = Options('cpu', None, [*order, 'two_stage'], ['prompts', 'classes'], repeats=1)
    run_benchmark(options, record)
    base = [(10, 20, name) for name in [*order, 'two_stage']]
    assert next(rows for rows in seen if rows) == base[:1]
    assert base in seen
    assert StandIn.calls[:8] == [*order, *order, 'two_stage', 'two_stage']
    cases = list(dict.fromkeys(row[:2] for row in seen[-1]))
    # The model with other prompts is the last; two_stage is for the base alone.
    assert cases == [(10, 20), (10, 1), (10, 150), (10, 1000), (100, 20)]
    assert [row for row in seen[-1] if row[2] == 'two_stage'] == base[3:]


@pytest.mark.usefixtures('stand_ins')
def test_the_file_is_whole_after_every_row(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> Labels:
        raise KeyboardInterrupt

    out = tmp_path / 'out.json'
    label = StandIn.label
    monkeypatch.setattr(
        StandIn,
        'label',
        lambda self, inputs: (
            label(self, inputs) if len(inputs.vocabulary) == 20 else interrupted()
        ),
    )
    arguments = ['--device', 'cpu', '--methods', 'plain,lean', '--sweeps', 'classes']
    command = ['benchmark', '--model', tiny, *arguments, '--json', str(out)]
    assert main(command) == 130
    assert [row.method for row in read_report(out).rows] == ['plain', 'lean']

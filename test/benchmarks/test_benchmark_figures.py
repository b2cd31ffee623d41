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
"""Counted operations, measured memory and the figures of the benchmark's rows."""

from dataclasses import replace
from pathlib import Path
import subprocess
import sys

import numpy as np
import pytest
import torch
from zegclip_core.errors import ConfigError
from zegclip_core.speed.cases import BASE, Case, choose_cases, choose_methods, METHODS
from zegclip_core.speed.hardware import multiply_rates, peak_growth
from zegclip_core.speed.inputs import Bundle, Inputs, load_bundle, seeded_bundle, seeded_images
from zegclip_core.speed.methods import build_method, Method, Timing
from zegclip_core.speed.report import Report, Row

CPU = torch.device('cpu')


@pytest.fixture(scope='module')
def published() -> Bundle:
    return seeded_bundle(10)


@pytest.mark.parametrize(
    ('method', 'giga'),
    # Counted by hand for 512x512 pixels, 20 classes and 10 prompts, in MACs: 108.7 of the tower
    # and 1.84 of the decoder; 107.6 and 1.25 and the keys and values of the prompts; and 17.6 a
    # crop, as often published for ViT-B/16 at 224 pixels, and 0.08 of the patches' projections.
    [
        ('literal', 2 * (108.7 + 1.84)),
        ('plain', 2 * (107.6 + 1.25 + 0.21)),
        ('two_stage', 200 * (17.57 + 0.08)),
    ],
)
def test_the_published_model_needs_the_operations_that_were_counted_by_hand(
    published: Bundle, method: str, giga: float
) -> None:
    built = build_method(method, published, CPU)
    assert isinstance(built, Method)
    inputs = Inputs(seeded_images(512, 512, 1), published.encoded(20))
    assert built.operations(inputs) / 1e9 == pytest.approx(giga, rel=2e-3)
    twice = Inputs(seeded_images(512, 512, 2), inputs.vocabulary)
    assert built.operations(twice) / built.operations(inputs) == pytest.approx(2.0, rel=0.01)


def test_the_literal_pipeline_looks_twice_at_a_4_to_3_image(tiny: str) -> None:
    bundle = load_bundle(tiny)
    built = build_method('literal', bundle, CPU)
    assert isinstance(built, Method)
    square, wide = (
        built.operations(Inputs(seeded_images(48, width, 1), bundle.encoded(5)))
        for width in (48, 64)
    )
    assert wide == 2 * square


def test_literal_and_plain_label_seeded_weights_alike(published: Bundle) -> None:
    inputs = Inputs(seeded_images(512, 512, 1), published.encoded(20))
    labels = []
    for name in ('literal', 'plain'):
        built = build_method(name, published, CPU)
        assert isinstance(built, Method)
        labels.append(built.measure(inputs)[0])
    assert np.mean(labels[0] == labels[1]) > 0.999
    assert len(np.unique(labels[0])) > 3  # The weights let a signal pass.


def test_the_peak_of_a_piece_of_work_is_what_it_takes_at_most() -> None:
    def work() -> None:
        for _ in range(3):  # Freed each time: the peak is that of one.
            np.ones(40_000_000, np.uint8).sum()

    peak, nothing = peak_growth(CPU, work), peak_growth(CPU, lambda: None)
    assert peak == pytest.approx(40e6, abs=8e6)
    assert nothing is not None
    assert nothing < 8e6
    with pytest.raises(ZeroDivisionError):
        peak_growth(CPU, lambda: 1 // 0)


def test_gaps_of_the_heap_do_not_count(tmp_path: Path) -> None:
    # Gaps between blocks that stay, into each of which another one of the next blocks fits best.
    code = """
import torch
from zegclip_core.speed.hardware import peak_growth
peak_growth(torch.device('cpu'), lambda: None)
blocks = [torch.ones(2**20 + 1000 * index) for index in range(64)]
del blocks[::2]

def work():
    for index in range(32):
        torch.ones(2**20 + 2000 * index - 100)

print(peak_growth(torch.device('cpu'), work))
"""
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 16e6


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_the_peak_on_a_gpu_is_what_the_work_takes_at_most() -> None:
    device = torch.device('cuda')
    kept = torch.zeros(2**24, dtype=torch.uint8, device=device)

    def work() -> None:
        for _ in range(3):
            torch.ones(2**26, dtype=torch.uint8, device=device).sum()

    assert peak_growth(device, work) == pytest.approx(2**26, abs=3e6)
    assert kept.is_cuda


def test_only_precisions_that_are_used_have_a_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    for best, names in ((torch.bfloat16, {'fp32', 'bf16'}), (torch.float32, {'fp32'})):
        monkeypatch.setattr(
            'zegclip_core.speed.hardware.pick_precision', lambda *_, best=best: best
        )
        rates = multiply_rates(CPU, shrink=32)
        assert set(rates) == names
        assert min(rates.values()) > 0.0


def report_of(*rows: Row, kind: str = 'cpu') -> Report:
    return Report(
        device='A chip',
        kind=kind,
        model='m',
        best='fp32',
        base=BASE,
        tflops={'fp32': 1.0, 'bf16': 2.0},
        copy_gbps=20.0,
        rows=list(rows),
        bundled={'words': [{'20 words': 'new', 'ready [ms]': '30.0'}]},
        seconds=60.0,
        software='PyTorch',
    )


def test_a_row_has_medians_the_distance_of_the_quartiles_and_the_share_of_the_peak() -> None:
    timings = [Timing(model / 1e3, total / 1e3) for model, total in ((2, 4), (5, 8), (4, 5))]
    row = Row('lean', BASE, '', timings, 12.34, 0.5, operations=2_000_000_000)
    skipped = Row('literal', BASE, 'too large')
    found = report_of(row, skipped).to_dict()['rows']
    assert found[0] == {
        **{'side': 'lean', 'height': 512, 'width': 512, 'classes': 20, 'batch': 1, 'prompts': 10},
        **{'model_ms': 4.0, 'total_ms': 5.0, 'spread_ms': 2.0, 'peak_mb': 12.3},
        # 2 GFLOP in 4 ms are 0.5 TFLOP/s of 2.
        **{'agreement': 0.5, 'agreement_literal': None, 'share_of_peak': 0.25},
    }
    assert found[1]['skipped'] == 'too large'
    assert found[1]['model_ms'] is found[1]['total_ms'] is found[1]['share_of_peak'] is None
    assert replace(row, timings=timings[:1]).spread_ms is None


def test_the_speed_up_is_the_median_over_rounds_that_both_ran_in() -> None:
    literal = Row('literal', BASE, timings=[Timing(1, t) for t in (6.0, 60.0, 8.0, 1.0)])
    lean = Row('lean', BASE, timings=[Timing(1, t) for t in (2.0, 30.0, 2.0)])
    assert lean.speed_up(literal) == 3.0  # Of 3, 2 and 4; the slow round slowed both.
    assert report_of(literal, lean).table()[1]['speed-up'] == '3.00x'
    assert Row('plain', BASE).speed_up(literal) is None


def test_sweeps_change_one_axis_at_a_time_around_the_base() -> None:
    cases = choose_cases(['batch', 'sizes', 'prompts', 'classes'])
    assert cases[0] == BASE == Case(512, 512, 20, 1, 10)
    changed = [
        tuple(value for key, value in vars(case).items() if value != vars(BASE)[key])
        for case in cases[1:]
    ]
    sizes = [(480, 640), (720, 1280), (1080, 1920)]
    assert changed == [(1,), (150,), (1000,), (100,), *sizes, (2,), (4,)]


def test_methods_come_in_the_order_of_the_tables_and_unknown_ones_are_refused() -> None:
    assert choose_methods(['lean', 'literal']) == ['literal', 'lean']
    assert choose_methods(METHODS) == list(METHODS)
    with pytest.raises(ConfigError, match=r"Expected a method of literal, .* but got 'fast'"):
        choose_methods(['fast'])

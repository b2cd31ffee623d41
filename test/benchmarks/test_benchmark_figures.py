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

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn.attention import sdpa_kernel, SDPBackend
from torch.utils.flop_counter import FlopCounterMode
from zegclip_core.engines.lean.engine import LeanEngine
from zegclip_core.engines.lean.vocabulary import LeanWords
from zegclip_core.errors import ConfigError
from zegclip_core.model.vit import VisionConfig
from zegclip_core.model.zegclip import ZegCLIP, ZegCLIPConfig
from zegclip_core.speed.cases import BASE, Case, choose_cases, choose_sides, SIDES
from zegclip_core.speed.ceiling import Ceiling, measure_ceiling
from zegclip_core.speed.flops import crops_flops, decoder_macs, model_flops, tower_macs
from zegclip_core.speed.literal import LiteralModel
from zegclip_core.speed.memory import CpuMeter, CudaMeter
from zegclip_core.speed.models import seeded_bundle, seeded_frames, SeededTower
from zegclip_core.speed.rows import Row
from zegclip_core.speed.sides import Timed
from zegclip_core.speed.tables import number, percent
from zegclip_core.speed.watch import exact_float32

GIGA = 1e9
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')


def published(prompts: int) -> ZegCLIPConfig:
    vision = VisionConfig(
        patch_size=16,
        width=768,
        layers=12,
        heads=12,
        mlp_width=3072,
        grid=(32, 32),
        embed_dim=512,
        prompt_tokens=prompts,
    )
    return ZegCLIPConfig(vision=vision, text_dim=512, dim=512)


@pytest.mark.parametrize(
    ('prompts', 'classes', 'tower', 'lean_tower', 'decoder', 'lean_decoder'),
    [(10, 20, 108.7, 107.6, 1.84, 1.25), (100, 150, 120.6, 109.3, 3.34, 2.41)],
)
def test_the_published_model_needs_the_operations_that_were_counted_by_hand(
    prompts: int,
    classes: int,
    tower: float,
    lean_tower: float,
    decoder: float,
    lean_decoder: float,
) -> None:
    config = published(prompts)
    found = [
        tower_macs(config.vision, 1024, 'literal'),
        tower_macs(config.vision, 1024, 'lean'),
        decoder_macs(config, 1024, 1024, classes, 'literal'),
        # That count still has the words' half of the descriptor in every image.
        decoder_macs(config, 1024, 1024, classes, 'lean') + classes * 512**2,
    ]
    rounded = [round(found[0] / GIGA, 1), round(found[1] / GIGA, 1)]
    rounded += [round(count / GIGA, 2) for count in found[2:]]
    assert rounded == [tower, lean_tower, decoder, lean_decoder]
    total = model_flops(config, (512, 512), classes, 'literal')
    assert round(total / GIGA) == {10: 221, 100: 248}[prompts]


def counted(model: torch.nn.Module | LiteralModel, *inputs: torch.Tensor) -> int:
    """Count the operations that PyTorch sees; the fused attention of a CPU it does not see."""
    run = model.predict if isinstance(model, LiteralModel) else model
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        run(*inputs)
    return counter.get_total_flops()


SMALL = VisionConfig(
    patch_size=8, width=64, layers=3, heads=4, mlp_width=128, grid=(4, 4), prompt_tokens=5
)


@pytest.mark.parametrize(
    'config',
    [
        ZegCLIPConfig(vision=replace(SMALL, embed_dim=32), text_dim=32, dim=32),
        ZegCLIPConfig(vision=SMALL, text_dim=24, dim=32, projections=True),
        ZegCLIPConfig(
            vision=replace(SMALL, prompt_tokens=0, feature_layers=(1, 2)),
            text_dim=24,
            dim=32,
            projections=True,
            detail_width=16,
            relationship_descriptor=False,
        ),
    ],
)
def test_operations_are_those_that_pytorch_counts(config: ZegCLIPConfig) -> None:
    images, text = torch.zeros(1, 3, 40, 24), torch.zeros(7, config.text_dim)
    found = counted(ZegCLIP(config).eval(), images, text)
    # PyTorch does not count the product of the queries with one vector, the key's bias.
    assert model_flops(config, (40, 24), 7, 'plain') == pytest.approx(found, rel=1e-3)


@pytest.mark.parametrize('width', [0, 16])
def test_operations_with_candidates_are_those_that_pytorch_counts(width: int) -> None:
    config = ZegCLIPConfig(vision=SMALL, text_dim=24, dim=32, projections=True, detail_width=width)
    engine = LeanEngine(
        ZegCLIP(config).eval(), dtype=torch.float32, device=torch.device('cpu'), candidates=5
    )
    words = engine.prepare(torch.rand(40, 24), torch.zeros(40), torch.zeros(40))
    assert isinstance(words, LeanWords)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        engine.model.best_logits(torch.zeros(1, 3, 40, 24), words, 5)
    expected = model_flops(config, (40, 24), 40, 'lean', candidates=5)
    assert counter.get_total_flops() == pytest.approx(expected, rel=1e-3)


def test_operations_of_the_literal_pipeline_are_those_that_pytorch_counts() -> None:
    bundle = seeded_bundle(3)
    vision = bundle.checkpoint.config.vision
    model = LiteralModel(bundle.published, vision.grid[0], vision.heads, 8)
    found = counted(model, torch.zeros(1, 3, 48, 64), torch.zeros(7, 512))
    expected = model_flops(bundle.checkpoint.config, (48, 64), 7, 'literal')
    assert expected == pytest.approx(found, rel=1e-3)


def test_a_hundred_crops_cost_eight_times_the_whole_image() -> None:
    config = published(10)
    crops = crops_flops(config.vision, 100, 196, 20)
    # 17.6 GMAC each, as often published for ViT-B/16 at 224 pixels.
    assert crops / 200 / GIGA == pytest.approx(17.6, abs=0.05)
    assert 15 < crops / model_flops(config, (512, 512), 20, 'literal') < 17


def test_the_peak_of_a_piece_of_work_is_what_it_takes_at_most() -> None:
    def work() -> None:
        for _ in range(3):  # Freed each time: the peak is that of one.
            np.ones(40_000_000, np.uint8).sum()

    meter = CpuMeter()
    peak, nothing = meter.peak(work), meter.peak(lambda: None)
    assert peak is not None
    assert nothing is not None
    assert peak == pytest.approx(40.0, abs=8.0)
    assert nothing < 8.0
    with pytest.raises(ZeroDivisionError):
        meter.peak(lambda: 1 // 0)


def test_gaps_of_the_heap_do_not_count(tmp_path: Path) -> None:
    # Gaps between blocks that stay, into each of which another one of the next blocks fits best.
    code = """
import torch
from zegclip_core.speed.memory import CpuMeter
meter = CpuMeter()
meter.peak(lambda: None)
blocks = [torch.ones(2**20 + 1000 * index) for index in range(64)]
del blocks[::2]

def work():
    for index in range(32):
        torch.ones(2**20 + 2000 * index - 100)

print(meter.peak(work))
"""
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 16.0


@pytest.mark.gpu
@CUDA
def test_the_peak_on_a_gpu_is_what_the_work_takes_at_most() -> None:
    device = torch.device('cuda')
    kept = torch.zeros(2**24, dtype=torch.uint8, device=device)

    def work() -> None:
        for _ in range(3):
            torch.ones(2**26, dtype=torch.uint8, device=device).sum()

    assert CudaMeter(device).peak(work) == pytest.approx(2**26 / 1e6, abs=3.0)
    assert kept.is_cuda


def test_the_ceiling_is_measured_in_every_precision_of_the_device() -> None:
    ceiling = measure_ceiling(torch.device('cpu'), shrink=16)
    assert set(ceiling.tflops) == {'fp32', 'bf16'}
    assert ceiling.peak_tflops == max(ceiling.tflops.values()) > 0.0
    assert ceiling.copy_gbps > 0.0


def test_a_row_has_medians_the_distance_of_the_quartiles_and_the_share_of_the_peak() -> None:
    times = tuple(Timed(model / 1e3, total / 1e3) for model, total in ((2, 4), (5, 8), (4, 5)))
    row = Row('lean', BASE, times=times, peak_mb=12.34, agreement=0.5, flops=2e9)
    found = row.to_dict(Ceiling({'fp32': 1.0, 'bf16': 2.0}, 10.0))
    assert found == {
        **{'side': 'lean', 'height': 512, 'width': 512, 'classes': 20, 'batch': 1, 'prompts': 10},
        **{'model_ms': 4.0, 'total_ms': 5.0, 'spread_ms': 2.0, 'peak_mb': 12.3},
        # 2 GFLOP in 4 ms are 0.5 TFLOP/s of 2.
        **{'agreement': 0.5, 'agreement_literal': None, 'share_of_peak': 0.25},
    }
    alone = Row('lean', BASE, times=times[:1])
    assert alone.spread_ms is None


def test_a_skipped_row_stays_and_says_why() -> None:
    found = Row('literal', BASE, skipped='too large').to_dict(Ceiling({'fp32': 1.0}, 1.0))
    assert found['skipped'] == 'too large'
    assert found['model_ms'] is found['total_ms'] is found['share_of_peak'] is None


def test_sweeps_change_one_axis_at_a_time_around_the_base() -> None:
    cases = choose_cases(['batch', 'sizes', 'prompts', 'classes'])
    assert cases[0] == BASE == Case(512, 512, 20, 1, 10)
    assert len(cases) == len(set(cases)) == 10
    changed = [
        {key: value for key, value in vars(case).items() if value != vars(BASE)[key]}
        for case in cases[1:]
    ]
    assert [tuple(change.values()) for change in changed] == [
        *((1,), (150,), (1000,), (100,)),
        *((480, 640), (720, 1280), (1080, 1920)),
        *((2,), (4,)),
    ]


def test_sides_come_in_the_order_of_the_tables_and_unknown_ones_are_refused() -> None:
    assert choose_sides(['lean', 'literal']) == ['literal', 'lean']
    assert choose_sides(SIDES) == list(SIDES)
    with pytest.raises(ConfigError, match=r"Expected a side of literal, .* but got 'fast'"):
        choose_sides(['fast'])


def test_seeded_words_frames_and_weights_are_the_same_every_time() -> None:
    tower = SeededTower(16)
    first, again = tower.encode(['cat', 'dog']), tower.encode(['dog', 'cat'])
    assert torch.equal(first, again.flip(0))
    torch.testing.assert_close(first.norm(dim=-1), torch.ones(2))
    frames = seeded_frames(48, 64, 2)
    assert np.array_equal(frames[0], seeded_frames(48, 64, 1)[0])
    assert not np.array_equal(frames[0], frames[1])
    few, many = seeded_bundle(3), seeded_bundle(5)
    for key, value in few.published.items():
        assert 'prompt_embeddings' in key or torch.equal(value, many.published[key]), key


@pytest.fixture
def flags() -> Iterator[None]:
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = (matmul.allow_tf32, cudnn.allow_tf32)
    matmul.allow_tf32 = cudnn.allow_tf32 = True
    yield
    matmul.allow_tf32, cudnn.allow_tf32 = before


@pytest.mark.usefixtures('flags')
def test_float32_is_exact_while_it_is_measured() -> None:
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    with exact_float32():
        assert not matmul.allow_tf32
        assert not cudnn.allow_tf32
    assert matmul.allow_tf32
    assert cudnn.allow_tf32


def test_figures_keep_the_digits_that_tell_something() -> None:
    assert [number(value) for value in (1234.5, 99.5, 1.234, 0.0123, None)] == [
        *('1234', '99.5', '1.23', '0.012', '-')
    ]
    # Rounded up it would claim what is not so.
    assert percent(0.99999) == '99.99'

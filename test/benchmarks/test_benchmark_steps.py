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
"""The sweep of ``zegclip benchmark`` that leaves out one saving of the lean path at a time."""

import pytest
import torch
from zegclip_core.speed import run as running
from zegclip_core.speed.cases import Case
from zegclip_core.speed.run import Options, run_benchmark
from zegclip_core.speed.steps import count_steps, step_names, step_precisions


def test_only_savings_that_matter_are_left_out() -> None:
    cpu, gpu = torch.device('cpu'), torch.device('cuda')
    everywhere = {
        *('prompt_constants', 'last_layer_product', 'vocabulary_constants', 'folded_input'),
        *('fused_tail', 'folded_activation'),
    }
    assert {*step_names(cpu, torch.float32)} == everywhere | {'float32_convolutions'}
    halves = {'float32_stream', 'bfloat16_attention'}
    assert {*step_names(cpu, torch.bfloat16)} == everywhere | halves
    assert {*step_names(gpu, torch.bfloat16)} == everywhere | {'cuda_graphs', 'float32_stream'}
    assert {*step_names(gpu, torch.float32)} == everywhere | {'cuda_graphs'}


def test_every_saving_is_left_out_once_in_every_precision(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, 'STEPS_CASE', Case(height=64, width=80, classes=5))
    cpu = torch.device('cpu')
    options = Options('cpu', tiny, ['lean'], ['steps'], repeats=1, case_seconds=0.0, quick=True)
    found = run_benchmark(options, lambda task, rows: None, lambda row: None)
    precisions = step_precisions(cpu)  # One alone on a processor without bfloat16.
    for steps, dtype in zip(found.steps, precisions, strict=True):
        names = ['plain', 'nothing', *step_names(cpu, dtype)]
        assert [row.side for row in steps.rows] == names
        assert not [row for row in steps.rows if row.skipped]
    assert count_steps(cpu) == sum(len(steps.rows) for steps in found.steps)
    assert found.steps[-1].precision == 'fp32'
    for row in found.steps[-1].rows:
        assert row.agreement is not None
        assert row.agreement > 0.999

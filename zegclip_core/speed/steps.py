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
"""The sides of the sweep that leaves out one saving of the lean path at a time."""

from dataclasses import fields, replace

import torch
from zegclip_core.devices import pick_precision
from zegclip_core.engines.lean.engine import LeanOptions
from zegclip_core.speed.cases import Case, PLAIN
from zegclip_core.speed.models import Bundle
from zegclip_core.speed.rows import NOTHING_LEFT_OUT
from zegclip_core.speed.sides import EngineSide, Side

STEPS_CASE = Case(classes=150, prompts=100)
"""Where the savings are measured: many classes and prompts."""


def step_precisions(device: torch.device) -> list[torch.dtype]:
    """Return the device's best precision and float32, once each."""
    return list(dict.fromkeys([pick_precision('auto', device), torch.float32]))


def step_names(device: torch.device, dtype: torch.dtype) -> list[str]:
    """Return the savings that make a difference there, by their names in ``LeanOptions``."""
    on_cpu, exact = device.type == 'cpu', dtype == torch.float32
    matters = {
        'cuda_graphs': not on_cpu,
        'bfloat16_attention': on_cpu and dtype == torch.bfloat16,
        'float32_convolutions': on_cpu and exact,
        'float32_stream': not exact,
    }
    return [field.name for field in fields(LeanOptions) if matters.get(field.name, True)]


def count_steps(device: torch.device) -> int:
    """Return how many rows the sweep has."""
    return sum(2 + len(step_names(device, dtype)) for dtype in step_precisions(device))


def step_sides(bundle: Bundle, device: torch.device, dtype: torch.dtype) -> list[Side]:
    """Build the plain path in float32, and the lean one whole and without each of its savings."""
    sides: list[Side] = [EngineSide(PLAIN, bundle, device, torch.float32, 'plain')]
    for name in (NOTHING_LEFT_OUT, *step_names(device, dtype)):
        without = {} if name == NOTHING_LEFT_OUT else {name: False}
        options = replace(LeanOptions(), **without)
        sides.append(EngineSide(name, bundle, device, dtype, 'lean', options))
    return sides

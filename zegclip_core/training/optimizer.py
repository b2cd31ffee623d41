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
"""AdamW, and the course of the learning rate."""

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR
from zegclip_core.model.zegclip import ZegCLIP
from zegclip_core.training.config import ScheduleConfig, TrainConfig

_POWER = 0.9
_WARMUP_START = 1e-6
"""Share of the learning rate that the published warm-up starts from."""


def make_optimizer(network: ZegCLIP, config: TrainConfig) -> torch.optim.AdamW:
    """Return AdamW over what is trained.

    All weights have one decay: in the release the rules that spare norms never act. A fine-tuned
    tower's own weights are a group with a learning rate of their own.

    Args:
        network: The model; what is frozen in it is left out.
        config: The run.
    """
    schedule = config.schedule
    own: list[nn.Parameter] = []
    tower: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            in_tower = name.startswith('visual.') and 'prompt' not in name
            (tower if in_tower else own).append(parameter)
    groups: list[dict[str, Any]] = [{'params': own, 'lr': schedule.learning_rate}]
    if tower:
        groups.append({'params': tower, 'lr': schedule.learning_rate * schedule.tower_rate})
    return torch.optim.AdamW(groups, weight_decay=schedule.weight_decay)


def make_scheduler(optimizer: torch.optim.Optimizer, schedule: ScheduleConfig) -> LRScheduler:
    """Return the course of the learning rate, one change a step."""
    if schedule.decay == 'one_cycle':
        return OneCycleLR(
            optimizer,
            [group['lr'] for group in optimizer.param_groups],
            total_steps=schedule.steps + 1,
            pct_start=schedule.warmup_steps / schedule.steps,
        )
    return LambdaLR(
        optimizer,
        [partial(poly_factor, schedule, group['lr']) for group in optimizer.param_groups],
    )


def poly_factor(schedule: ScheduleConfig, base: float, step: int) -> float:
    """Return the published learning rate of a step, as a share of its largest value.

    A power of 0.9 of what is left, down to the smallest rate; during the warm-up that is
    multiplied by a factor which rises from 1e-6 to 1 (the hooks ``poly`` and ``linear`` of mmcv).

    Args:
        schedule: Steps, warm-up and smallest rate.
        base: The largest rate.
        step: Steps that are done.
    """
    left = float((1.0 - min(step / schedule.steps, 1.0)) ** _POWER)
    rate = (base - schedule.min_learning_rate) * left + schedule.min_learning_rate
    if step < schedule.warmup_steps:
        rate *= 1.0 - (1.0 - step / schedule.warmup_steps) * (1.0 - _WARMUP_START)
    return rate / base

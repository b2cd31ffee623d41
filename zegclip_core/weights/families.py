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
"""Families of weights: each has one table of names, and says what its files do not tell."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
import math
import re
from typing import Any, NamedTuple

import torch
from torch import Tensor
from zegclip_core.errors import TowerError

Names = Mapping[str | tuple[str, ...], str | None]
"""A family's names of weights, each with ours; of several that fit, the first counts.

``*`` stands for one part of a name and ``**`` for one or more; both take their places in the new
name. Weights of several old names, such as those of queries, keys and values, are stacked in that
order. ``None`` leaves a weight out.
"""


@dataclass(frozen=True)
class TowerFamily:
    """A family of image towers.

    Attributes:
        kind: What messages call it, such as ``a ViT of CLIP's kind``.
        mark: Name of a weight that only this family has.
        names: Its names of weights, each with that of ``VisionTransformer``.
        needed: Weights without which it is no such tower, under our names.
        grid: Gives the grid ``(H, W)`` of so many patches where the source does not tell it.
        facts: Fields of ``VisionConfig`` that the weights do not tell, and ``head_width``, the
            width of an attention head where the source does not tell the number of heads.
    """

    kind: str
    mark: str
    names: Names
    needed: tuple[str, ...]
    grid: Callable[[int], tuple[int, int]]
    facts: Mapping[str, Any] = field(default_factory=dict)


def square_grid(patches: int) -> tuple[int, int]:
    """Return the grid of a family that is pre-trained on square images.

    Raises:
        TowerError: If so many patches make no square.
    """
    side = math.isqrt(patches)
    if side * side != patches:
        raise TowerError(f'Expected a position table of a square grid, but got {patches} patches.')
    return side, side


def rename_weights(
    weights: Mapping[str, Tensor], names: Names, *, expected: str
) -> dict[str, Tensor]:
    """Bring weights under our names.

    Args:
        weights: Under the names of their family.
        names: The family's table.
        expected: What the weights should be, as it follows ``Expected`` in a message.

    Returns:
        The weights under our names.

    Raises:
        TowerError: If the table has no place for a weight, or a part of a stack is missing.

    Example:
        >>> table = {'head.*': None, ('q.*', 'k.*'): 'qk_*', 'blocks.**': 'layers.**'}
        >>> weights = {'k.bias': torch.ones(1), 'q.bias': torch.zeros(1), 'head.a': torch.ones(1)}
        >>> rename_weights(weights, table, expected='an example')
        {'qk_bias': tensor([0., 1.])}

    """
    rules = _rules(names)
    stacks: dict[str, dict[int, Tensor]] = {}
    sizes: dict[str, int] = {}
    for key, value in weights.items():
        fitting = ((each, fit) for each in rules if (fit := each.pattern.fullmatch(key)))
        found = next(fitting, None)
        if found is None:
            raise TowerError(f'Expected {expected}, but it has {key}.')
        rule, match = found
        if rule.new is not None:
            name = match.expand(rule.new)
            stacks.setdefault(name, {})[rule.place] = value
            sizes[name] = rule.size
    for name, parts in stacks.items():
        if len(parts) < sizes[name]:
            raise TowerError(f'Expected {expected}, but it lacks a part of {name}.')
    return {
        name: parts[0] if len(parts) == 1 else torch.cat([parts[place] for place in sorted(parts)])
        for name, parts in stacks.items()
    }


class _Rule(NamedTuple):
    """What becomes of one old name: its ``place`` in the stack of ``size`` of a new one."""

    pattern: re.Pattern[str]
    new: str | None
    place: int
    size: int


def _rules(names: Names) -> list[_Rule]:
    """Return a table as regular expressions and what takes the place of what they match."""
    rules = []
    for key, new in names.items():
        olds = (key,) if isinstance(key, str) else key
        target = None
        if new is not None:
            first, *rest = re.split(r'\*+', new)
            target = first + ''.join(rf'\g<{n}>{part}' for n, part in enumerate(rest, start=1))
        for place, old in enumerate(olds):
            pattern = re.escape(old).replace(r'\*\*', '(.+)').replace(r'\*', '([^.]+)')
            rules.append(_Rule(re.compile(pattern), target, place, len(olds)))
    return rules

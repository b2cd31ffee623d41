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
"""Weights: families with a table of names each, and state dicts read without running code."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
import math
import pickle
import re
from typing import Any, NamedTuple
import zipfile

from safetensors import SafetensorError
import torch
from torch import nn, Tensor
from torch.overrides import TorchFunctionMode
from zegclip_core.errors import TowerError, ZegCLIPError

Names = Mapping[str | tuple[str, ...], str | None]
"""A family's names of weights, each with ours; of several that fit, the first counts.

``*`` stands for one part of a name and ``**`` for one or more; both take their places in the new
name. Weights of several old names, such as those of queries, keys and values, are stacked in that
order. ``None`` leaves a weight out.
"""


BLOCKS = 'transformer.resblocks.'
"""What our names of the weights of blocks begin with; the block's number follows."""


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
        completed: Returns the family's weights with those that it leaves out as they are zero, and
            with the rows of ours.
        placed: How many of the prefix tokens, the first ones, have rows in the position table;
            the others get none added.
    """

    kind: str
    mark: str
    names: Names
    needed: tuple[str, ...]
    grid: Callable[[int], tuple[int, int]]
    facts: Mapping[str, Any] = field(default_factory=dict)
    completed: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = dict
    placed: int = 1


def square_grid(patches: int) -> tuple[int, int]:
    """Return the grid of a family that is pre-trained on square images."""
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


_UNREADABLE = (
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    KeyError,
    AttributeError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    SafetensorError,
)
"""What torch and safetensors raise for files that are cut off or of another kind."""


@contextmanager
def reading(what: str, error: type[ZegCLIPError]) -> Iterator[None]:
    """Turn what libraries raise for a damaged file into one line, ``Cannot read WHAT: ...``."""
    try:
        yield
    except _UNREADABLE as fault:
        raise error(
            f'Cannot read {what}: it is cut off or of another kind ({first_line(fault)}).'
        ) from fault


def first_line(error: Exception) -> str:
    """Return what an error of a library says, short enough for one line."""
    if isinstance(error, pickle.UnpicklingError | KeyError):
        return 'not a file of tensors alone'  # torch's own text advises to load it unsafely
    if isinstance(error, EOFError):
        return 'it ends too early'
    lines = str(error).strip().splitlines() or ['no reason given']
    return f'{type(error).__name__}: {lines[0][:160]}'


def tensors_in(loaded: object) -> dict[str, Tensor]:
    """Return the tensors of what a file held, below ``state_dict`` or not; empty if none.

    A prefix ``module.``, as ``DataParallel`` leaves it, is taken off.
    """
    if isinstance(loaded, Mapping) and isinstance(loaded.get('state_dict'), Mapping):
        loaded = loaded['state_dict']
    if not isinstance(loaded, Mapping):
        return {}
    return {
        str(key).removeprefix('module.'): value
        for key, value in loaded.items()
        if isinstance(value, Tensor)
    }


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


class _Unfilled(TorchFunctionMode):
    """Leaves out what would fill tensors with random numbers."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the function gives
        """Call a function of PyTorch, unless it is one of those."""
        kwargs = kwargs or {}
        if func in _FILLING:
            return args[0] if args else kwargs['tensor']
        if func is torch.randn:
            func, kwargs = torch.empty, {k: v for k, v in kwargs.items() if k != 'generator'}
        return func(*args, **kwargs)


_FILLING = {
    *(Tensor.normal_, Tensor.uniform_, nn.init.normal_, nn.init.uniform_),
    *(nn.init.kaiming_uniform_, nn.init.kaiming_normal_, nn.init.xavier_uniform_),
}


def unfilled() -> AbstractContextManager[object]:
    """Return a context in which modules are built whose weights are read from a file.

    Their parameters have no values yet. Memory that was never written to takes none, so that
    this is as good as PyTorch's meta device, whose random numbers import sympy and torch._dynamo:
    a second, and 80 MB.
    """
    return _Unfilled()


def load_parameters(
    module: nn.Module, state_dict: Mapping[str, Tensor], source: str, *, assign: bool = False
) -> None:
    """Load all parameters of a module strictly, converted to the module's dtypes.

    Args:
        module: Gets them.
        state_dict: The parameters.
        source: What an error message calls the place that they come from.
        assign: Whether the module takes the tensors themselves, in their dtypes, and copies none.

    Raises:
        TowerError: If a key is missing, unexpected or of another shape.
    """
    expected = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    given = {key: tuple(value.shape) for key, value in state_dict.items()}
    faults = [f'{key} is missing' for key in expected if key not in given]
    faults += [f'{key} is unexpected' for key in given if key not in expected]
    faults += [
        f'{key} has shape {given[key]} instead of {shape}'
        for key, shape in expected.items()
        if given.get(key, shape) != shape
    ]
    if faults:
        more = f' and {len(faults) - 3} more' if len(faults) > 3 else ''
        raise TowerError(
            f'Expected {source} to hold the {len(expected)} parameters of '
            f'{type(module).__name__}, but {"; ".join(faults[:3])}{more}.'
        )
    module.load_state_dict(dict(state_dict), assign=assign)

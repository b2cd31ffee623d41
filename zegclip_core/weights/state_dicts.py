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
"""State dicts: read out of files without running code, and loaded into modules strictly."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
import pickle
import zipfile

from safetensors import SafetensorError
from torch import nn, Tensor
from zegclip_core.errors import TowerError, ZegCLIPError

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
    """Turn what libraries raise for a damaged file into one line.

    Args:
        what: What is read, as it follows ``Cannot read`` in the message.
        error: What is raised in place of the libraries' errors.
    """
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


def load_parameters(module: nn.Module, state_dict: Mapping[str, Tensor], source: str) -> None:
    """Load all parameters of a module strictly, converted to the module's dtypes.

    Args:
        module: Receives the parameters.
        state_dict: Must hold the module's keys with the module's shapes, and no others.
        source: What the error message calls the place they come from.

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
    module.load_state_dict(dict(state_dict))

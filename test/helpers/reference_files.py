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
"""Reads the files of stored inputs and outputs that the parity tests compare with."""

from dataclasses import dataclass
import json
import os
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

DATA = Path(__file__).parents[1] / 'reference'


@dataclass(frozen=True)
class ReferenceFile:
    """A seeded model with its inputs and outputs.

    Attributes:
        path: Where it lies.
        config: Every size, from the file's metadata.
        tensors: Everything that it holds, by its full key.
    """

    path: Path
    config: dict[str, Any]
    tensors: dict[str, Tensor]

    def under(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors below a prefix such as ``expected``, without the prefix."""
        start = f'{prefix}.'
        return {
            key.removeprefix(start): tensor
            for key, tensor in self.tensors.items()
            if key.startswith(start)
        }


def open_reference(path: str | Path) -> ReferenceFile:
    """Read a reference file."""
    with safe_open(path, framework='pt') as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no dict
        return ReferenceFile(Path(path), json.loads(file.metadata()['config']), tensors)


def zegclip_parity() -> ReferenceFile:
    """Read the file named by ``ZEGCLIP_PARITY_FILE``, else the copy beside the tests."""
    default = DATA / 'zegclip_parity.safetensors'
    return open_reference(os.environ.get('ZEGCLIP_PARITY_FILE') or default)


def clip_parity() -> ReferenceFile:
    """Read the file named by ``ZEGCLIP_CLIP_PARITY_FILE``, else the copy beside the tests."""
    default = DATA / 'clip_dense_parity.safetensors'
    return open_reference(os.environ.get('ZEGCLIP_CLIP_PARITY_FILE') or default)

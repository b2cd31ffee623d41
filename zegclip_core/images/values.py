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
"""16-bit values as 8-bit ones: also those of cameras that fill 12 of the bits."""

import logging

import numpy as np
import numpy.typing as npt

logger = logging.getLogger(__name__)

SHALLOW = 2**12 - 1
"""Greatest value of 12 bits. Images whose values never exceed it are taken to have 12 bits: by 16
they would be all but black."""
_said: set[str] = set()


def is_shallow(values: npt.NDArray[np.uint16]) -> bool:
    """Return whether 16-bit values that are not all 0 never leave the lowest sixteenth."""
    return bool(values.size) and 0 < int(values.max()) <= SHALLOW


def say_shallow(what: str) -> None:
    """Warn, once for each kind of source in a process, that images are read as of 12 bits."""
    if what not in _said:
        _said.add(what)
        logger.warning(
            'The 16-bit values of %s never exceed %d: they are read as 12-bit values. If the '
            'source has another depth, let it fill all 16 bits.',
            what,
            SHALLOW,
        )


def shallow_bytes(values: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
    """Return 12-bit values as 8-bit ones, of the same shape."""
    return (values >> 4).astype(np.uint8)

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
"""What is measured: the methods, and the cases along one axis at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from zegclip_core.errors import ConfigError

METHODS = ('literal', 'plain', 'lean_fp32', 'lean', 'two_stage')
"""The methods in the order of the tables."""
SWEEPS: dict[str, tuple[dict[str, int], ...]] = {
    'classes': tuple({'classes': count} for count in (1, 20, 150, 1000)),
    'prompts': tuple({'prompts': count} for count in (10, 100)),
    'sizes': tuple(
        {'height': height, 'width': width}
        for height, width in ((512, 512), (480, 640), (720, 1280), (1080, 1920))
    ),
    'batch': tuple({'batch': count} for count in (1, 2, 4)),
}
"""Changes of the base case, by the name of their axis."""
BUNDLED = ('camera', 'words', 'start')
"""What is measured with the bundled model: behind a camera, a change of the words, a start."""


@dataclass(frozen=True)
class Case:
    """One point of the sweeps; its defaults are the base, around which one axis is changed.

    Attributes:
        height: Height of the images in pixels.
        width: Width of the images in pixels.
        classes: Number of classes ``K``.
        batch: Number of images at once.
        prompts: Prompt tokens in each layer of the image tower.
    """

    height: int = 512
    width: int = 512
    classes: int = 20
    batch: int = 1
    prompts: int = 10

    def __str__(self) -> str:
        """Say what is measured in a few words."""
        return (
            f'{self.width}x{self.height}, {self.classes} classes, batch {self.batch}, '
            f'{self.prompts} prompts'
        )


def choose_cases(sweeps: Sequence[str], base: Case = Case()) -> list[Case]:
    """Return the cases of some sweeps, each once; the base is always the first.

    Raises:
        ConfigError: If a name is not that of a sweep.
    """
    known = (*SWEEPS, *BUNDLED)
    for name in sweeps:
        if name not in known:
            raise ConfigError(f'Expected a sweep of {", ".join(known)}, but got {name!r}.')
    changes = [each for name in SWEEPS if name in sweeps for each in SWEEPS[name]]
    return list(dict.fromkeys([base, *(replace(base, **each) for each in changes)]))


def choose_methods(methods: Sequence[str]) -> list[str]:
    """Return the named methods in the order of the tables.

    Raises:
        ConfigError: If a name is not that of a method, or none is named.
    """
    for name in methods or ('',):
        if name not in METHODS:
            raise ConfigError(f'Expected a method of {", ".join(METHODS)}, but got {name!r}.')
    return [name for name in METHODS if name in methods]

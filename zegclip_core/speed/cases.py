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
"""What is measured: the sides, and the cases along one axis at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from zegclip_core.errors import ConfigError

SIDES = ('literal', 'plain', 'lean_fp32', 'lean', 'two_stage')
"""The sides of every run, in the order of the tables."""
PLAIN = 'plain'
"""The side whose labels are what those of the others are compared with."""
FURTHER_SIDES = ('lean_candidates', 'two_stage_half')
"""Sides that are only measured when asked for: the lean path with few candidates of many classes,
and the comparator in the device's best precision."""
CANDIDATES = 128
"""How many those are."""
CAMERA = 'camera'
"""Beside the sweeps: the bundled model behind a camera."""
STEPS = 'steps'
"""Likewise: the lean path with each of its savings left out."""
WORDS = 'words'
"""Likewise: what a change of the vocabulary costs."""
START = 'start'
"""Likewise: the time from a process's start to its first label."""
FURTHER = (CAMERA, WORDS, START, STEPS)
"""All that is no sweep, in the order of the report."""


@dataclass(frozen=True)
class Case:
    """One point of the sweeps.

    Attributes:
        height: Of the frames, in pixels.
        width: Likewise.
        classes: Number of classes ``K``.
        batch: Frames at once.
        prompts: Prompt tokens in each layer of the image tower.
    """

    height: int = 512
    width: int = 512
    classes: int = 20
    batch: int = 1
    prompts: int = 10

    @property
    def pixels(self) -> int:
        """Pixels of all frames."""
        return self.height * self.width * self.batch

    def __str__(self) -> str:
        """Say all that is not at rest."""
        batch = f', batch {self.batch}' if self.batch > 1 else ''
        return f'{self.width}x{self.height}, {self.classes} classes{batch}, {self.prompts} prompts'


BASE = Case()
"""Around which one axis at a time is changed; a given model has prompts of its own."""
_AXES: dict[str, tuple[dict[str, int], ...]] = {
    'classes': tuple({'classes': count} for count in (1, 20, 150, 1000)),
    'prompts': tuple({'prompts': count} for count in (10, 100)),
    'sizes': tuple(
        {'height': height, 'width': width}
        for height, width in ((512, 512), (480, 640), (720, 1280), (1080, 1920))
    ),
    'batch': tuple({'batch': count} for count in (1, 2, 4)),
}
SWEEPS = tuple(_AXES)
"""Their names; those that a time limit cuts come last."""


def sweep_cases(name: str, base: Case = BASE) -> list[Case]:
    """Return the cases of a sweep, in its order."""
    return [replace(base, **changes) for changes in _AXES[name]]


def check_sweeps(sweeps: Sequence[str]) -> None:
    """Refuse names of sweeps that are none.

    Raises:
        ConfigError: If there is no such sweep.
    """
    known = (*SWEEPS, *FURTHER)
    for name in sweeps:
        if name not in known:
            raise ConfigError(f'Expected a sweep of {", ".join(known)}, but got {name!r}.')


def choose_cases(sweeps: Sequence[str], base: Case = BASE) -> list[Case]:
    """Return the cases of some sweeps, each once; the base is always the first."""
    wanted = [name for name in SWEEPS if name in sweeps]
    cases = [case for name in wanted for case in sweep_cases(name, base)]
    return list(dict.fromkeys([base, *cases]))


def choose_sides(sides: Sequence[str]) -> list[str]:
    """Return the sides that were named, in the order of the tables.

    Raises:
        ConfigError: If there is no such side, or none is named.
    """
    known = (*SIDES, *FURTHER_SIDES)
    for name in sides or ('',):
        if name not in known:
            raise ConfigError(f'Expected a side of {", ".join(known)}, but got {name!r}.')
    return [name for name in known if name in sides]

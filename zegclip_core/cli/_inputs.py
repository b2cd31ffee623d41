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
"""What the user names on the command line, and what the outputs of it are called."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from zegclip_core.errors import ConfigError, ImageError
from zegclip_core.images.media import is_video, media_in


@dataclass(frozen=True)
class Job:
    """One picture or video and what its outputs are called.

    Attributes:
        source: The file to read.
        stem: First part of the names of its outputs; no two jobs have the same.
        video: Whether it is read as a video.
    """

    source: Path
    stem: str
    video: bool


def plan_jobs(inputs: Iterable[str]) -> list[Job]:
    """Return a job for every file that is named or lies in a named folder, each file once.

    The first of several files with one stem has the stem itself, the next ``stem-2`` and so on.

    Raises:
        ImageError: If there is no such file or folder, or a folder holds no picture or video.
    """
    stems: set[str] = set()
    jobs = []
    for path in _files(inputs):
        stem = _free_stem(path.stem, stems)
        stems.add(stem.casefold())
        jobs.append(Job(path, stem, is_video(path)))
    return jobs


def _files(inputs: Iterable[str]) -> list[Path]:
    """Return the named files and those in the named folders, in this order, each once."""
    found: dict[Path, Path] = {}
    for text in inputs:
        path = Path(text).expanduser()
        if not path.exists():
            raise ImageError(f'Cannot read {path}: there is no such file or folder.')
        for file in media_in(path) if path.is_dir() else [path]:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def _free_stem(stem: str, taken: set[str]) -> str:
    """Return a stem that, also on file systems without upper and lower case, nobody has."""
    number, free = 1, stem
    while free.casefold() in taken:
        number += 1
        free = f'{stem}-{number}'
    return free


def check_outputs(jobs: Sequence[Job], outputs: Iterable[Path]) -> None:
    """Refuse to write over a file that is to be read.

    Raises:
        ConfigError: If an output is also an input.
    """
    sources = {job.source.resolve() for job in jobs}
    for path in outputs:
        if path.resolve() in sources:
            raise ConfigError(
                f'Expected --out to be a folder where no input is overwritten, '
                f'but {path} is both an input and an output.'
            )

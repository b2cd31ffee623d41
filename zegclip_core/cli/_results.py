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
"""What the results of ``zegclip segment`` are called, and which files are such results."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
import json
from pathlib import Path
import re
from typing import Final

from zegclip_core.errors import ConfigError

_FRAME_LABEL: Final = re.compile(r'\d{6,}\.png')
"""How the label image of a frame is called."""
_LABELS: Final = '_label'
"""How the folder of these ends."""
_RESULT: Final = re.compile(r'(.+)(?:_overlay\.png|_label\.png|_overlay\.mp4)', re.DOTALL)
"""How the pictures and videos of an input are called."""
_SAID: Final = {'source', 'model', 'device', 'classes', 'unlabelled'}
"""What the JSON beside them says, whatever the input was."""


@dataclass(frozen=True)
class Job:
    """One image or video and what its outputs are called.

    Attributes:
        source: The file to read.
        stem: First part of the names of its outputs, below folders if inputs were looked for in
            folders below; no two jobs have the same.
        video: Whether it is read as a video.
        called: What the user knows it as: its path, its address or ``-``.
    """

    source: Path
    stem: str
    video: bool
    called: str


def output_paths(out: Path, job: Job) -> list[Path]:
    """Return the files of a job, the one to look at first."""
    if job.video:
        return [out / f'{job.stem}_overlay.mp4', out / f'{job.stem}.json']
    return [
        out / f'{job.stem}_overlay.png',
        out / f'{job.stem}_label.png',
        out / f'{job.stem}.json',
    ]


def label_folder(out: Path, job: Job) -> Path:
    """Return the folder for the label images of a video's frames."""
    return out / f'{job.stem}{_LABELS}'


def check_outputs(out: Path, jobs: list[Job], *, frame_labels: bool) -> None:
    """Refuse to write over an input, or over files that are no label images of a video.

    Raises:
        ConfigError: If that would happen.
    """
    sources = {job.source.resolve() for job in jobs}
    for path in (path for job in jobs for path in output_paths(out, job)):
        if path.resolve() in sources:
            raise ConfigError(
                f'Expected --out to be a folder where no input is overwritten, '
                f'but {path} is both an input and an output.'
            )
    for job in (job for job in jobs if job.video and frame_labels):
        _check_label_folder(label_folder(out, job), job, out, jobs)


def _check_label_folder(folder: Path, video: Job, out: Path, jobs: Iterable[Job]) -> None:
    """Refuse a folder that is to hold anything but label images, which replace it as a whole."""
    for job in jobs:
        below = [str(one).casefold() for one in output_paths(out, job)[0].parents]
        if str(folder).casefold() in below:
            raise ConfigError(
                f'Expected {folder} to be for the label images of {video.called} alone, but the '
                f'results of {job.called} come there: rename one of them, or label them apart.'
            )
    others = [path for path in folder.glob('*') if not _FRAME_LABEL.fullmatch(path.name)]
    if others or (folder.exists() and not folder.is_dir()):
        held = f'holds {others[0].name}' if others else 'is a file'
        raise ConfigError(
            f'Expected {folder} to be free for the label images of a video, which replace '
            f'those of an earlier run, but it {held}: move it, or give another --out.'
        )


class Results:
    """Tells which files an earlier run has written: what was found is labelled but for these."""

    def __init__(self) -> None:
        self._known: dict[Path, bool] = {}

    def split(self, files: Iterable[Path]) -> tuple[list[Path], list[Path]]:
        """Return the files that are inputs, and those that are results."""
        inputs: list[Path] = []
        results: list[Path] = []
        for file in files:
            (results if self._written(file) else inputs).append(file)
        return inputs, results

    def _written(self, file: Path) -> bool:
        if _FRAME_LABEL.fullmatch(file.name) and file.parent.name.endswith(_LABELS):
            folder = file.parent
            return self._is_report(folder.with_name(f'{folder.name.removesuffix(_LABELS)}.json'))
        if file.suffix == '.json':
            return self._is_report(file)
        match = _RESULT.fullmatch(file.name)
        return match is not None and self._is_report(file.with_name(f'{match[1]}.json'))

    def _is_report(self, path: Path) -> bool:
        """Return whether a file is what a run says of an input."""
        if path not in self._known:
            try:
                content = json.loads(path.read_bytes())
            except (OSError, ValueError, RecursionError):
                content = None
            self._known[path] = isinstance(content, dict) and content.keys() >= _SAID
        return self._known[path]

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
"""The account of a batch: every input is done, done in part, or left out with the reason."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
import errno
from pathlib import Path
import sys

from tqdm import tqdm
from zegclip_core.cli.main import one_line, show_error, show_line, USER_ERROR

_NAMED = 5
"""Files that a line names; of more it says how many there are."""
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""Errors that every further file would meet, too."""


class Account:
    """Takes note of what became of each input, and says so at the end.

    A fault of one input, whatever it is, does not keep the others from being done.
    """

    def __init__(self) -> None:
        self._done = self._all = 0
        self._faults: list[str] = []
        self._notes: list[str] = []

    @contextmanager
    def one(self, source: str) -> Iterator[None]:
        """Work on an input: an error is shown at once, and the input left out.

        Raises:
            OSError: If there is no room to write to, which no other input would find either.
        """
        self._all += 1
        try:
            yield
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _NO_ROOM:
                raise
            with tqdm.external_write_mode(file=sys.stderr):
                show_error(one_line(error, about=source))

    def done(self, source: str, part: str = '', note: str = '') -> None:
        """Note that an input is done.

        Args:
            source: What the user knows it as.
            part: How much of it is done, if not all.
            note: What is to be said of it, and is no fault.
        """
        self._done += not part
        if part:
            self._faults.append(f'{source}: {part}')
        if note:
            self._notes.append(f'{source}: {note}')

    def left_out(self, paths: Sequence[Path], why: str) -> None:
        """Note that inputs cannot be done."""
        self._all += len(paths)
        if paths:
            self._faults.append(f'{_counted(paths)} left out: {_named(paths)} ({why})')

    def passed_over(self, paths: Sequence[Path]) -> None:
        """Note what lies beside the inputs and is none: no fault, but said."""
        if paths:
            self._notes.append(f'{_counted(paths)} beside them not looked at: {_named(paths)}')

    def close(self) -> int:
        """Say what was left out or done in part; return the exit code, 2 if anything was."""
        for line in (*self._notes, *self._faults):
            show_line(line)
        if self._done == self._all:
            return 0
        if self._all > 1:
            show_line(f'{self._done} of {self._all} inputs done.')
        return USER_ERROR


def _counted(paths: Sequence[Path]) -> str:
    folders = sum(path.is_dir() for path in paths)
    counts = ((len(paths) - folders, 'file'), (folders, 'folder'))
    return ' and '.join(f'{count} {what}{"s" * (count > 1)}' for count, what in counts if count)


def _named(paths: Sequence[Path]) -> str:
    names = ', '.join(path.name for path in paths[:_NAMED])
    return names if len(paths) <= _NAMED else f'{names}, ...'

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
"""The ``zegclip`` command: finds the subcommands and turns users' errors into one line.

A subcommand is a module of this package with ``add_parser(subparsers)``, which names itself with
``set_defaults(run=run)``, and ``run(args) -> int``, the exit code. Heavy imports stand inside
``run``, so that ``zegclip --help`` answers at once.
"""

import argparse
from collections.abc import Sequence
from difflib import get_close_matches
import importlib
import io
import os
import pkgutil
import sys
import traceback
from typing import Any, NoReturn

from zegclip_core import __version__, cli
from zegclip_core.errors import shortened, UnexpectedError, ZegCLIPError
from zegclip_core.options import wait_without_spinning

USER_ERROR = 2
"""Exit code when the user can mend what went wrong."""
FAULT = 1
"""Exit code when the program itself is at fault."""
TRACEBACK = 'ZEGCLIP_TRACEBACK'
"""Environment variable: set to anything, what nobody expected is shown with its traceback."""
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


class _CommandList(argparse.HelpFormatter):
    """Has room for what a command does beside its name, also for the longest one."""

    def add_argument(self, action: argparse.Action) -> None:
        """Count the indent of commands, which argparse forgets."""
        super().add_argument(action)
        if isinstance(action, argparse._SubParsersAction):
            self._action_max_length += self._indent_increment


class OneLineParser(argparse.ArgumentParser):
    """A parser whose complaint is one line, and that takes options by their whole names.

    A mistyped ``--mode`` is not read as ``--model``. Options may stand anywhere between the other
    arguments.
    """

    _in_rounds = False

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - what argparse takes
        super().__init__(allow_abbrev=False, **settings)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse, a command's arguments in the way that argparse has for any order of them."""
        if self._in_rounds:
            return super().parse_known_args(args, namespace)
        if self._subparsers:
            found, rest = super().parse_known_args(args, namespace)
        else:
            self._in_rounds = True  # It comes back here for each of its two rounds.
            try:
                found, rest = self.parse_known_intermixed_args(args, namespace)
            finally:
                self._in_rounds = False
        if rest:
            options = [name for action in self._actions for name in action.option_strings]
            near = get_close_matches(rest[0].partition('=')[0], options, n=1)
            hint = f'; is {near[0]} meant?' if near else ''
            # Here and not where all commands are parsed, so that this command's help is named.
            self.error(f'unrecognized arguments: {" ".join(rest)}{hint}')
        return found, rest

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where help is, and leave with exit code 2."""
        text = ' '.join(message.split())
        self.exit(USER_ERROR, f'zegclip: error: {text} (see {self.prog} --help)\n')


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with every subcommand of this package."""
    parser = OneLineParser(
        prog='zegclip',
        formatter_class=_CommandList,
        description='Zero-shot semantic segmentation from plain words.',
        epilog='zegclip COMMAND --help says what a command does and takes.',
    )
    parser.add_argument('--version', action='version', version=f'%(prog)s {__version__}')
    subparsers = parser.add_subparsers(
        title='commands', dest='command', metavar='COMMAND', required=True
    )
    for module in sorted(pkgutil.iter_modules(cli.__path__), key=lambda found: found.name):
        if module.name != 'main' and not module.name.startswith('_'):
            importlib.import_module(f'{cli.__name__}.{module.name}').add_parser(subparsers)
    return parser


def show_line(text: str) -> None:
    """Write a line that users see beside the results."""
    sys.stderr.write(f'zegclip: {" ".join(text.split())}\n')
    sys.stderr.flush()


def show_error(error: BaseException) -> None:
    """Write an error as the one line that users see."""
    show_line(f'error: {str(error) or type(error).__name__}')


def one_line(error: Exception, about: object = None) -> ZegCLIPError:
    """Return any error as one that users can read, with what to do about it if that is known.

    With the environment variable ``ZEGCLIP_TRACEBACK`` set, an unexpected one is shown in full.

    Args:
        error: What was raised.
        about: What was worked on, such as a file.
    """
    if isinstance(error, ZegCLIPError):
        return error
    beside = '' if about is None else f' {about}'
    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith('zegclip'):
        return ZegCLIPError(
            f'Expected the Python package {error.name} to be installed, but it is not: '
            "pip install 'zegclip-ros[train]' has all that the commands need."
        )
    if isinstance(error, FileExistsError):
        return ZegCLIPError(f'Expected {error.filename} to be a folder, but it is a file.')
    if isinstance(error, OSError):
        where = f' {error.filename}' if error.filename else beside
        return ZegCLIPError(f'Cannot use{where}: {error.strerror or error}.')
    if os.environ.get(TRACEBACK):
        traceback.print_exception(error)
    text = shortened(' '.join(str(error).split()), 200).rstrip('.')
    return UnexpectedError(
        f'Cannot work on{beside or " this"}: {type(error).__name__}: {text}. That is a fault of '
        f'the program, please report it; {TRACEBACK}=1 shows where it is.'
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Args:
        argv: The arguments after the program's name; ``None`` takes those of the process.

    Returns:
        The exit code: 0; 2 after an error that the user can mend, or where inputs were left out;
        1 after one of the program.
    """
    # The decoders of OpenCV and FFmpeg write lines of their own about files that we report.
    os.environ.setdefault('OPENCV_LOG_LEVEL', 'SILENT')
    os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')
    wait_without_spinning()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # Names of files may be no text.
            stream.reconfigure(errors='backslashreplace')
    args = build_parser().parse_args(argv)
    try:
        return int(args.run(args))
    except KeyboardInterrupt:
        sys.stderr.write('zegclip: interrupted\n')
        return INTERRUPTED
    except Exception as error:  # The last line of defence: nobody is to read a traceback.
        shown = one_line(error)
        show_error(shown)
        return FAULT if isinstance(shown, UnexpectedError) else USER_ERROR


if __name__ == '__main__':
    sys.exit(main())

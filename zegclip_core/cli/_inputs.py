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
"""What a user names as inputs: files, folders, patterns, addresses, standard input."""

from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
import glob
from http.client import HTTPException, HTTPResponse
import mimetypes
from pathlib import Path, PurePosixPath
import re
import shutil
import sys
from tempfile import TemporaryDirectory
from typing import cast
from urllib.error import HTTPError
from urllib.parse import quote, unquote, urlsplit
from urllib.request import Request, urlopen

from tqdm import tqdm
from zegclip_core import __version__
from zegclip_core.cli._account import Account
from zegclip_core.cli._results import Job, Results
from zegclip_core.errors import ConfigError, ImageError, shortened, ZegCLIPError
from zegclip_core.files import absent, RECORD, user_path, without_password
from zegclip_core.images.media import content_of, CONVERT, is_video, natural_key

STANDARD_INPUT = '-'
"""What stands for the picture on standard input."""
_WEB = re.compile(r'https?:/', re.IGNORECASE)
_RESERVED = "!#$%&'()*+,/:;=?@[]~"
"""What stands in an address as it is."""
_PATIENCE = 30.0
"""Seconds that a server may let us wait."""
_LONGEST_NAME = 150
"""Bytes of a name that an address gives to its results; a file system takes 255."""


@contextmanager
def planned_jobs(
    inputs: Iterable[str], account: Account, *, recursive: bool = False, out: Path | None = None
) -> Iterator[list[Job]]:
    """Give a job for every file that is named or found, each file once.

    The first of several files with one stem has the stem itself, the next ``stem-2`` and so on,
    also where a file system knows no upper and lower case. What comes from an address or from
    standard input is kept on this machine as long as the block lasts.

    Args:
        inputs: Names of files and folders, patterns of them, addresses, ``-``.
        account: Gets what of a folder is left out.
        recursive: Whether folders are looked into that lie in folders.
        out: Folder of the results, in which nothing is looked for then.

    Raises:
        ConfigError: If one is of another kind.
        ImageError: If there is no such file, folder or page, or none has an image or video.
    """
    with TemporaryDirectory(prefix='zegclip-') as kept:
        gathered = _Gathered(account, Path(kept), recursive, out)
        for text in inputs:
            gathered.add(text)
        yield gathered.jobs()


class _Gathered:
    """Files in the order in which they are named."""

    def __init__(self, account: Account, kept: Path, recursive: bool, out: Path | None) -> None:
        self._account, self._kept, self._recursive, self._out = account, kept, recursive, out
        self._files: dict[object, tuple[Path, Path, str]] = {}
        self._results = Results()

    def add(self, text: str) -> None:
        """Add what one argument names."""
        if text in self._files:  # Named twice.
            return
        folder = self._kept / str(len(self._files))
        if text == STANDARD_INPUT:
            folder.mkdir()
            self._add_fetched(text, _from_standard_input(folder))
        elif _WEB.match(text):
            folder.mkdir()
            self._add_fetched(text, _downloaded(text, folder))
        else:
            path = user_path(text)
            matches = _matches(path)
            if matches == [path]:
                self._add_named(path)
            else:
                self._add_matches(matches)

    def _add_fetched(self, text: str, file: Path) -> None:
        called = without_password(text)
        self._files[text] = file, Path(file.name), called

    def _add_named(self, path: Path) -> None:
        if not path.exists():
            raise ImageError(f'Cannot read {path}: {absent(path)}.')
        if path.is_dir():
            self._add_folder(path)
        else:
            self._add_file(path, Path(path.name))

    def _add_file(self, path: Path, name: Path) -> None:
        self._files.setdefault(path.resolve(), (path, name, str(path)))

    def _add_matches(self, paths: list[Path]) -> None:
        """Add what matches a pattern: what is no input is passed over, as nobody has named it."""
        files, results = self._results.split(path for path in paths if not path.is_dir())
        self._account.passed_over(results)
        for file in files:
            self._add_file(file, Path(file.name))
        for folder in filter(Path.is_dir, paths):
            try:
                self._add_folder(folder)
            except ImageError:
                self._account.passed_over([folder])

    def _add_folder(self, path: Path) -> None:
        content = content_of(path, recursive=self._recursive, without=self._out)
        files, results = self._results.split(content.media)
        if not files:
            self._account.passed_over([path])
            return
        for file in files:
            self._add_file(file, file.relative_to(path))
        self._account.left_out(content.unread, f'their format is not read; {CONVERT}')
        self._account.left_out(content.closed, 'they cannot be listed')
        self._account.passed_over([*content.others, *results])

    def jobs(self) -> list[Job]:
        """Return a job for each file."""
        if not self._files:
            raise ImageError(
                'Expected pictures or videos, but found none beside results of an earlier run.'
            )
        stems: set[str] = set()
        jobs = []
        for file, name, called in self._files.values():
            plain = stem = str(name.with_name(name.stem))
            number = 1
            while stem.casefold() in stems:
                number += 1
                stem = f'{plain}-{number}'
            stems.add(stem.casefold())
            jobs.append(Job(file, stem, is_video(file), called))
        return jobs


def _matches(path: Path) -> list[Path]:
    """Return the path, or what matches it if there is no such file and it is a pattern."""
    if path.exists() or path.is_symlink() or not glob.has_magic(str(path)):
        return [path]
    found = sorted(map(Path, glob.iglob(str(path), recursive=True)), key=natural_key)
    if not found:
        raise ImageError(f'Found no file that matches the pattern {path}.')
    return found


def _from_standard_input(folder: Path) -> Path:
    """Keep what comes on standard input as a file."""
    if sys.stdin is None or sys.stdin.isatty():
        raise ConfigError(
            f'Expected a picture on standard input for {STANDARD_INPUT}, but it is a terminal: '
            'zegclip segment - ... < photo.jpg'
        )
    path = folder / 'stdin'
    with path.open('wb') as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return path


def _downloaded(address: str, folder: Path) -> Path:
    """Download a file behind a progress bar.

    Raises:
        ImageError: If there is none, the server does not answer, or it breaks off.
        ConfigError: If it is a stream.
    """
    called = shortened(without_password(address), 200)
    try:
        with cast(HTTPResponse, urlopen(_request(address), timeout=_PATIENCE)) as answer:
            if answer.headers.get_content_maintype() == 'multipart':
                raise ConfigError(
                    f'Expected a picture or a video, but {called} is a stream: {RECORD}.'
                )
            path = folder / _name_of(answer)
            expected = answer.length
            _copy(answer, path)
    except ZegCLIPError:
        raise
    except HTTPError as error:
        reason = f'the server says {error.code} {error.reason}'
    except (OSError, HTTPException, ValueError) as error:
        found = getattr(error, 'reason', error)
        reason = ' '.join(str(getattr(found, 'strerror', None) or found).split()).rstrip('.')
        reason = reason or type(error).__name__
    else:
        size = path.stat().st_size
        if expected is None or size == expected:
            return path
        reason = f'it broke off after {size} of {expected} bytes'
    raise ImageError(f'Cannot download {called}: {reason}.')


def _request(address: str) -> Request:
    """Return the request for a file; name and password in its address go to that server alone."""
    request = Request(
        quote(without_password(address), _RESERVED),
        headers={'User-Agent': f'zegclip/{__version__}'},
    )
    user = re.match(r'[^/]*//([^/?#]*)@', address)
    if user:
        token = b64encode(unquote(user[1]).encode(errors='replace')).decode()
        request.add_unredirected_header('Authorization', f'Basic {token}')
    return request


def _name_of(answer: HTTPResponse) -> str:
    """Return what a downloaded file is called: by its address, and its type if that says none."""
    parts = urlsplit(answer.url)
    name = unquote(PurePosixPath(parts.path).name, errors='replace') or str(parts.hostname)
    name = re.sub(r'[\x00-\x1f/\x7f]', '_', name)
    name = name.encode()[-_LONGEST_NAME:].decode(errors='ignore').lstrip('.') or 'download'
    if not Path(name).suffix:
        name += mimetypes.guess_extension(answer.headers.get_content_type()) or ''
    return name


def _copy(answer: HTTPResponse, path: Path) -> None:
    """Write what a server sends to a file."""
    with (
        tqdm(total=answer.length, unit='B', unit_scale=True, desc=path.name, disable=None) as bar,
        path.open('wb') as file,
    ):
        while block := answer.read(1 << 20):
            file.write(block)
            bar.update(len(block))

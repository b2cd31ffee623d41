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
"""How a user's text becomes a path, and a user's text file text: one place for each."""

from collections.abc import Iterable
import os
from pathlib import Path
import re

from zegclip_core.errors import ConfigError, shortened, ZegCLIPError

_ADDRESS = re.compile(r'[A-Za-z][A-Za-z0-9+.-]+://|https?:/')
"""How an address begins; ``Path`` leaves one of its slashes."""
_STREAM = re.compile(r'(mms|rtmp|rtmps|rtp|rtsp|rtsps|srt|tcp|udp)://', re.IGNORECASE)
RECORD = 'record it first, as with ffmpeg -i ADDRESS -c copy walk.mp4, and name the file'
"""What to do with a stream, which has no end."""
_UTF_16 = (b'\xff\xfe', b'\xfe\xff')


def expanded(text: str) -> str:
    """Return a path that a user typed with the home folder in place of ``~`` and ``~name``.

    Other texts, such as the name of a model, stay as they are.

    Raises:
        ConfigError: If it is an address such as ``https://...``, or no file system can have it.

    Example:
        >>> expanded('photos/~1.png')
        'photos/~1.png'

    """
    if _ADDRESS.match(text):
        stream = RECORD if _STREAM.match(text) else 'download it first, and name the file'
        raise ConfigError(
            'Expected a file or folder of this machine, but got the address '
            f'{shortened(without_password(text))}: {stream}.'
        )
    if '\0' in text:
        raise ConfigError(
            f'Expected the path of a file or folder, but got {shortened(repr(text))}.'
        )
    return os.path.expanduser(text)  # Path's own raises for a user that is not there.


def without_password(address: str) -> str:
    """Return an address without the name and the password of a user in it.

    Example:
        >>> without_password('rtsp://me:secret@camera/1')
        'rtsp://camera/1'

    """
    return re.sub(r'(?<=://)[^/?#]*@', '', address)


def user_path(text: str | Path) -> Path:
    """Return what a user typed as a path, as ``expanded`` reads it."""
    return Path(expanded(str(text)))


def absent(path: Path) -> str:
    """Return why there is no file or folder at a path, as the end of a sentence."""
    if os.path.exists(path):  # Path's own raises below a folder that may not be entered.
        return 'it is a pipe, socket or device, and no file'
    if path.is_symlink():
        return f'it is a link to {os.readlink(path)}, which is not there'
    return 'there is no such file or folder'


def is_hidden(path: Path) -> bool:
    """Return whether a file is no user's own: ``.DS_Store``, or ``._a.jpg`` beside ``a.jpg``."""
    return path.name.startswith('.')


def visible(paths: Iterable[Path]) -> list[Path]:
    """Return the paths that are not hidden, sorted."""
    return sorted(path for path in paths if not is_hidden(path))


def read_text(path: Path, what: str, kind: type[ZegCLIPError]) -> str:
    r"""Return what a user's text file holds, its lines ending in ``\n``.

    Files in UTF-8 are read, with or without a byte-order mark, with the ends of lines of any
    system.

    Args:
        path: The file.
        what: What it is, such as ``the vocabulary file``, for the error.
        kind: The error that is raised.

    Raises:
        ZegCLIPError: Of that kind, if it cannot be read or is no text in UTF-8.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise kind(f'Cannot read {what} {path}: {error.strerror}.') from error
    try:
        text = raw.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        found = 'in UTF-16' if raw.startswith(_UTF_16) else f'not ({error.reason})'
        raise kind(f'Expected {what} {path} to be text in UTF-8, but it is {found}.') from error
    if '\0' in text:
        raise kind(f'Expected {what} {path} to be text, but it holds bytes of 0.')
    return text.replace('\r\n', '\n').replace('\r', '\n')


def read_lines(path: Path, what: str, kind: type[ZegCLIPError]) -> list[str]:
    """Return the lines of a user's text file, as ``read_text`` reads it, without space around."""
    return [line.strip() for line in read_text(path, what, kind).rstrip('\n').split('\n')]

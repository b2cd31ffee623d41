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
"""Images with sentences about them, and images with one name each."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
import re

import numpy as np
import numpy.typing as npt
from zegclip_core.data.folder import check_folder, files_key, missing_files
from zegclip_core.errors import DataError, shortened
from zegclip_core.files import read_lines, user_path, visible
from zegclip_core.images.media import read_image

_PHOTO_SUFFIXES = frozenset({'.jpeg', '.jpg', '.png'})
_NAMED_FILE = re.compile(r'(?:n\d+_)?(.+)')
"""The name in a file's stem, after an id of WordNet if there is one."""
_BEFORE_SUFFIX = re.compile(r'[^0-9A-Za-z]')


@dataclass(frozen=True)
class ImageFiles:
    """Images in ``root/images/``."""

    root: Path
    names: tuple[str, ...]
    """File names, sorted."""

    @property
    def title(self) -> str:
        """The folder's own name."""
        return self.root.resolve().name

    @property
    def paths(self) -> tuple[Path, ...]:
        """Where the files lie."""
        return tuple(self.root / 'images' / name for name in self.names)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.names)

    def image(self, index: int) -> npt.NDArray[np.uint8]:
        """Read an image, RGB ``(H, W, 3)``.

        Raises:
            ImageError: If it cannot be read.
        """
        return read_image(self.root / 'images' / self.names[index])


@dataclass(frozen=True)
class CaptionedImages(ImageFiles):
    """Images, each with the sentences that people wrote about it."""

    sentences: tuple[tuple[str, ...], ...]
    """Of each image, at least one."""

    @property
    def key(self) -> str:
        """What tells the images and sentences from others, for caches."""
        return files_key(self.paths, str(self.root.resolve()), self.sentences)


@dataclass(frozen=True)
class NamedImages(ImageFiles):
    """Images, each with the name of the one thing that it shows."""

    words: tuple[str, ...]
    """What each image shows, such as ``great white shark``."""

    @property
    def key(self) -> str:
        """What tells the images and names from others, for caches."""
        return files_key(self.paths, str(self.root.resolve()), self.words)


def open_captions(root: str | Path) -> CaptionedImages:
    """Return the images of a folder with the sentences of its ``captions.tsv``.

    Each line is a file name below ``images/``, a tab, and a sentence; a file may have several
    lines. Files without a line are left out, and so are empty lines.

    Raises:
        DataError: If a folder or file is missing, there is no image, or a line is no such pair.
    """
    folder = user_path(root)
    check_folder(folder)
    path = folder / 'captions.tsv'
    if not path.is_file():
        raise DataError(f'Expected sentences about pictures in {path}, but there is no file.')
    found = _read_captions(path)
    if not found:
        raise DataError(f'Expected sentences about pictures in {path}, but there is none.')
    absent = missing_files(folder / 'images' / name for name in found)
    if absent:
        raise DataError(
            f'Expected the picture {absent[0]}, but it is not there, '
            f'as {len(absent)} of {len(found)} are not.'
        )
    names = tuple(sorted(found))
    return CaptionedImages(folder, names, tuple(tuple(found[name]) for name in names))


def _read_captions(path: Path) -> dict[str, list[str]]:
    """Return the sentences about each image, in the order of the lines."""
    found: dict[str, list[str]] = {}
    for number, line in enumerate(read_lines(path, 'the sentences', DataError), start=1):
        name, tab, sentence = line.partition('\t')
        if line and not tab:
            raise DataError(
                f'Expected a file name, a tab and a sentence in each line of {path}, '
                f'but got {shortened(repr(line))} in line {number}.'
            )
        if line:
            found.setdefault(name.strip(), []).append(sentence.strip())
    return found


def without(captions: CaptionedImages, stems: Iterable[str]) -> CaptionedImages:
    """Return the images but for those whose file stem is, or ends with, one of ``stems``.

    ``coco_000000000785.jpg`` is the photo ``000000000785.jpg`` of another dataset; where that one
    is measured, it must not be trained with. The end must be all that follows a character that
    is neither letter nor digit: the stem ``785`` leaves this photo in.
    """
    left_out = frozenset(stems)
    kept = [i for i, name in enumerate(captions.names) if left_out.isdisjoint(_ends(name))]
    names = tuple(captions.names[index] for index in kept)
    sentences = tuple(captions.sentences[index] for index in kept)
    return CaptionedImages(captions.root, names, sentences)


def _ends(name: str) -> list[str]:
    """Return a file's stem and each end of it that follows a character such as ``_``."""
    stem = Path(name).stem
    starts = [match.end() for match in _BEFORE_SUFFIX.finditer(stem)]
    return [stem, *(stem[start:] for start in starts)]


def open_named_images(root: str | Path) -> NamedImages:
    """Return the images of ``root/images/``, whose files are named after what they show.

    The name of ``n01484850_great_white_shark.jpg`` is ``great white shark``: an id of WordNet
    before it is left out. Only files of JPEG and PNG are taken.

    Raises:
        DataError: If there is no such folder or no image in it.
    """
    folder = user_path(root)
    check_folder(folder)
    images = folder / 'images'
    files = visible(images.iterdir()) if images.is_dir() else []
    names = tuple(path.name for path in files if path.suffix.lower() in _PHOTO_SUFFIXES)
    if not names:
        raise DataError(f'Expected pictures in {images}, but found none.')
    return NamedImages(folder, names, tuple(_named(name) for name in names))


def _named(name: str) -> str:
    """Return the name in a file's name."""
    stem = Path(name).stem
    match = _NAMED_FILE.fullmatch(stem)
    return ' '.join((stem if match is None else match[1]).replace('_', ' ').split())

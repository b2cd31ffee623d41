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
"""The ways into the program that files take, and what each says that it has read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
import hashlib
from pathlib import Path
from unittest.mock import patch

from benchmarks.file_seeds import CONFIG, WORDS
import numpy as np
import torch
from zegclip_core.bags.source import BagSource
from zegclip_core.data.captions import open_captions
from zegclip_core.data.datasets import load_spec
from zegclip_core.data.folder import label_table, Pair, read_classes, read_sample
from zegclip_core.data.word_geometry import read_word_geometry
from zegclip_core.engines import onnx
from zegclip_core.errors import ZegCLIPError
from zegclip_core.images.media import read_picture
from zegclip_core.images.video import Video
from zegclip_core.loading import build_network
from zegclip_core.options import UNLABELLED
from zegclip_core.settings import read_settings
from zegclip_core.text.encoder import EncodedVocabulary
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_core.training.config import TrainConfig
from zegclip_core.training.queries import read_words
from zegclip_core.weights.checkpoint import load_checkpoint


@dataclass(frozen=True)
class Reading:
    """What was read of a file.

    Attributes:
        parts: A checksum of each part of it: a picture, a frame, a message, a tensor, an entry.
        size: How much that is, by what the reader says: pixels, frames, messages, values.
        whole: Whether the reader takes it for all that the file held.
    """

    parts: tuple[str, ...]
    size: int
    whole: bool = True


def _sum(*parts: object) -> str:
    """Return a checksum of arrays, bytes and what else is printed alike if it is alike."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
    return found.hexdigest()[:16]


def picture(path: Path) -> Reading:
    """Read an image."""
    pixels = read_picture(path).pixels
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    return Reading((_sum(pixels, pixels.shape),), pixels.shape[0] * pixels.shape[1])


def picture_and_mask(path: Path) -> Reading:
    """Read a PNG as an image, and then as a mask of itself."""
    reading = picture(path)
    # What it says of a mask is not compared: only colours are in it, which are no classes.
    _refusing(partial(read_sample, Pair(path, path), label_table(5)))
    return reading


def _refusing(read: Callable[[], object]) -> None:
    try:
        read()
    except ZegCLIPError as error:
        check_line(error)


def check_line(error: Exception) -> None:
    """Fail unless an error is one line that people can read."""
    text = str(error)
    assert text.strip(), 'an error without a word'
    assert len(text.splitlines()) == 1, f'an error of several lines: {text!r:.300}'
    assert len(text) < 3000, f'an error of {len(text)} letters: {text:.200}'


def video(path: Path) -> Reading:
    """Decode a video."""
    found = Video(path)
    parts = tuple(_sum(frame) for frame in found)
    assert found.decoded == len(parts)
    return Reading(parts, len(parts), whole=not found.cut)


def bag(path: Path) -> Reading:
    """Read all messages of a bag."""
    with BagSource(path) as source:
        parts = tuple(
            _sum(one.connection.topic, one.time, one.published, one.number, bytes(one.data))
            for one in source.messages(source.connections)
        )
        return Reading(parts, len(parts), whole=not source.unfinished)


def checkpoint(path: Path) -> Reading:
    """Load a checkpoint and build its model."""
    found = load_checkpoint(path)
    network = build_network(found, where=str(path))
    state = network.state_dict()
    assert set(state) == set(found.state_dict)
    parts = tuple(_sum(name, value.numpy()) for name, value in sorted(state.items()))
    return Reading(parts, sum(value.numel() for value in state.values()))


class Tower:
    """Stands in for the text tower, which is no part of the file."""

    name, embed_dim = 'a stand-in', CONFIG.text_dim


@cache
def _encoded() -> EncodedVocabulary:
    rows = torch.eye(len(WORDS), CONFIG.text_dim)
    zeros = torch.zeros(len(WORDS))
    return EncodedVocabulary(Vocabulary.from_names(WORDS), rows, zeros, zeros)


def exported(path: Path) -> Reading:
    """Open an exported model and label an image."""
    with patch.object(onnx, 'load_text_tower', lambda _: Tower):
        model = onnx.load_exported(str(path), device='cpu')
    image = torch.zeros((1, 24, 30, 3), dtype=torch.uint8)
    found = model.engine.run(image, (24, 30), model.engine.prepare(_encoded()), (24, 30))
    labels = np.asarray(found.labels)
    assert labels.shape == (1, 24, 30), labels.shape
    assert np.isin(labels, [*range(len(WORDS)), UNLABELLED]).all()
    return Reading((_sum(model.config, labels),), labels.size)


def _entries(found: Sequence[object]) -> Reading:
    return Reading(tuple(map(_sum, found)), len(found))


def settings(path: Path) -> Reading:
    """Read a file of YAML as what its name says."""
    if path.stem == 'training':
        return _entries([read_settings(TrainConfig, path)])
    if path.stem == 'split':
        return _entries(load_spec(str(path)).classes)
    return _entries(read_words(str(path), ('person', 'cat', 'road')))


def words(path: Path) -> Reading:
    """Read a file of JSON as a vocabulary, or as names of a word geometry."""
    if path.stem.endswith('_names'):
        rows = np.eye(len(WORDS), 12, dtype=np.float32)
        np.save(path.with_name('geometry.npy'), rows)
        return _entries(read_word_geometry(path.parent).words)
    return _entries(Vocabulary.from_file(path).classes)


def table(path: Path) -> Reading:
    """Read captions, or names of classes."""
    if path.suffix == '.txt':
        return _entries(read_classes(path))
    images = path.parent / 'images'
    images.mkdir(exist_ok=True)
    for number in range(len(WORDS)):
        (images / f'{number}.png').touch()
    found = open_captions(path.parent)
    return _entries([line for lines in found.sentences for line in lines])


READERS: dict[str, Callable[[Path], Reading]] = {
    'JPEG': picture,
    'PNG': picture_and_mask,
    'TIFF': picture,
    'other pictures': picture,
    'MP4 and other videos': video,
    'MCAP': bag,
    'SQLite': bag,
    'safetensors': checkpoint,
    'ONNX': exported,
    'YAML': settings,
    'JSON': words,
    'TSV': table,
}
"""What reads the files of each kind of ``file_seeds.KINDS``."""

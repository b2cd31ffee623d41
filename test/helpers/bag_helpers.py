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
"""Small bags for the tests, what stands in a bag, and a model that needs no torch."""

import argparse
from collections.abc import Iterable, Iterator
import hashlib
from pathlib import Path
from typing import Any

from commands import Answer, answer_of
import cv2
import numpy as np
import numpy.typing as npt
import pytest
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import get_types_from_msg, get_typestore, Stores
from zegclip_core.cli import label_bag
from zegclip_core.errors import ModelError
from zegclip_core.segmentation import label_type, Segmentation, unlabelled_id
from zegclip_core.text.vocabulary import Vocabulary

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'
IMU = 'sensor_msgs/msg/Imu'
FOREIGN = 'acme_msgs/msg/Secret'
TYPES = get_typestore(Stores.LATEST)
TYPES.register(get_types_from_msg('uint8[] data\nstring note\n', FOREIGN))

START = 1_700_000_000_000_000_000
STEP = 33_000_000
NO_TIME = QosTime(0, 0)
SENSOR_DATA = Qos(
    QosHistory.KEEP_LAST,
    5,
    QosReliability.BEST_EFFORT,
    QosDurability.VOLATILE,
    NO_TIME,
    QosTime(3, 4),
    QosLiveliness.AUTOMATIC,
    NO_TIME,
    False,
)


class ColorSegmenter:
    """Stands in for the model: red is class 0, blue class 1, the rest unlabelled.

    Attributes:
        seen: Number of images that were segmented.
        ends_at: Number of the image at which it is interrupted.
    """

    threshold = 0.25

    def __init__(self, ends_at: int | None = None) -> None:
        self.seen = 0
        self.ends_at = ends_at

    def encode(self, vocabulary: Vocabulary) -> Vocabulary:
        return vocabulary

    def segment(self, image: npt.NDArray[np.uint8], vocabulary: Vocabulary) -> Segmentation:
        if self.seen == self.ends_at:
            raise KeyboardInterrupt
        self.seen += 1
        kind = label_type(len(vocabulary))
        labels = np.full(image.shape[:2], unlabelled_id(kind), dtype=kind)
        labels[image[..., 0] > 128] = 0
        labels[image[..., 2] > 128] = 1
        scores = (image[..., 0] / 255.0).astype(np.float32)
        return Segmentation(labels, scores, vocabulary)


class Command:
    """``zegclip label-bag`` with the stand-in for the model.

    Attributes:
        loaded: The options of each time that the model was loaded.
        segmenter: The stand-in.
    """

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.loaded: list[argparse.Namespace] = []
        self.segmenter = ColorSegmenter()
        self._capsys = capsys
        monkeypatch.setattr(label_bag, 'load_segmenter', self._load)

    def _load(self, args: argparse.Namespace) -> ColorSegmenter:
        self.loaded.append(args)
        if args.model == 'unheard-of':
            raise ModelError("Expected a known model, but got 'unheard-of'.")
        return self.segmenter

    def __call__(self, *arguments: object) -> Answer:
        return answer_of(self._capsys, 'label-bag', *arguments)


def hashes(path: Path) -> dict[str, str]:
    """Return the checksum of each file of a bag."""
    files = [path] if path.is_file() else sorted(path.iterdir())
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def header(time: int, frame: str = 'camera_optical') -> Any:  # noqa: ANN401
    stamp = TYPES.types['builtin_interfaces/msg/Time'](time // 10**9, time % 10**9)
    return TYPES.types['std_msgs/msg/Header'](stamp=stamp, frame_id=frame)


def raw_image(
    pixels: npt.NDArray[Any],
    encoding: str,
    time: int = START,
    **changes: object,
) -> bytes:
    """Return a serialised image; ``changes`` replace fields of the message."""
    data = np.frombuffer(np.ascontiguousarray(pixels).tobytes(), dtype=np.uint8)
    fields = {
        'header': header(time - 5_000_000),
        'height': pixels.shape[0],
        'width': pixels.shape[1],
        'encoding': encoding,
        'is_bigendian': 0,
        'step': data.size // pixels.shape[0],
        'data': data,
        **changes,
    }
    return bytes(TYPES.serialize_cdr(TYPES.types[IMAGE](**fields), IMAGE))


def raw_file(rgb: npt.NDArray[np.uint8], suffix: str, time: int = START) -> bytes:
    """Return a serialised compressed image: a JPEG or PNG file."""
    _, data = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    return raw_compressed(data, f'rgb8; {suffix[1:]} compressed bgr8', time)


def raw_compressed(data: npt.NDArray[np.uint8], kind: str, time: int = START) -> bytes:
    message = TYPES.types[COMPRESSED](header=header(time), format=kind, data=data.reshape(-1))
    return bytes(TYPES.serialize_cdr(message, COMPRESSED))


def red_until(column: int, size: tuple[int, int] = (12, 16)) -> npt.NDArray[np.uint8]:
    """Return a grey image that is red on the left of a column."""
    pixels = np.full((*size, 3), 100, dtype=np.uint8)
    pixels[:, :column] = (255, 0, 0)
    return pixels


def write_bag(
    path: Path,
    topics: dict[str, tuple[str, Iterable[bytes]]],
    storage: str = 'mcap',
) -> Path:
    """Write a bag.

    Args:
        path: Where to.
        topics: Type and serialised messages of each topic; the topics take turns.
        storage: How it is stored.
    """
    with Writer(path, version=9, storage_plugin=StoragePlugin[storage.upper()]) as writer:
        writer.set_custom_data('robot', 'husky')
        for place, (topic, (kind, messages)) in enumerate(topics.items()):
            connection = writer.add_connection(
                topic, kind, typestore=TYPES, offered_qos_profiles=[SENSOR_DATA]
            )
            for number, message in enumerate(messages):
                writer.write(connection, START + number * STEP + place * 1000, message)
    return path


def camera_bag(
    path: Path,
    storage: str = 'mcap',
    frames: int = 6,
    more: Iterable[str] = (),
    size: tuple[int, int] = (12, 16),
) -> Path:
    """Write a bag with a camera, and beside it an IMU and a type that nobody knows.

    Args:
        path: Where to.
        storage: How it is stored.
        frames: Number of images.
        more: Further topics with the same images.
        size: Height and width of the images.
    """
    imu = TYPES.types[FOREIGN](data=np.arange(7, dtype=np.uint8), note='keep me')
    foreign = bytes(TYPES.serialize_cdr(imu, FOREIGN))
    images = [
        raw_image(red_until(place + 1, size), 'rgb8', START + place * STEP)
        for place in range(frames)
    ]
    return write_bag(
        path,
        {
            '/camera/image': (IMAGE, images),
            '/secret': (FOREIGN, [foreign, foreign]),
            # Bytes that are no such message at all are copied, as nobody looks into them.
            '/imu': (IMU, [b'\x00\x01\x00\x00torn', b'\x00\x01\x00\x00more']),
            **dict.fromkeys(more, (IMAGE, images)),
        },
        storage,
    )


def content(path: Path) -> list[tuple[str, str, int, bytes]]:
    """Return topic, type, time and bytes of every message."""
    with Reader(path) as reader:
        return [(c.topic, c.msgtype, time, bytes(raw)) for c, time, raw in reader.messages()]


def on_topic(path: Path, topic: str) -> Iterator[tuple[int, Any]]:
    """Yield time and message of a topic, read by what the bag says about its types."""
    with Reader(path) as reader:
        (connection,) = (c for c in reader.connections if c.topic == topic)
        types = get_typestore(Stores.EMPTY)
        types.register(get_types_from_msg(connection.msgdef.data, connection.msgtype))
        assert connection.digest in {'', types.hash_rihs01(connection.msgtype)}
        for _, time, raw in reader.messages([connection]):
            yield time, types.deserialize_cdr(raw, connection.msgtype)


def pixels_of(message: Any) -> npt.NDArray[Any]:  # noqa: ANN401
    """Return the values of an image that was added, ``(H, W)`` or ``(H, W, 3)``."""
    kind, shape = {
        'mono8': (np.uint8, ()),
        '16UC1': (np.uint16, ()),
        '32FC1': (np.float32, ()),
        'rgb8': (np.uint8, (3,)),
    }[message.encoding]
    return message.data.view(kind).reshape(message.height, message.width, *shape)

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
"""What the processes of a benchmark write down, and the pictures that carry their own number."""

from collections.abc import Iterator
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Event = dict[str, Any]
_NUMBER_PIXELS = 4


class EventLog:
    """Writes events, one line of JSON each, so that nothing is lost if the process is killed.

    Args:
        path: File to write.
    """

    def __init__(self, path: Path) -> None:
        # By lines, which costs some microseconds: less than what is measured by far.
        self._file = path.open('w', encoding='utf-8', buffering=1)

    def __enter__(self) -> 'EventLog':
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def add(self, kind: str, **values: object) -> None:
        """Write one event; times are in nanoseconds of the system's clock."""
        self._file.write(json.dumps({'kind': kind, **values}) + '\n')


def read_events(path: Path) -> list[Event]:
    """Return the events of a file, none if it is not there; a line half written is left out."""
    if not path.exists():
        return []
    return list(_events(path))


def _events(path: Path) -> Iterator[Event]:
    for line in path.read_text(encoding='utf-8').splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def nanoseconds(stamp: Any) -> int:  # noqa: ANN401 - builtin_interfaces/Time has no annotations
    """Return the stamp of a header as one number."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def moments(message: Any, info: Any) -> dict[str, int]:  # noqa: ANN401 - as above
    """Return when a message with a header was stamped, written and received.

    Args:
        message: The message.
        info: What rclpy tells of it: ``rclpy.subscription.MessageInfo``.
    """
    return {
        'stamp': nanoseconds(message.header.stamp),
        'written': info['source_timestamp'],
        'received': info['received_timestamp'],
    }


def picture(width: int, height: int) -> npt.NDArray[np.uint8]:
    """Return a picture to be numbered, uint8 ``(H, W, 3)``: slanted stripes of all values."""
    rows, columns = np.indices((height, width))
    red = (rows + columns) % 256
    return np.stack([red, red[::-1], red[:, ::-1]], axis=2).astype(np.uint8)


def write_number(flat: Any, number: int) -> None:  # noqa: ANN401 - array.array or bytearray
    """Write a frame's number into the first pixels of rgb8 data; red repeats its last byte."""
    for pixel in range(_NUMBER_PIXELS):
        flat[3 * pixel] = number % 256
        flat[3 * pixel + 1] = (number >> 8 * pixel) % 256


def read_number(rgb: npt.NDArray[np.uint8]) -> int:
    """Return the number of an RGB picture."""
    return sum(int(rgb[0, pixel, 1]) << 8 * pixel for pixel in range(_NUMBER_PIXELS))


def expected_label(number: int, classes: int) -> int:
    """Return what the stand-in says of the first pixel of a numbered picture."""
    return number % 256 % min(classes, 255)

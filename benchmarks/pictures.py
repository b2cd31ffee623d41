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
"""Frames of one colour, whose labels are known beforehand, and label images as arrays."""

from array import array

import cv2
import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

SIZE = (4, 6)


def header(stamp: int) -> Header:
    """Return a header with a stamp in seconds."""
    made = Header(frame_id='camera')
    made.stamp.sec = stamp
    return made


def picture(red: int, stamp: int) -> Image:
    """Return a small ``rgb8`` image."""
    height, width = SIZE
    data = array('B', bytes([red, 0, 0]) * (height * width))
    return Image(
        header=header(stamp),
        height=height,
        width=width,
        encoding='rgb8',
        step=3 * width,
        data=data,
    )


def png_picture(red: int, stamp: int) -> CompressedImage:
    """Return the same as a PNG, which changes no colour."""
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[:, :, 2] = red
    data = array('B', cv2.imencode('.png', pixels)[1].tobytes())
    return CompressedImage(header=header(stamp), format='rgb8; png compressed bgr8', data=data)


def label_of(message: Image) -> npt.NDArray[np.uint16]:
    """Return the class ids of a label image, ``(H, W)``."""
    kind = np.uint8 if message.encoding == 'mono8' else np.uint16
    ids = np.frombuffer(message.data, kind).reshape(message.height, message.width)
    return ids.astype(np.uint16)

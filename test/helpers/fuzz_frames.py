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
"""Frames and clouds that a node has to use in the midst of hostile messages."""

from array import array

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from std_msgs.msg import Header

SIZE = (4, 6)
CLOUD = (8, 6)


def good_frame(red: int, stamp: int, transport: str) -> Image | CompressedImage:
    """Return a small image of one colour; PNG changes no colour."""
    header = Header(frame_id='camera')
    header.stamp.sec = stamp
    pixels = np.full((*SIZE, 3), (red, 0, 0), np.uint8)
    if transport == 'compressed':
        content = cv2.imencode('.png', pixels[:, :, ::-1])[1].tobytes()
        form = 'rgb8; png compressed bgr8'
        return CompressedImage(header=header, format=form, data=array('B', content))
    height, width = SIZE
    image = Image(header=header, height=height, width=width, encoding='rgb8', step=3 * width)
    image.data = array('B', pixels.tobytes())
    return image


def good_cloud() -> PointCloud2:
    """Return an organised cloud, which gives label images their size."""
    height, width = CLOUD
    cloud = PointCloud2(height=height, width=width, point_step=12, row_step=12 * width)
    cloud.data = array('B', bytes(12 * height * width))
    return cloud

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
"""Points with the class of each, as fields of a ``sensor_msgs/msg/PointCloud2``."""

from typing import Any, get_args, Literal, NamedTuple, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from zegclip_core.geometry import DepthView, rays
from zegclip_core.images.checks import RgbImage
from zegclip_core.segmentation import LabelArray

DATATYPES = {1: 2, 2: 4, 4: 7}
"""Of ``sensor_msgs/msg/PointField``: uint8, uint16 and float32, by their bytes."""
_OFFSETS = {'x': 0, 'y': 4, 'z': 8, 'rgb': 12, 'label': 16, 'score': 20}
POINT_STEP = 24
"""Bytes of a point."""


PointColor: TypeAlias = Literal['image', 'overlay']
POINT_COLORS: tuple[PointColor, ...] = get_args(PointColor)
"""What points are coloured by: the image, or the image with the colours of its classes."""


class CloudFields(NamedTuple):
    """Fields of a ``sensor_msgs/msg/PointCloud2`` but for its header.

    ``fields`` are those of its ``PointField``s.
    """

    height: int
    width: int
    fields: list[dict[str, Any]]
    is_bigendian: bool
    point_step: int
    row_step: int
    data: npt.NDArray[np.uint8]
    is_dense: bool


def cloud_fields(
    view: DepthView,
    rgb: RgbImage,
    labels: LabelArray,
    scores: npt.NDArray[np.float32],
    *,
    organised: bool = False,
) -> CloudFields:
    """Return a point for each pixel whose depth is known.

    Args:
        view: Depth of the image ``(H, W)``.
        rgb: Colours of the points, RGB uint8 ``(H, W, 3)``.
        labels: Class ids ``(H, W)``.
        scores: Scores of the best classes ``(H, W)``.
        organised: Whether there is a point for every pixel, in the image's rows, with NaN for x, y
            and z where the depth is not known.

    Returns:
        x, y, z and score are float32, the label has the type of ``labels``, and rgb holds the
        bytes of ``0x00rrggbb`` in a float32, as everywhere in ROS.
    """
    depth, (across, down) = view.depth, rays(view.camera)
    # OpenCV interleaves planes in a fraction of the time that NumPy takes for strided writes.
    planes = cv2.merge(
        [
            depth * across,
            depth * down[:, None],
            depth,
            _packed(rgb).view(np.float32),
            labels.astype('<u4').view(np.float32),
            scores.astype('<f4', copy=False),
        ]
    )
    points: npt.NDArray[np.float32] = np.asarray(planes, np.float32)
    points = points.reshape(-1, len(_OFFSETS))
    height, width = depth.shape
    known = np.isfinite(depth).reshape(-1)
    is_dense = bool(known.all())
    if not organised:
        points = points if is_dense else np.compress(known, points, axis=0)
        height, width, is_dense = 1, len(points), True
    return CloudFields(
        height,
        width,
        _described(labels.dtype),
        is_bigendian=False,
        point_step=POINT_STEP,
        row_step=POINT_STEP * width,
        data=points.reshape(-1).view(np.uint8),
        is_dense=is_dense,
    )


def _packed(rgb: RgbImage) -> npt.NDArray[np.uint32]:
    """Return ``0x00rrggbb`` of each pixel ``(H, W)``."""
    bgra = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGRA)
    # A full alpha would make some of them a NaN, whose bits a float may lose on its way.
    return bgra.view('<u4')[:, :, 0] & np.uint32(0xFFFFFF)


def _described(label: np.dtype[Any]) -> list[dict[str, Any]]:
    """Return the fields of the ``PointField`` of each column; all but labels are floats."""
    return [
        {
            'name': name,
            'offset': offset,
            'datatype': DATATYPES[label.itemsize if name == 'label' else 4],
            'count': 1,
        }
        for name, offset in _OFFSETS.items()
    ]

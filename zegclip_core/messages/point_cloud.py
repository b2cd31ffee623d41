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

DATATYPES = {'|u1': 2, '<u2': 4, '<f4': 7}
"""Of ``sensor_msgs/msg/PointField``, by NumPy's names."""
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
    kind = np.dtype(
        {
            'names': list(_OFFSETS),
            'formats': ['<f4', '<f4', '<f4', '<u4', labels.dtype.newbyteorder('<'), '<f4'],
            'offsets': list(_OFFSETS.values()),
            'itemsize': POINT_STEP,
        }
    )
    depth, (across, down) = view.depth, rays(view.camera)
    columns = {
        'x': depth * across,
        'y': depth * down[:, None],
        'z': depth,
        'rgb': _packed(rgb),
        'label': labels,
        'score': scores,
    }
    if organised:
        height, width = depth.shape
        chosen: Any = slice(None)
    else:
        chosen = np.flatnonzero(np.isfinite(depth))
        height, width = 1, len(chosen)
    points = np.zeros(height * width, kind)
    for name, values in columns.items():
        points[name] = values.reshape(-1)[chosen]
    return CloudFields(
        height,
        width,
        _described(kind),
        is_bigendian=False,
        point_step=POINT_STEP,
        row_step=POINT_STEP * width,
        data=points.view(np.uint8),
        is_dense=not organised or bool(np.isfinite(depth).all()),
    )


def _packed(rgb: RgbImage) -> npt.NDArray[np.uint32]:
    """Return ``0x00rrggbb`` of each pixel ``(H, W)``."""
    bgra = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGRA)
    # A full alpha would make some of them a NaN, whose bits a float may lose on its way.
    return bgra.view('<u4')[:, :, 0] & np.uint32(0xFFFFFF)


def _described(kind: np.dtype[Any]) -> list[dict[str, Any]]:
    """Return the fields of the ``PointField`` of each column; colours count as floats."""
    described = []
    for name, offset in _OFFSETS.items():
        given = '<f4' if name == 'rgb' else kind[name].str
        described.append(
            {'name': name, 'offset': offset, 'datatype': DATATYPES[given], 'count': 1}
        )
    return described

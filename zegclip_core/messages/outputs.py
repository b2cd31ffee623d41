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
"""What the node publishes and a labelled bag holds: names of topics, fields of messages."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from zegclip_core.geometry import box_around, DepthView
from zegclip_core.images.checks import RgbImage
from zegclip_core.images.regions import Region
from zegclip_core.segmentation import LabelArray, Segmentation
from zegclip_core.text.vocabulary import Vocabulary

LABEL_IMAGE = 'label_image'
CONFIDENCE = 'confidence'
OVERLAY = 'overlay'
MASKS = 'masks'
ACTIVE_VOCABULARY = 'active_vocabulary'
LABEL_INFO = 'label_info'
REGIONS = 'regions'
DETECTIONS = 'detections'
POINTS = 'points'

ScoreEncoding: TypeAlias = Literal['32FC1', 'mono8']
SCORE_ENCODINGS: tuple[ScoreEncoding, ...] = get_args(ScoreEncoding)


class ImageFields(NamedTuple):
    """Fields of a ``sensor_msgs/msg/Image`` but for its header; rows have no padding."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: npt.NDArray[np.uint8]


def image_fields(pixels: npt.NDArray[Any], encoding: str, is_bigendian: int = 0) -> ImageFields:
    """Return the fields of an image ``(H, W)`` or ``(H, W, C)``, whose bytes stay as they are."""
    packed = np.ascontiguousarray(pixels)
    height, width = packed.shape[:2]
    data = packed.reshape(-1).view(np.uint8)
    return ImageFields(height, width, encoding, is_bigendian, packed.nbytes // height, data)


def label_fields(labels: LabelArray) -> ImageFields:
    """Return the fields of a label image of class ids ``(H, W)``.

    ``mono8`` with 255 = unlabelled from uint8, ``16UC1`` with 65535 = unlabelled from uint16.
    """
    if labels.dtype == np.uint8:
        return image_fields(labels, 'mono8')
    return image_fields(labels.astype('<u2', copy=False), '16UC1')


def score_fields(
    scores: npt.NDArray[np.float32], encoding: ScoreEncoding = '32FC1'
) -> ImageFields:
    """Return the fields of an image of scores, float32 ``(H, W)`` in [0, 1].

    ``32FC1`` holds them as they are, ``mono8`` as 0 to 255, rounded.
    """
    if encoding == 'mono8':
        return image_fields((scores * 255.0 + 0.5).astype(np.uint8), 'mono8')
    return image_fields(scores.astype('<f4', copy=False), '32FC1')


def mask_fields(mask: npt.NDArray[np.bool_]) -> ImageFields:
    """Return the fields of a ``mono8`` mask ``(H, W)``, 255 where a class is and 0 elsewhere."""
    return image_fields(np.multiply(mask, 255, dtype=np.uint8), 'mono8')


def rgb_fields(rgb: RgbImage) -> ImageFields:
    """Return the fields of an ``rgb8`` image, uint8 ``(H, W, 3)``."""
    return image_fields(rgb, 'rgb8')


def class_map(vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """Return the fields of the ``vision_msgs/msg/VisionClass`` of each class."""
    pairs = zip(vocabulary.ids, vocabulary.names, strict=True)
    return [{'class_id': number, 'class_name': name} for number, name in pairs]


def region_list(
    regions: Sequence[Region], segmentation: Segmentation, depth: DepthView | None = None
) -> dict[str, Any]:
    """Return what ``~/regions`` holds as JSON beside the header; ``docs/node.md`` explains it.

    With the depth of the image's pixels each region has a ``box_3d`` as well.
    """
    height, width = segmentation.labels.shape
    ids, names = segmentation.vocabulary.ids, segmentation.vocabulary.names
    return {
        'width': width,
        'height': height,
        'regions': [
            {
                'id': ids[region.place],
                'name': names[region.place],
                'box': list(region.box),
                'center': [round(part, 2) for part in region.center],
                'area': region.area,
                'score': round(region.score, 4),
                **({} if depth is None else {'box_3d': _box_3d(region, segmentation, depth)}),
            }
            for region in regions
        ],
    }


def _box_3d(
    region: Region, segmentation: Segmentation, depth: DepthView
) -> dict[str, list[float]] | None:
    """Return where a region is in the camera's frame [m]; ``None`` without depth."""
    found = box_around(depth, region.mask(segmentation.labels), region.corner)
    if found is None:
        return None
    return {'center': list(found.center), 'size': list(found.size)}


def announcement(
    vocabulary: Vocabulary | None,
    topics: Sequence[str | None],
    *,
    version: int,
    stamp: Mapping[str, int] | None,
    requested: int,
    error: str | None = None,
    refused: str | None = None,
    warning: str | None = None,
) -> dict[str, Any]:
    """Return what ``~/active_vocabulary`` holds as JSON; ``docs/node.md`` explains it.

    Args:
        vocabulary: The words in use; ``None`` if there are none.
        topics: Mask topic of each class, in their order; ``None`` for one without.
        version: Number of the words in use, 0 if there are none.
        stamp: ``sec`` and ``nanosec`` of the first frame labelled with them; ``None`` before it.
        requested: Number of the newest accepted request.
        error: Why the last request was refused; ``None`` if it was not.
        refused: Its text.
        warning: Which of the words in use the model may not know; ``None`` if it knows all.
    """
    classes = []
    if vocabulary is not None:
        colors = vocabulary.colors.tolist()
        rows = zip(vocabulary.ids, vocabulary.classes, colors, topics, strict=True)
        classes = [
            {
                'id': number,
                'name': entry.name,
                'phrases': list(entry.phrases),
                'color': color,
                'threshold': entry.threshold,
                'exact': entry.exact,
                'topic': topic,
            }
            for number, entry, color, topic in rows
        ]
    return {
        'version': version,
        'classes': classes,
        'stamp': stamp,
        'requested': requested,
        'error': error,
        'refused': refused,
        'warning': warning,
    }

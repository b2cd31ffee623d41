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
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from zegclip_core.images.checks import RgbImage
from zegclip_core.segmentation import LabelArray
from zegclip_core.text.vocabulary import Vocabulary

LABEL_IMAGE = 'label_image'
CONFIDENCE = 'confidence'
OVERLAY = 'overlay'
MASKS = 'masks'
ACTIVE_VOCABULARY = 'active_vocabulary'
LABEL_INFO = 'label_info'


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
    """Return the fields of a label image ``(H, W)``.

    ``mono8`` with 255 = unlabelled from uint8, ``16UC1`` with 65535 = unlabelled from uint16.
    """
    if labels.dtype == np.uint8:
        return image_fields(labels, 'mono8')
    return image_fields(labels.astype('<u2', copy=False), '16UC1')


def score_fields(scores: npt.NDArray[np.float32]) -> ImageFields:
    """Return the fields of a ``32FC1`` image of scores, float32 ``(H, W)`` in [0, 1]."""
    return image_fields(scores.astype('<f4', copy=False), '32FC1')


def mask_fields(mask: npt.NDArray[np.bool_]) -> ImageFields:
    """Return the fields of a ``mono8`` mask ``(H, W)``, 255 where a class is and 0 elsewhere."""
    return image_fields(np.multiply(mask, 255, dtype=np.uint8), 'mono8')


def rgb_fields(rgb: RgbImage) -> ImageFields:
    """Return the fields of an ``rgb8`` image, uint8 ``(H, W, 3)``."""
    return image_fields(rgb, 'rgb8')


def class_map(names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the fields of the ``vision_msgs/msg/VisionClass`` of each class; ids are places."""
    return [{'class_id': index, 'class_name': name} for index, name in enumerate(names)]


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
        topics: Mask topic of each class, in the order of the ids; ``None`` for one without.
        version: Number of the words in use, 0 if there are none.
        stamp: ``sec`` and ``nanosec`` of the first frame labelled with them; ``None`` before it.
        requested: Number of the newest accepted request.
        error: Why the last request was refused; ``None`` if it was not.
        refused: Its text.
        warning: Which of the words in use the model may not know; ``None`` if it knows all.
    """
    classes = []
    if vocabulary is not None:
        rows = zip(vocabulary.classes, vocabulary.colors.tolist(), topics, strict=True)
        classes = [
            {
                'id': index,
                'name': entry.name,
                'phrases': list(entry.phrases),
                'color': color,
                'threshold': entry.threshold,
                'exact': entry.exact,
                'topic': topic,
            }
            for index, (entry, color, topic) in enumerate(rows)
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

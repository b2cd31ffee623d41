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
"""Messages of ``vision_msgs``, which is not on the package index: they are made where it is.

``~/active_vocabulary`` and ``~/regions`` hold the same and more.
"""

from collections.abc import Sequence

from std_msgs.msg import Header
from zegclip_core.images.regions import Region
from zegclip_core.messages.outputs import class_map
from zegclip_core.text.vocabulary import Vocabulary

try:
    from vision_msgs.msg import (
        BoundingBox2D,
        Detection2D,
        Detection2DArray,
        LabelInfo,
        ObjectHypothesisWithPose,
        VisionClass,
    )

    LABEL_INFO, DETECTIONS = LabelInfo, Detection2DArray
    INSTALLED = True
except ImportError:
    INSTALLED = False


def label_info(vocabulary: Vocabulary, threshold: float, header: Header) -> 'LabelInfo':
    """Return the names of the ids; ``threshold`` holds for classes without one of their own."""
    classes = [VisionClass(**fields) for fields in class_map(vocabulary)]
    return LabelInfo(header=header, class_map=classes, threshold=threshold)


def detections(
    regions: Sequence[Region], vocabulary: Vocabulary, header: Header
) -> 'Detection2DArray':
    """Return the boxes of regions, each with the id of its class as text and its mean score."""
    ids = vocabulary.ids
    array = Detection2DArray(header=header)
    for region in regions:
        left, top, width, height = region.box
        found = ObjectHypothesisWithPose()
        found.hypothesis.class_id = str(ids[region.place])
        found.hypothesis.score = region.score
        box = BoundingBox2D(size_x=float(width), size_y=float(height))
        box.center.position.x = left + width / 2.0
        box.center.position.y = top + height / 2.0
        array.detections.append(Detection2D(header=header, results=[found], bbox=box))
    return array

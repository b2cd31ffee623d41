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
"""The message types of bags: those of ROS 2, and those that others have brought into use."""

from typing import Any, Final

from rosbags.typesys import get_types_from_msg, get_typestore, Stores
from zegclip_core.messages.image_encodings import COMPRESSED, IMAGE

STRING: Final = 'std_msgs/msg/String'
LABEL_INFO: Final = 'vision_msgs/msg/LabelInfo'
VISION_CLASS: Final = 'vision_msgs/msg/VisionClass'
VIDEO: Final = 'foxglove_msgs/msg/CompressedVideo'
PACKET: Final = 'ffmpeg_image_transport_msgs/msg/FFMPEGPacket'
IMAGES: Final = (IMAGE, COMPRESSED, VIDEO, PACKET)
"""Types of the topics that can be labelled."""

_DEFINITIONS = {
    VISION_CLASS: 'uint16 class_id\nstring class_name\n',
    LABEL_INFO: 'std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold\n',
    VIDEO: 'builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format\n',
    PACKET: 'std_msgs/Header header\nint32 width\nint32 height\nstring encoding\nuint64 pts\n'
    'uint8 flags\nbool is_bigendian\nuint8[] data\n',
}
# Nothing that stands in a bag gets into it: rosbags turns definitions into code.
TYPES: Any = get_typestore(Stores.LATEST)
"""The message types of ROS 2, with those that are written or read here."""
for _name, _text in _DEFINITIONS.items():
    TYPES.register(get_types_from_msg(_text, _name))


def header_of(message: Any) -> Any:  # noqa: ANN401 - rosbags makes its classes
    """Return the header of an image; of a ``CompressedVideo`` its stamp and frame as one."""
    if hasattr(message, 'header'):
        return message.header
    make = TYPES.types['std_msgs/msg/Header']
    return make(stamp=message.timestamp, frame_id=message.frame_id)

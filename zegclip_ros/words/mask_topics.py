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
"""The mask topics that words lead to."""

from collections.abc import Iterable

from rclpy.node import Node
from zegclip_core.errors import VocabularyError
from zegclip_core.messages.topic_names import topic_tokens
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_ros.camera_names import output_topic
from zegclip_ros.runtime.process import RCLError
from zegclip_ros.words.state import MaskTopics

LONGEST_TOPIC = 247
"""Characters of the longest topic name that ROS 2 takes."""


def mask_topics(
    node: Node, vocabulary: Vocabulary, cameras: Iterable[str], most: int
) -> MaskTopics:
    """Return where the masks of each camera go.

    Args:
        node: The node whose topics these are.
        vocabulary: The classes.
        cameras: Names of the cameras, ``''`` for the only one.
        most: How many classes, the first ones, have a mask topic.

    Raises:
        VocabularyError: If two classes have one topic name, or one has too long a one.
    """
    tokens = topic_tokens(vocabulary.names)
    return {
        camera: [
            _resolved(node, output_topic(camera, f'~/masks/{token}')) if place < most else None
            for place, token in enumerate(tokens)
        ]
        for camera in cameras
    }


def _resolved(node: Node, topic: str) -> str:
    """Return the full name of a topic."""
    try:
        return node.resolve_topic_name(topic)
    except RCLError:
        raise VocabularyError(
            f'Expected mask topics of at most {LONGEST_TOPIC} characters with the namespace, '
            f'but got {topic[:300]!r}.'
        ) from None

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
"""What a labelled bag has beside the recorded messages: the topics that the node publishes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
import json
import re
from typing import Any

from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from zegclip_core.bags.message_types import LABEL_INFO, STRING, TYPES, VISION_CLASS
from zegclip_core.errors import BagError
from zegclip_core.images.checks import RgbImage
from zegclip_core.images.drawing import draw_overlay
from zegclip_core.messages import outputs
from zegclip_core.messages.image_encodings import IMAGE
from zegclip_core.messages.topic_names import allowed_topics, TOKEN, topic_tokens
from zegclip_core.segmentation import Segmentation
from zegclip_core.text.vocabulary import Vocabulary

_NO_LIMIT = QosTime(9223372036, 854775807)
_EACH_FRAME = Qos(
    QosHistory.KEEP_LAST,
    1,
    QosReliability.RELIABLE,
    QosDurability.VOLATILE,
    _NO_LIMIT,
    _NO_LIMIT,
    QosLiveliness.AUTOMATIC,
    _NO_LIMIT,
    False,
)
_LATCHED = _EACH_FRAME._replace(depth=10, durability=QosDurability.TRANSIENT_LOCAL)


@dataclass(frozen=True)
class AddedTopics:
    """The topics that are added to a bag, and their messages.

    Attributes:
        vocabulary: The classes.
        prefix: What the names of the topics begin with.
        overlay: Whether to add the images tinted in class colours.
        confidence: Whether to add the scores.
        masks: Whether to add a mask for each class.

    Raises:
        BagError: If the prefix is no name that ROS allows.
        VocabularyError: If there are to be masks and two classes have one topic.
    """

    vocabulary: Vocabulary
    prefix: str = '/zegclip'
    overlay: bool = False
    confidence: bool = False
    masks: bool = False

    def __post_init__(self) -> None:
        """Check the names."""
        if not re.fullmatch(f'/?{TOKEN}(/{TOKEN})*', self.prefix):
            raise BagError(
                'Expected --prefix to be a topic name of letters, digits and _ between slashes, '
                f'but got {self.prefix!r}.'
            )
        _ = self._mask_topics

    def _topic(self, name: str) -> str:
        return f'/{self.prefix.strip("/")}/{name}'

    @cached_property
    def _mask_topics(self) -> list[str]:
        """The topic of each class's mask, in the order of the ids; empty without masks."""
        tokens = topic_tokens(self.vocabulary.names) if self.masks else ()
        return [self._topic(f'{outputs.MASKS}/{token}') for token in tokens]

    def for_cameras(self, cameras: Sequence[str]) -> 'dict[str, AddedTopics]':
        """Return what is added for each camera; of several, each has its topics below its name.

        A name that ROS does not allow, as other recorders have them, is spelled as it does.
        """
        if len(cameras) < 2:
            return dict.fromkeys(cameras, self)
        start, topics = f'/{self.prefix.strip("/")}', allowed_topics(cameras)
        return {one: replace(self, prefix=f'{start}{topics[one]}') for one in cameras}

    def topics(self) -> dict[str, tuple[str, Qos]]:
        """Return type and quality of service of each topic by its name, in a fixed order."""
        images = [outputs.LABEL_IMAGE]
        images += [outputs.OVERLAY] * self.overlay + [outputs.CONFIDENCE] * self.confidence
        return {
            self._topic(outputs.ACTIVE_VOCABULARY): (STRING, _LATCHED),
            self._topic(outputs.LABEL_INFO): (LABEL_INFO, _LATCHED),
            **dict.fromkeys([*map(self._topic, images), *self._mask_topics], (IMAGE, _EACH_FRAME)),
        }

    def for_vocabulary(
        self,
        header: Any,  # noqa: ANN401 - rosbags makes its classes
        threshold: float,
    ) -> Iterator[tuple[str, Any]]:
        """Yield topic and message of what says which classes the ids stand for.

        They come before the first labels, as the node publishes them at its first frame.

        Args:
            header: That of the first labelled image.
            threshold: Least score of a labelled pixel, in [0, 1], for classes without their own.
        """
        content = outputs.announcement(
            self.vocabulary,
            self._mask_topics or [None] * len(self.vocabulary),
            version=1,
            stamp={'sec': int(header.stamp.sec), 'nanosec': int(header.stamp.nanosec)},
            requested=1,
        )
        text = json.dumps(content, ensure_ascii=False)
        yield self._topic(outputs.ACTIVE_VOCABULARY), TYPES.types[STRING](data=text)
        make_class = TYPES.types[VISION_CLASS]
        classes = [make_class(**fields) for fields in outputs.class_map(self.vocabulary)]
        info = TYPES.types[LABEL_INFO](header=header, class_map=classes, threshold=threshold)
        yield self._topic(outputs.LABEL_INFO), info

    def for_frame(
        self,
        header: Any,  # noqa: ANN401
        segmentation: Segmentation,
        image: RgbImage | None,
    ) -> Iterator[tuple[str, Any]]:
        """Yield topic and message of what is added for a frame.

        Args:
            header: That of the recorded image, which every message gets.
            segmentation: Labels and, for the confidence, scores.
            image: RGB, uint8 ``(H, W, 3)``; needed for the overlay only.
        """
        labels = segmentation.labels
        fields = {self._topic(outputs.LABEL_IMAGE): outputs.label_fields(segmentation.ids)}
        if self.overlay and image is not None:
            overlay = draw_overlay(image, segmentation)
            fields[self._topic(outputs.OVERLAY)] = outputs.rgb_fields(overlay)
        if self.confidence:
            scores = outputs.score_fields(segmentation.scores)
            fields[self._topic(outputs.CONFIDENCE)] = scores
        # One mask at a time: a thousand of them are a few gigabytes.
        masks = (
            (topic, outputs.mask_fields(labels == place))
            for place, topic in enumerate(self._mask_topics)
        )
        for topic, values in chain(fields.items(), masks):
            yield topic, TYPES.types[IMAGE](header=header, **values._asdict())

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
"""The messages that a labelled bag has beside the recorded ones, as the node publishes them."""

from collections.abc import Iterator
from dataclasses import dataclass
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
from rosbags.typesys import get_types_from_msg, get_typestore, Stores
from zegclip_core.errors import BagError
from zegclip_core.images.checks import RgbImage
from zegclip_core.images.drawing import draw_overlay
from zegclip_core.messages.image_encodings import IMAGE
from zegclip_core.messages.outputs import (
    announcement,
    class_map,
    ImageFields,
    label_fields,
    mask_fields,
    rgb_fields,
    score_fields,
)
from zegclip_core.messages.topic_names import topic_tokens
from zegclip_core.segmentation import Segmentation
from zegclip_core.text.vocabulary import Vocabulary

STRING = 'std_msgs/msg/String'
LABEL_INFO = 'vision_msgs/msg/LabelInfo'

_LABEL_INFO = """\
std_msgs/Header header
vision_msgs/VisionClass[] class_map
float32 threshold
"""
_VISION_CLASS = """\
uint16 class_id
string class_name
"""
_NAME = re.compile(r'/?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*')


def _types() -> Any:  # noqa: ANN401 - rosbags makes its classes
    """Return the message types of ROS 2, with those of vision_msgs that are written here.

    Nothing that stands in a bag gets into it: rosbags turns definitions into code.
    """
    types = get_typestore(Stores.LATEST)
    types.register(
        {
            **get_types_from_msg(_VISION_CLASS, 'vision_msgs/msg/VisionClass'),
            **get_types_from_msg(_LABEL_INFO, LABEL_INFO),
        }
    )
    return types


TYPES = _types()


def _qos(depth: int, durability: QosDurability) -> Qos:
    """Return a reliable offer without time limits."""
    never = QosTime(9223372036, 854775807)
    return Qos(
        QosHistory.KEEP_LAST,
        depth,
        QosReliability.RELIABLE,
        durability,
        never,
        never,
        QosLiveliness.AUTOMATIC,
        never,
        False,
    )


EACH_FRAME = _qos(1, QosDurability.VOLATILE)
LATCHED = _qos(10, QosDurability.TRANSIENT_LOCAL)


@dataclass(frozen=True)
class Output:
    """A message that is added, or the topic for such messages.

    Attributes:
        topic: Full name.
        kind: Type.
        qos: Offered quality of service.
        message: The message; ``None`` for the topic alone.
    """

    topic: str
    kind: str
    qos: Qos
    message: Any = None


@dataclass(frozen=True)
class Outputs:
    """Which topics are added, and what goes there.

    Attributes:
        vocabulary: The classes.
        prefix: What their names begin with.
        overlay: Whether the images in class colours are among them.
        confidence: Whether the scores are.
        masks: Whether a mask for each class is.

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
        if not _NAME.fullmatch(self.prefix):
            raise BagError(
                'Expected --prefix to be a topic name of letters, digits and _ between slashes, '
                f'but got {self.prefix!r}.'
            )
        self._mask_topics()

    def _topic(self, name: str) -> str:
        return f'/{self.prefix.strip("/")}/{name}'

    def _mask_topics(self) -> list[str | None]:
        """Return the topic of each class's mask."""
        if not self.masks:
            return [None] * len(self.vocabulary)
        return [self._topic(f'masks/{token}') for token in topic_tokens(self.vocabulary.names)]

    def topics(self) -> list[Output]:
        """Return the topics that are added, in a fixed order."""
        images = ['label_image']
        images += [name for name in ('overlay', 'confidence') if getattr(self, name)]
        names = [self._topic(name) for name in images]
        names += [topic for topic in self._mask_topics() if topic is not None]
        return [
            Output(self._topic('active_vocabulary'), STRING, LATCHED),
            Output(self._topic('label_info'), LABEL_INFO, LATCHED),
            *(Output(name, IMAGE, EACH_FRAME) for name in names),
        ]

    def for_vocabulary(self, header: Any, threshold: float) -> Iterator[Output]:  # noqa: ANN401
        """Yield what says which classes the ids stand for; it comes before the first labels.

        Args:
            header: That of the first labelled image.
            threshold: Least score of a labelled pixel of classes without one of their own.
        """
        # What the node would say on its topic at its first frame.
        stamp = {'sec': int(header.stamp.sec), 'nanosec': int(header.stamp.nanosec)}
        content = announcement(
            self.vocabulary, self._mask_topics(), version=1, stamp=stamp, requested=1
        )
        text = json.dumps(content, ensure_ascii=False)
        string = TYPES.types[STRING](data=text)
        yield Output(self._topic('active_vocabulary'), STRING, LATCHED, string)
        make_class = TYPES.types['vision_msgs/msg/VisionClass']
        classes = [make_class(**fields) for fields in class_map(self.vocabulary.names)]
        info = TYPES.types[LABEL_INFO](header=header, class_map=classes, threshold=threshold)
        yield Output(self._topic('label_info'), LABEL_INFO, LATCHED, info)

    def for_frame(
        self,
        header: Any,  # noqa: ANN401
        segmentation: Segmentation,
        image: RgbImage | None,
    ) -> Iterator[Output]:
        """Yield what is added for a frame, with the header of its image.

        Args:
            header: That of the image.
            segmentation: Its labels and, for the confidence, scores.
            image: Its pixels, needed for the overlay.
        """
        yield self._image('label_image', header, label_fields(segmentation.labels))
        if self.overlay and image is not None:
            yield self._image('overlay', header, rgb_fields(draw_overlay(image, segmentation)))
        if self.confidence:
            yield self._image('confidence', header, score_fields(segmentation.scores))
        for place, topic in enumerate(self._mask_topics()):
            if topic is not None:
                fields = mask_fields(segmentation.labels == place)
                yield Output(topic, IMAGE, EACH_FRAME, image_message(fields, header))

    def _image(self, name: str, header: Any, fields: ImageFields) -> Output:  # noqa: ANN401
        return Output(self._topic(name), IMAGE, EACH_FRAME, image_message(fields, header))


def image_message(fields: ImageFields, header: Any) -> Any:  # noqa: ANN401
    """Build an image message of rosbags with a header that is kept as it is."""
    return TYPES.types[IMAGE](header=header, **fields._asdict())

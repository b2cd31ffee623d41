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
"""A frame with its labels, and the message of each output that is made of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
import json
from typing import Any, Literal, TypeAlias

import numpy.typing as npt
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from std_msgs.msg import Header, String
from zegclip_core.geometry import DepthView
from zegclip_core.images.checks import RgbImage
from zegclip_core.images.drawing import draw_overlay
from zegclip_core.images.regions import draw_regions, find_regions, Region
from zegclip_core.messages.outputs import (
    CONFIDENCE,
    DETECTIONS,
    label_fields,
    LABEL_IMAGE,
    mask_fields,
    OVERLAY,
    POINTS,
    region_list,
    REGIONS,
    score_fields,
    ScoreEncoding,
)
from zegclip_core.messages.point_cloud import cloud_fields, PointColor
from zegclip_core.segmentation import sampled, Segmentation
from zegclip_ros.conversions import cloud_message, image_message, rgb_to_image, rgb_to_jpeg
from zegclip_ros.frames import vision_messages
from zegclip_ros.parameters import NodeParameters

Message: TypeAlias = Any
"""A message of any type that an output has."""


@dataclass
class OutputStyle:
    """How outputs are made; may change between two frames. The fields are parameters."""

    overlay_alpha: float
    overlay_regions: bool
    jpeg_quality: int
    confidence_encoding: ScoreEncoding
    label_info_every_image: bool
    min_area: int
    output_size: str
    points_organised: bool
    points_color: PointColor
    depth_tolerance: float

    @classmethod
    def of(cls, parameters: NodeParameters) -> 'OutputStyle':
        """Return what the parameters say."""
        return cls(**{each.name: getattr(parameters, each.name) for each in fields(cls)})

    def take(self, parameters: NodeParameters) -> None:
        """Take over what the parameters say now."""
        vars(self).update(vars(self.of(parameters)))


@dataclass
class LabelledFrame:
    """An RGB image, uint8 ``(H, W, 3)``, the header that every output carries, and the labels.

    Attributes:
        topics: Full name of the mask topic of each class, in their order; ``None`` for a class
            without a mask topic.
        size: Height and width of label image, confidence and masks; ``None`` if they are not
            known yet, and there are none of these.
        depth: The depth of the image's pixels; ``None`` if there is none.
    """

    rgb: RgbImage
    header: Header
    segmentation: Segmentation
    topics: Sequence[str | None]
    style: OutputStyle
    size: tuple[int, int] | None
    depth: DepthView | None = None

    @cached_property
    def overlay(self) -> RgbImage:
        """The image with the colours of its classes; drawn once for all subscribers."""
        drawn = draw_overlay(self.rgb, self.segmentation, alpha=self.style.overlay_alpha)
        if self.style.overlay_regions:
            drawn = draw_regions(drawn, self.regions, self.segmentation)
        return drawn

    @cached_property
    def regions(self) -> list[Region]:
        """The connected parts of each class, found once for all subscribers."""
        return find_regions(self.segmentation, self.style.min_area)

    def _sized(self, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return labels or scores in the size that was asked for."""
        return pixels if self.size is None else sampled(pixels, *self.size)

    def label_image(self) -> Image:
        """Return the class ids as a message."""
        return image_message(label_fields(self._sized(self.segmentation.ids)), self.header)

    def confidence(self) -> Image:
        """Return the scores as a message."""
        scores = self._sized(self.segmentation.scores)
        return image_message(score_fields(scores, self.style.confidence_encoding), self.header)

    def mask(self, place: int) -> Image:
        """Return the mask of the class at this place as a message."""
        labels = self._sized(self.segmentation.labels)
        return image_message(mask_fields(labels == place), self.header)

    def region_list(self) -> String:
        """Return the regions as JSON."""
        header = {
            'stamp': {'sec': self.header.stamp.sec, 'nanosec': self.header.stamp.nanosec},
            'frame_id': self.header.frame_id,
        }
        content = {'header': header, **region_list(self.regions, self.segmentation, self.depth)}
        return String(data=json.dumps(content, ensure_ascii=False))

    def points(self) -> PointCloud2:
        """Return a point with its class for each pixel whose depth is known."""
        if self.depth is None:
            raise ValueError('Expected a frame with depth.')
        style, found = self.style, self.segmentation
        fields = cloud_fields(
            self.depth,
            self.overlay if style.points_color == 'overlay' else self.rgb,
            found.ids,
            found.scores,
            organised=style.points_organised,
        )
        return cloud_message(fields, self.header)


@dataclass(frozen=True)
class Renderer:
    """How an output is made.

    Attributes:
        kind: Type of its messages.
        render: Makes one of a frame.
        sized: Whether its size is that of the parameter ``output_size``.
        scored: Whether it needs the scores.
        depth: Whether it says more with depth, or nothing without.
    """

    kind: type
    render: Callable[[LabelledFrame], Message]
    sized: bool = False
    scored: Callable[[OutputStyle], bool] = lambda _: False
    depth: Literal['', 'used', 'needed'] = ''


def _always(_: OutputStyle) -> bool:
    return True


def _with_regions(style: OutputStyle) -> bool:
    return style.overlay_regions


RENDERERS: dict[str, Renderer] = {
    LABEL_IMAGE: Renderer(Image, LabelledFrame.label_image, sized=True),
    CONFIDENCE: Renderer(Image, LabelledFrame.confidence, sized=True, scored=_always),
    OVERLAY: Renderer(
        Image, lambda one: rgb_to_image(one.overlay, one.header), scored=_with_regions
    ),
    f'{OVERLAY}/compressed': Renderer(
        CompressedImage,
        lambda one: rgb_to_jpeg(one.overlay, one.header, one.style.jpeg_quality),
        scored=_with_regions,
    ),
    REGIONS: Renderer(String, LabelledFrame.region_list, scored=_always, depth='used'),
    POINTS: Renderer(PointCloud2, LabelledFrame.points, scored=_always, depth='needed'),
}
"""By output, how it is made."""
if vision_messages.INSTALLED:
    RENDERERS[DETECTIONS] = Renderer(
        vision_messages.DETECTIONS,
        lambda one: vision_messages.detections(
            one.regions, one.segmentation.vocabulary, one.header
        ),
        scored=_always,
    )

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
"""How parameters are declared, and those of the segmentation node."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
import re
from typing import Any, Literal, TypeAlias

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from zegclip_core.errors import ConfigError, shortened, VocabularyError
from zegclip_core.messages.outputs import SCORE_ENCODINGS, ScoreEncoding
from zegclip_core.messages.point_cloud import POINT_COLORS, PointColor
from zegclip_core.messages.topic_names import check_cameras, MAX_CAMERAS
from zegclip_core.options import (
    MAX_CLASSES,
    Option,
    option,
    OPTIONS,
    options_of,
    SegmenterOptions,
)
from zegclip_core.segmentation import NARROW
from zegclip_core.text.colors import PALETTE_NAMES
from zegclip_core.text.negatives import clean_negatives, NONE
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_core.weights.names import DEFAULT_MODEL
from zegclip_ros.runtime.arguments import near_misses


@dataclass(frozen=True)
class Declaration:
    """One parameter as it is declared.

    Attributes:
        description: What it does, as ``ros2 param describe`` shows it.
        constraints: Allowed values in words, where a range cannot say it.
        bounds: Least and greatest value of a number.
        choices: The allowed words, if only some are.
        change: When it may be changed: ``never`` once the node runs, ``at once``, with an effect
            at once, or while the node is ``unconfigured``, for what is read in ``configure``.
        any_type: Whether values of other types than the default's may be given.
        check: Raises a ``ValueError`` for a value that all of this allows and that is wrong.
    """

    name: str
    default: Any
    description: str
    constraints: str = ''
    bounds: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    change: Literal['never', 'at once', 'unconfigured'] = 'never'
    any_type: bool = False
    check: Callable[[Any], object] | None = None

    @property
    def descriptor(self) -> ParameterDescriptor:
        """The declaration as ROS 2 takes it."""
        descriptor = ParameterDescriptor(
            description=self.description,
            additional_constraints=self.constraints or ', '.join(self.choices),
            read_only=self.change == 'never',
            dynamic_typing=self.any_type,
        )
        if self.bounds is not None and isinstance(self.default, float):
            low, high = self.bounds
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
        elif self.bounds is not None:
            low, high = (int(bound) for bound in self.bounds)
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
        return descriptor

    def validate(self, value: Any) -> None:  # noqa: ANN401 - any type that ROS has
        """Raise a ``ValueError`` for what ROS takes and is wrong: out of range by a hair."""
        if self.choices and value not in self.choices:
            known = ', '.join(self.choices)
            raise ValueError(
                f'Expected the parameter {self.name} to be one of {known}, but got {value!r}.'
            )
        if self.bounds is not None and not self.bounds[0] <= value <= self.bounds[1]:
            low, high = self.bounds
            raise ValueError(
                f'Expected the parameter {self.name} to be in [{low:g}, {high:g}], '
                f'but got {value!r}.'
            )
        if self.check is not None:
            self.check(value)


def declare(node: Node, declarations: Sequence[Declaration]) -> dict[str, Any]:
    """Declare parameters on a node and return their values by name.

    Raises:
        ParameterException: If a value has the wrong type or is out of its range.
        ValueError: If it is none of the choices or out of its range, or a parameter is given whose
            name is nearly one of these.
    """
    values = {}
    for one in declarations:
        values[one.name] = node.declare_parameter(one.name, one.default, one.descriptor).value
        one.validate(values[one.name])
    for name, meant in near_misses(node, tuple(values)).items():
        raise ConfigError(f'Expected a known parameter, but got {name!r}; is {meant} meant?')
    return values


def descriptions(declarations: Sequence[Declaration]) -> dict[str, str]:
    """Return the descriptions of parameters by name, for the help of a node."""
    return {one.name: one.description for one in declarations}


def given(values: Sequence[str] | None) -> tuple[str, ...]:
    """Return the words of a list; ROS has no empty list of strings, but for one of ''."""
    return tuple(value.strip() for value in values or () if value.strip())


def camera_names(values: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the cameras, ``''`` for the only one."""
    return given(values) or ('',)


def from_ros(known: Option, value: Any) -> Any:  # noqa: ANN401 - any type that ROS has
    """Return a segmenter's option as a parameter's value says it.

    Raises:
        VocabularyError: If it is a list of words that cannot be used.
    """
    if known.words:
        words, unset = given(value), known.ros_unset
        if len(words) > 1 and {unset, NONE} & set(words):
            raise VocabularyError(
                f'Expected the parameter {known.name} to be words, or {unset} or {NONE} alone, '
                f'but got {shortened(", ".join(words), 100)!r}.'
            )
        if words == (unset,):
            return None
        return () if words == (NONE,) else clean_negatives(words)
    if known.default is None and known.bounds is not None:
        return None if value < known.bounds[0] else value
    return None if known.default is None and value == known.ros_unset else value


OutputSize: TypeAlias = Literal['camera', 'cloud'] | tuple[int, int]
"""The size of label images: the camera's, that of the clouds, or a width and height of its own."""
MAX_SIDE = 8192
"""Longest side of a label image that the node enlarges."""


def output_size(text: str) -> OutputSize:
    """Return the size that the parameter ``output_size`` asks for.

    Raises:
        ValueError: If it is none.
    """
    if text == 'camera':
        return 'camera'
    if text == 'cloud':
        return 'cloud'
    sides = re.fullmatch('([1-9][0-9]{0,3})x([1-9][0-9]{0,3})', text)
    width, height = map(int, sides.groups()) if sides else (0, 0)
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise ValueError(
            'Expected the parameter output_size to be camera, cloud, or a width and height of at '
            f'most {MAX_SIDE} such as 400x200, but got {shortened(text, 100)!r}.'
        )
    return width, height


EVERYDAY_WORDS = (
    *('person', 'cat', 'dog', 'chair', 'couch', 'dining table'),
    *('cup', 'bowl', 'bottle', 'laptop', 'book', 'car'),
)


@dataclass(frozen=True)
class NodeParameters:
    """The values of one moment; the fields but for ``options`` are the names of parameters.

    Attributes:
        options: What the parameters of the segmenter's options say.
    """

    autostart: bool = option(
        True,
        'whether the node configures and activates itself; else a lifecycle manager does',
        change='never',
    )
    model: str = option(
        DEFAULT_MODEL,
        'model to load: a bundled name, a checkpoint or exported file, NAME/TAG or NAME@FILE for '
        'CLIP without training, or CHECKPOINT+NAME@FILE',
    )
    options: SegmenterOptions = SegmenterOptions()
    class_names: Sequence[str] | None = option(
        EVERYDAY_WORDS,
        'words to look for; at the start there may be none. The topic vocabulary says more',
        constraints=f'at most {MAX_CLASSES} distinct names',
        change='at once',
    )
    vocabulary_file: str = option(
        '',
        'file with the words to begin with, in any form the topic vocabulary takes; goes before '
        'class_names',
        change='never',
    )
    cameras: Sequence[str] | None = option(
        ('',),
        'names of several cameras, labelled together: NAME/image in place of image, and so on. '
        'Empty: one camera',
        constraints=f'at most {MAX_CAMERAS} distinct names',
        ros_check=lambda names: check_cameras(given(names), 'the parameter cameras'),
    )
    image_transport: str = option(
        'raw',
        'what the camera sends: raw on image, or compressed on image/compressed',
        choices=('raw', 'compressed'),
    )
    image_reliability: str = option(
        'auto',
        'reliability asked of the camera; auto matches what the camera offers',
        choices=('auto', 'system_default', 'reliable', 'best_effort'),
        change='at once',
    )
    output_size: str = option(
        'camera',
        'size of label image, confidence and masks: that of the images, that of the clouds on the '
        'topic cloud, or a width and height',
        constraints='camera, cloud, or such as 400x200',
        ros_check=output_size,
        change='at once',
    )
    confidence_encoding: ScoreEncoding = option(
        '32FC1',
        'how scores are published: 32FC1 as they are, mono8 as 0 to 255',
        choices=SCORE_ENCODINGS,
        change='at once',
    )
    stable_ids: bool = option(
        False,
        'whether words keep their ids while others come and go; allows fewer classes than 255',
        change='at once',
    )
    label_info_every_image: bool = option(
        False,
        'whether label_info comes with each image, not only when the words change',
        change='at once',
    )
    min_area: int = option(
        100,
        'least size of a region [pixels]',
        bounds=(1, 100_000),
        change='at once',
    )
    depth_tolerance: float = option(
        0.02,
        'greatest distance of the stamps of an image and its depth [s]',
        bounds=(0.0, 1.0),
        change='at once',
    )
    points_organised: bool = option(
        False,
        'whether points stand in rows as the pixels do, with NaN where depth is not known; else '
        'those are left out',
        change='at once',
    )
    points_color: PointColor = option(
        'image',
        "colours of points: the image's, or the overlay's",
        choices=POINT_COLORS,
        change='at once',
    )
    lazy: bool = option(
        True,
        'whether to subscribe to the camera only while somebody subscribes to an output',
        change='at once',
    )
    overlay_alpha: float = option(
        0.5,
        'how much of the overlay is colour: 0 shows the photo alone, 1 the colours alone',
        bounds=(0.0, 1.0),
        change='at once',
    )
    overlay_palette: str = option(
        'by_name',
        'colours of classes without one of their own: by their names, or by their places',
        choices=PALETTE_NAMES,
        change='at once',
    )
    overlay_regions: bool = option(
        False, 'whether the overlay shows the boxes of the regions', change='at once'
    )
    jpeg_quality: int = option(
        90, 'quality of the compressed overlay', bounds=(1, 100), change='at once'
    )
    max_mask_topics: int = option(
        NARROW, 'how many classes, the first ones, have a mask topic', bounds=(0, MAX_CLASSES)
    )
    min_rate: float = option(
        0.0,
        'output rate under which diagnostics warn [Hz]; 0 never warns',
        bounds=(0.0, 1000.0),
        change='at once',
    )

    @classmethod
    def declare(cls, node: Node) -> 'NodeParameters':
        """Declare the parameters on a node, as ``declare`` does, and return their values."""
        return cls.from_values(declare(node, DECLARATIONS))

    @classmethod
    def read(cls, node: Node) -> 'NodeParameters':
        """Return the present values of a node's parameters."""
        return cls.from_values({name: node.get_parameter_or(name).value for name in BY_NAME})

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> 'NodeParameters':
        """Return the values of all parameters, given by name."""
        own = {name: values[name] for name in options_of(cls)}
        options = {
            name: from_ros(known, values[name])
            for name, known in OPTIONS.items()
            if known.parameter
        }
        return cls(**own, options=SegmenterOptions(**options))

    @property
    def camera_names(self) -> tuple[str, ...]:
        """The names of the cameras, ``''`` for the only one."""
        return camera_names(self.cameras)

    def vocabulary(self) -> Vocabulary | None:
        """Return the words to begin with, ``None`` if there are none yet."""
        if self.vocabulary_file:
            return Vocabulary.from_file(self.vocabulary_file)
        names = given(self.class_names)
        return Vocabulary.from_list(names) if names else None


def declaration(known: Option) -> Declaration:
    """Return an option as it is declared as a parameter."""
    default = known.ros_unset if known.default is None else known.default
    if known.words:
        default = (default,)
    bounds, choices = known.bounds, known.choices
    if known.default is None and bounds is not None:
        bounds = (default, bounds[1])
    elif known.default is None and choices:
        choices = (default, *choices)
    return Declaration(
        known.name,
        list(default) if isinstance(default, tuple) else default,
        f'{known.description[0].upper()}{known.description[1:]}{known.ros_note}.',
        constraints=known.constraints,
        bounds=bounds,
        choices=choices,
        change=known.change,
        check=(lambda value: from_ros(known, value)) if known.words else known.ros_check,
    )


def _options() -> Iterator[Option]:
    """Yield the options behind all parameters, the segmenter's at the place of ``options``."""
    own = options_of(NodeParameters)
    for each in fields(NodeParameters):
        if each.name == 'options':
            yield from (known for known in OPTIONS.values() if known.parameter)
        else:
            yield own[each.name]


DECLARATIONS = tuple(map(declaration, _options()))
BY_NAME: Mapping[str, Declaration] = {one.name: one for one in DECLARATIONS}

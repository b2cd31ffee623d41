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
"""Parameters of the segmentation node: those of the segmenter, and the node's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from rclpy.exceptions import ParameterUninitializedException
from rclpy.node import Node
from zegclip_core.errors import VocabularyError
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
from zegclip_ros.camera_names import check_cameras, MAX_CAMERAS
from zegclip_ros.runtime.declaration import Declaration, declare
from zegclip_ros.runtime.rejections import shortened


def given(values: Sequence[str] | None) -> tuple[str, ...]:
    """Return the words of a list; ROS has no empty list of strings, but for one of ''."""
    return tuple(value.strip() for value in values or () if value.strip())


def camera_names(values: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the cameras, ``''`` for the only one."""
    return given(values) or ('',)


def from_ros(known: Option, value: Any) -> Any:  # noqa: ANN401 - any type that ROS has
    """Return a segmenter's option as a parameter says it.

    Args:
        known: The option.
        value: The parameter's value.

    Raises:
        VocabularyError: If it is a list of words that cannot be used.
    """
    if known.words:
        return _words(known, given(value))
    if known.default is None and known.bounds is not None:
        return None if value < known.bounds[0] else value
    return None if known.default is None and value == known.ros_unset else value


def _words(known: Option, words: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the words of an option, ``None`` for the model's own."""
    unset = known.ros_unset
    if len(words) > 1 and {unset, NONE} & set(words):
        raise VocabularyError(
            f'Expected the parameter {known.name} to be words, or {unset} or {NONE} alone, '
            f'but got {shortened(", ".join(words), 100)!r}.'
        )
    if words == (unset,):
        return None
    return () if words == (NONE,) else clean_negatives(words)


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
        (
            'person',
            'cat',
            'dog',
            'chair',
            'couch',
            'dining table',
            'cup',
            'bowl',
            'bottle',
            'laptop',
            'book',
            'car',
        ),
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
        'colours of classes without one of their own: by their names, or by their ids',
        choices=PALETTE_NAMES,
        change='at once',
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
        """Declare the parameters on a node and return their values.

        Raises:
            ParameterException: If a value has the wrong type or is out of its range.
            ValueError: If it is none of the allowed words or out of its range.
        """
        return cls.from_values(declare(node, DECLARATIONS))

    @classmethod
    def read(cls, node: Node) -> 'NodeParameters':
        """Return the present values of a node's parameters."""
        return cls.from_values({name: value_of(node, name) for name in BY_NAME})

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
        """Return the words to begin with, ``None`` if there are none yet.

        Raises:
            VocabularyError: If they cannot be used.
        """
        if self.vocabulary_file:
            return Vocabulary.from_file(self.vocabulary_file)
        names = given(self.class_names)
        return Vocabulary.from_words(names) if names else None


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


def _declarations() -> tuple[Declaration, ...]:
    """Return all parameters, those of the segmenter's options at the place of ``options``."""
    own, every = options_of(NodeParameters), []
    for each in fields(NodeParameters):
        if each.name == 'options':
            every += [known for known in OPTIONS.values() if known.parameter]
        else:
            every.append(own[each.name])
    return tuple(declaration(known) for known in every)


DECLARATIONS = _declarations()
BY_NAME: Mapping[str, Declaration] = {one.name: one for one in DECLARATIONS}


def value_of(node: Node, name: str) -> Any:  # noqa: ANN401 - any type that ROS has
    """Return the present value of a parameter, ``None`` for one such as an empty list."""
    try:
        return node.get_parameter(name).value
    except ParameterUninitializedException:
        return None

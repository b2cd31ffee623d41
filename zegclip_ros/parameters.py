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
"""Parameters of the segmentation node: names, defaults, descriptions; the only place of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rclpy.exceptions import ParameterUninitializedException
from rclpy.node import Node
from zegclip_core.engines.choice import BACKENDS
from zegclip_core.errors import VocabularyError
from zegclip_core.segmentation import NARROW
from zegclip_core.text.colors import PALETTE_NAMES
from zegclip_core.text.negatives import clean_negatives, NONE
from zegclip_core.text.templates import template_names
from zegclip_core.text.vocabulary import MAX_CLASSES, Vocabulary
from zegclip_ros.camera_names import check_cameras, MAX_CAMERAS
from zegclip_ros.runtime.declaration import Declaration, declare
from zegclip_ros.runtime.rejections import shortened

AUTO = 'auto'
"""Leaves a choice to the model."""


def given(values: Sequence[str] | None) -> tuple[str, ...]:
    """Return the words of a list; ROS has no empty list of strings, but for one of ''."""
    return tuple(value.strip() for value in values or () if value.strip())


def negatives_of(values: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return negative words, ``None`` for the model's own.

    Raises:
        VocabularyError: If one cannot be used or there are too many.
    """
    words = given(values)
    if len(words) > 1 and {AUTO, NONE} & set(words):
        raise VocabularyError(
            f'Expected the parameter negatives to be words, or {AUTO} or {NONE} alone, '
            f'but got {shortened(", ".join(words), 100)!r}.'
        )
    if words == (AUTO,):
        return None
    return () if words == (NONE,) else clean_negatives(words)


def camera_names(values: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the cameras, ``''`` for the only one."""
    return given(values) or ('',)


DECLARATIONS = (
    Declaration(
        'autostart',
        True,
        'Whether the node configures and activates itself; else a lifecycle manager does.',
    ),
    Declaration(
        'model',
        'everyday-s',
        'Model to load: a bundled name, a checkpoint or exported file, NAME/TAG or NAME@FILE for '
        'CLIP without training, or CHECKPOINT+NAME@FILE.',
        change='unconfigured',
    ),
    Declaration(
        'backend',
        'auto',
        'What runs the model: onnxruntime for one that zegclip export wrote, else torch.',
        choices=BACKENDS,
        change='unconfigured',
    ),
    Declaration(
        'device',
        'auto',
        'Where the model runs: auto, cpu, cuda or cuda:N; tensorrt for an exported model.',
        change='unconfigured',
    ),
    Declaration(
        'precision',
        'auto',
        'Number format of the model: auto takes what is fast on the device.',
        choices=('auto', 'fp32', 'bf16', 'fp16'),
        change='unconfigured',
    ),
    Declaration(
        'short_side',
        0,
        "Shorter side, in pixels, that a frame is scaled to for the model; 0 is the model's own.",
        bounds=(0, 2048),
        change='unconfigured',
    ),
    Declaration(
        'attention',
        AUTO,
        'How the last block of CLIP without training attends; auto for naclip, and for other '
        'models.',
        choices=(AUTO, 'naclip', 'key_key', 'sclip', 'maskclip', 'clip'),
        change='unconfigured',
    ),
    Declaration(
        'templates',
        AUTO,
        "What words are put into; more take longer. Auto for the model's own.",
        choices=(AUTO, *template_names()),
        change='unconfigured',
    ),
    Declaration(
        'candidates',
        0,
        'Of more words than these, only so many are drawn in each image, those that it shows '
        'most; 0 for all.',
        bounds=(0, MAX_CLASSES),
        change='unconfigured',
    ),
    Declaration(
        'threads',
        0,
        'Threads that the model computes with on a CPU, in the whole process; 0 for as many as '
        'PyTorch chooses.',
        bounds=(0, 256),
    ),
    Declaration(
        'class_names',
        [
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
        ],
        'Words to look for; at the start there may be none. The topic vocabulary says more.',
        f'at most {MAX_CLASSES} distinct names',
        change='at once',
    ),
    Declaration(
        'vocabulary_file',
        '',
        'File with the words to begin with, in any form the topic vocabulary takes; goes before '
        'class_names.',
    ),
    Declaration(
        'threshold',
        -1.0,
        'Least score of a labelled pixel, for classes without one of their own; below 0 the '
        "model's own.",
        bounds=(-1.0, 1.0),
        change='at once',
    ),
    Declaration(
        'negatives',
        [AUTO],
        'Words that compete and whose pixels stay unlabelled, such as wall; none for no word, '
        "auto for the model's own.",
        f'at most {MAX_CLASSES} words, or auto, or none',
        change='at once',
        check=negatives_of,
    ),
    Declaration(
        'cameras',
        [''],
        'Names of several cameras, labelled together: NAME/image in place of image, and so on. '
        'Empty: one camera.',
        f'at most {MAX_CAMERAS} distinct names',
        change='unconfigured',
        check=lambda names: check_cameras(given(names), 'the parameter cameras'),
    ),
    Declaration(
        'image_transport',
        'raw',
        'What the camera sends: raw on image, or compressed on image/compressed.',
        choices=('raw', 'compressed'),
        change='unconfigured',
    ),
    Declaration(
        'image_reliability',
        'auto',
        'Reliability asked of the camera; auto matches what the camera offers.',
        choices=('auto', 'system_default', 'reliable', 'best_effort'),
        change='at once',
    ),
    Declaration(
        'lazy',
        True,
        'Whether to subscribe to the camera only while somebody subscribes to an output.',
        change='at once',
    ),
    Declaration(
        'overlay_alpha',
        0.5,
        'How much of the overlay is colour: 0 shows the photo alone, 1 the colours alone.',
        bounds=(0.0, 1.0),
        change='at once',
    ),
    Declaration(
        'overlay_palette',
        'by_name',
        'Colours of classes without one of their own: by their names, or by their ids.',
        choices=PALETTE_NAMES,
        change='at once',
    ),
    Declaration(
        'jpeg_quality',
        90,
        'Quality of the compressed overlay.',
        bounds=(1, 100),
        change='at once',
    ),
    Declaration(
        'max_mask_topics',
        NARROW,
        'How many classes, the first ones, have a mask topic.',
        bounds=(0, MAX_CLASSES),
        change='unconfigured',
    ),
    Declaration(
        'min_rate',
        0.0,
        'Output rate under which diagnostics warn [Hz]; 0 never warns.',
        bounds=(0.0, 1000.0),
        change='at once',
    ),
)
BY_NAME: Mapping[str, Declaration] = {one.name: one for one in DECLARATIONS}


@dataclass(frozen=True)
class NodeParameters:
    """The values of one moment; the fields are the names of the parameters."""

    autostart: bool
    model: str
    backend: str
    device: str
    precision: str
    short_side: int
    attention: str
    templates: str
    candidates: int
    threads: int
    class_names: Sequence[str] | None
    vocabulary_file: str
    threshold: float
    negatives: Sequence[str] | None
    cameras: Sequence[str] | None
    image_transport: str
    image_reliability: str
    lazy: bool
    overlay_alpha: float
    overlay_palette: str
    jpeg_quality: int
    max_mask_topics: int
    min_rate: float

    @classmethod
    def declare(cls, node: Node) -> 'NodeParameters':
        """Declare the parameters on a node and return their values.

        Raises:
            ParameterException: If a value has the wrong type or is out of its range.
            ValueError: If it is none of the allowed words or out of its range.
        """
        return cls(**declare(node, DECLARATIONS))

    @classmethod
    def read(cls, node: Node) -> 'NodeParameters':
        """Return the present values of a node's parameters."""
        return cls(**{name: value_of(node, name) for name in BY_NAME})

    @property
    def camera_names(self) -> tuple[str, ...]:
        """The names of the cameras, ``''`` for the only one."""
        return camera_names(self.cameras)

    @property
    def chosen_threshold(self) -> float | None:
        """Least score of a labelled pixel; ``None`` for the model's own."""
        return None if self.threshold < 0.0 else self.threshold

    @property
    def chosen_negatives(self) -> tuple[str, ...] | None:
        """The negative words; ``None`` for the model's own."""
        return negatives_of(self.negatives)

    @property
    def chosen_attention(self) -> str | None:
        """How CLIP without training attends; ``None`` for its own way."""
        return None if self.attention == AUTO else self.attention

    @property
    def chosen_templates(self) -> str | None:
        """What words are put into; ``None`` for the model's own."""
        return None if self.templates == AUTO else self.templates

    def vocabulary(self) -> Vocabulary | None:
        """Return the words to begin with, ``None`` if there are none yet.

        Raises:
            VocabularyError: If they cannot be used.
        """
        if self.vocabulary_file:
            return Vocabulary.from_file(self.vocabulary_file)
        names = given(self.class_names)
        return Vocabulary.from_words(names) if names else None


def value_of(node: Node, name: str) -> Any:  # noqa: ANN401 - any type that ROS has
    """Return the present value of a parameter, ``None`` for one such as an empty list."""
    try:
        return node.get_parameter(name).value
    except ParameterUninitializedException:
        return None

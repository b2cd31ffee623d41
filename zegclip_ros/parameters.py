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

from collections.abc import Sequence
from dataclasses import dataclass

from rclpy.node import Node
from zegclip_core.vocabulary import Vocabulary
from zegclip_ros.declaration import Declaration, declare

DECLARATIONS = (
    Declaration(
        'model',
        'everyday-s',
        'Model to load: the name of a bundled one or the path of a checkpoint.',
    ),
    Declaration('device', 'auto', 'Where the model runs: auto, cpu, cuda or cuda:<number>.'),
    Declaration(
        'precision',
        'auto',
        'Number format of the model: auto takes what is fast on the device.',
        choices=('auto', 'fp32', 'bf16', 'fp16'),
    ),
    Declaration(
        'short_side',
        0,
        "Shorter side, in pixels, that a frame is scaled to for the model; 0 is the model's own.",
        bounds=(0, 2048),
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
        'Words to begin with, or none; the topic vocabulary changes them while the node runs.',
        'at most 254 distinct names',
    ),
    Declaration(
        'vocabulary_file',
        '',
        'File with the words to begin with, in any form the topic vocabulary takes; goes before '
        'class_names.',
    ),
    Declaration(
        'overlay_alpha',
        0.5,
        'How much of the overlay is colour: 0 shows the photo alone, 1 the colours alone.',
        bounds=(0.0, 1.0),
        live=True,
    ),
    Declaration(
        'image_reliability',
        'auto',
        'Reliability asked of the camera; auto matches what the camera offers.',
        choices=('auto', 'reliable', 'best_effort'),
    ),
)


@dataclass(frozen=True)
class NodeParameters:
    """The values that the node starts with; the fields are the names of the parameters."""

    model: str
    device: str
    precision: str
    short_side: int
    class_names: Sequence[str] | None
    vocabulary_file: str
    overlay_alpha: float
    image_reliability: str

    @classmethod
    def declare(cls, node: Node) -> 'NodeParameters':
        """Declare the parameters on a node and return their values.

        Raises:
            ParameterException: If a value has the wrong type or is out of its range.
            ValueError: If it is none of the allowed words.
        """
        return cls(**declare(node, DECLARATIONS))

    def vocabulary(self) -> Vocabulary | None:
        """Return the words to begin with, ``None`` if there are none yet.

        Raises:
            VocabularyError: If they cannot be used.
        """
        if self.vocabulary_file:
            return Vocabulary.from_file(self.vocabulary_file)
        names = [name for name in self.class_names or () if name.strip()]
        return Vocabulary.from_names(names) if names else None

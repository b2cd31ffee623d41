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
"""Every option of a segmenter, in one place, and the names and limits that go with them.

The command line, the parameters of the node, their pages and ``Segmenter.load`` derive from
``SegmenterOptions``: a new option is one entry there. This module imports neither torch nor NumPy,
so that help texts and ROS parameters are there at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from numbers import Integral, Real
import os
from pathlib import Path
from typing import Any, get_args, Literal

from zegclip_core.errors import ModelError

_CPU_LIMIT = Path('/sys/fs/cgroup/cpu.max')
"""What a container may have of the processors: microseconds of every so many, or ``max``."""
Attention = Literal['naclip', 'key_key', 'sclip', 'maskclip', 'clip']
"""How the last block of CLIP without training attends.

``naclip``: keys to keys, nearby patches with more weight, and without the block's residual and
feed-forward part (NACLIP).
``key_key``: the same without the weight of nearby patches.
``sclip``: queries to queries and keys to keys, the sum of both (SCLIP's correlative
self-attention).
``maskclip``: each token to itself alone, the value path of MaskCLIP.
``clip``: queries to keys, as CLIP was trained.
"""
Mode = Literal['whole', 'slide']
"""``whole`` looks at the image once, ``slide`` at overlapping square windows."""
EngineName = Literal['lean', 'plain']
"""``plain`` takes every step as the method describes it, ``lean`` gets the same labels faster."""

ATTENTIONS: tuple[Attention, ...] = get_args(Attention)
BACKENDS = ('auto', 'torch', 'openvino', 'onnxruntime')
PRECISIONS = ('auto', 'fp32', 'bf16', 'fp16', 'int8')
TEMPLATES = ('coco_stuff', 'everyday', 'imagenet', 'plain', 'single')
"""Names of the sets of prompt templates that ``zegclip_core.text.templates`` holds."""
MAX_CLASSES = 1024
"""Most classes of a vocabulary; from 255 on labels have 16 bits."""
MAX_SHORT_SIDE = 2048
"""Longest short side that an image is scaled to, in pixels."""
MAX_SHARP = 64
"""Most words whose edges are refined in an image; each has a map of the image's size."""
MAX_THREADS = 256
"""More than any machine's cores would only wait for each other."""
UNLABELLED = 255
"""Label of a pixel that is none of the classes, where labels have 8 bits; losses ignore it."""
MAX_ID = UNLABELLED - 1
"""Greatest id that a class can be given by name, so that label images keep to 8 bits."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option as it is shown to people and checked.

    Attributes:
        name: Name of the field, of the ROS parameter and, with ``-`` for ``_``, of the flag.
        default: Its value unless the user gives one.
        description: What it does: a phrase that begins small and has no full stop.
        unset: What the default ``None`` means, such as ``the model's``.
        bounds: Least and greatest value of a number, both integers or both floats.
        choices: The allowed words, if only some are.
        open_ended: Whether Python takes more than the choices, such as texts of one's own.
        words: Whether it is a list of words, which the word ``none`` empties.
        constraints: The allowed values in words, where neither bounds nor choices say it.
        metavar: What stands for the value in the help of the command line.
        flag: Whether each command that uses a model has a flag for it.
        exported: Whether an exported model follows it too.
        parameter: Whether the node has a parameter for it.
        ros_unset: The parameter's value that means ``None``, which ROS does not have.
        ros_note: What the parameter's description adds to this one.
        change: When the parameter may be changed: ``never`` once the node runs, ``at once``, with
            an effect at once, or while the node is ``unconfigured``.
        ros_check: Raises a ``ValueError`` for a parameter's value that all of this allows and
            that is wrong.
    """

    name: str = ''
    default: Any
    description: str
    unset: str = ''
    bounds: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    open_ended: bool = False
    words: bool = False
    constraints: str = ''
    metavar: str | None = None
    flag: bool = True
    exported: bool = False
    parameter: bool = True
    ros_unset: Any = None
    ros_note: str = ''
    change: Literal['never', 'at once', 'unconfigured'] = 'unconfigured'
    ros_check: Callable[[Any], object] | None = None

    @property
    def title(self) -> str:
        """The name as a text has it."""
        return self.name.replace('_', ' ')

    def check(self, value: Any) -> None:  # noqa: ANN401 - of any option
        """Refuse a value that is out of its range or none of the choices.

        Raises:
            ModelError: If it is; ``None`` never is where it is the default.
        """
        if value is None and self.default is None:
            return
        if isinstance(self.default, str) and not self.choices and not isinstance(value, str):
            raise ModelError(f'Expected the {self.title} to be a word, but got {value!r}.')
        if self.choices and not self.open_ended and value not in self.choices:
            article = 'an' if self.name[0] in 'aeiou' else 'a'
            raise ModelError(
                f'Expected {article} {self.title} of {", ".join(self.choices)}, but got {value!r}.'
            )
        if self.bounds is None:
            return
        low, high = self.bounds
        whole = isinstance(low, int)
        is_number = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
        if not (is_number and low <= value <= high):
            kind = 'an integer ' if whole and not is_number else ''
            raise ModelError(
                f'Expected the {self.title} to be {kind}in [{low:g}, {high:g}], but got {value}.'
            )


def option(default: Any, description: str, **known: Any) -> Any:  # noqa: ANN401 - as ``field``
    """Return a field of a dataclass that is an option; ``known`` are fields of ``Option``."""
    return field(
        default=default,
        metadata={'option': Option(default=default, description=description, **known)},
    )


def options_of(kind: type) -> dict[str, Option]:
    """Return the options among the fields of a dataclass, by name and in their order."""
    return {
        each.name: replace(each.metadata['option'], name=each.name)
        for each in fields(kind)
        if 'option' in each.metadata
    }


@dataclass(frozen=True)
class SegmenterOptions:
    """How a segmenter runs and which pixels it labels; each entry says what it means.

    Raises:
        ModelError: If a value is out of its range or none of the choices, or two of them do not
            fit together.
    """

    backend: str = option(
        'auto',
        'what runs the model: auto takes onnxruntime for one that zegclip export wrote, else '
        'torch; openvino is for CPUs',
        choices=BACKENDS,
        flag=False,
        exported=True,
    )
    device: str = option(
        'auto',
        'where the model runs: auto, cpu, cuda or cuda:N; tensorrt for an exported model',
        exported=True,
    )
    precision: str = option(
        'auto',
        'number format of the model: auto takes what is fast on the device; int8 needs openvino '
        'and a model that zegclip export calibrated',
        choices=PRECISIONS,
        exported=True,
    )
    short_side: int | None = option(
        None,
        'shorter side, in pixels, that an image is scaled to for the model',
        unset="the model's",
        bounds=(1, MAX_SHORT_SIDE),
        metavar='PIXELS',
        ros_unset=0,
        ros_note="; 0 is the model's own",
    )
    mode: Mode = option(
        'whole',
        'the whole image at once, or overlapping square windows',
        choices=get_args(Mode),
        flag=False,
        parameter=False,
    )
    engine: EngineName = option(
        'lean',
        'lean, or plain for every step as the method describes it, to compare with',
        choices=get_args(EngineName),
        flag=False,
        parameter=False,
    )
    attention: Attention | None = option(
        None,
        'how the last block of CLIP without training attends',
        unset="what its family's papers do",
        choices=ATTENTIONS,
        ros_unset='auto',
        ros_note="; auto for what its family's papers do, and for other models",
    )
    templates: str | Sequence[str] | None = option(
        None,
        'what words are put into; more take longer',
        unset="the model's",
        choices=TEMPLATES,
        open_ended=True,
        ros_unset='auto',
        ros_note=". Auto for the model's own",
    )
    candidates: int = option(
        0,
        'of more words than these, only so many are drawn in each image, those that it shows '
        'most; 0 for all',
        bounds=(0, MAX_CLASSES),
        metavar='N',
    )
    smoothing: float = option(
        0.0,
        'share of the frames before in the mean of mask logits that steadies the labels of a '
        'video; 0 for none',
        bounds=(0.0, 1.0),
        metavar='SHARE',
        flag=False,
        exported=True,
    )
    sharp_edges: int = option(
        0,
        "of how many words, those that win most of an image, outlines follow the image's own "
        'edges; 0 for none',
        bounds=(0, MAX_SHARP),
        metavar='N',
        exported=True,
    )
    threads: int | None = option(
        None,
        'threads that the model computes with on a CPU, in the whole process',
        unset='as many as PyTorch chooses',
        bounds=(1, MAX_THREADS),
        metavar='N',
        exported=True,
        ros_unset=0,
        ros_note='; 0 for as many as PyTorch chooses',
        change='never',
    )
    threshold: float | None = option(
        None,
        'least score of a labelled pixel, for classes without one of their own',
        unset="the model's",
        bounds=(0.0, 1.0),
        metavar='SCORE',
        exported=True,
        ros_unset=-1.0,
        ros_note="; below 0 the model's own",
        change='at once',
    )
    negatives: tuple[str, ...] | None = option(
        None,
        'words that compete and whose pixels stay unlabelled, such as wall; none for no word',
        unset="the model's",
        words=True,
        constraints=f'at most {MAX_CLASSES} words, or auto, or none',
        metavar='WORDS',
        exported=True,
        ros_unset='auto',
        ros_note=", auto for the model's own",
        change='at once',
    )

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        for name, each in options_of(type(self)).items():
            each.check(getattr(self, name))
        if self.candidates and self.engine == 'plain':
            raise ModelError(
                'Expected no candidates with the plain engine, which draws every word, '
                f'but got {self.candidates}.'
            )

    def check_exported(self) -> None:
        """Refuse settings that an exported model cannot follow.

        Raises:
            ModelError: If one of them differs from its default.
        """
        for name, each in options_of(type(self)).items():
            value = getattr(self, name)
            if not each.exported and value != each.default:
                raise ModelError(
                    'Expected an exported model to be used as it was exported, whole and at its '
                    f'own size (zegclip export --size), but got the {each.title} {value}.'
                )


OPTIONS = options_of(SegmenterOptions)
"""The options of a segmenter by name."""


def wait_without_spinning() -> None:
    """Let idle threads sleep instead of spinning, unless the user has said otherwise.

    To be called before PyTorch is imported.

    OpenMP's threads spin while they wait. Beside other busy processes, as on a robot, the one that
    they wait for then gets no core, and everything takes many times longer.
    """
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')


def processor_count() -> int:
    """Return how many processors this process may use: a batch system or container limits them."""
    count = len(os.sched_getaffinity(0))
    try:
        quota, period = map(int, _CPU_LIMIT.read_text(encoding='ascii').split())
    except (OSError, ValueError):  # Not in a container, or without a limit.
        return count
    return min(count, max(quota // period, 1))

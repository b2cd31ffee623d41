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
"""The names of models and of frozen towers: one grammar for Python, the command line and the node.

========================  ====================================================================
``everyday-s``            a model that comes with the package
``PATH``                  a file of a trained model: ``.safetensors``, ``.pth``, ``.pt``, or an
                          exported ``.onnx``
``NAME/TAG``              CLIP without training: a model of open_clip, or TIPSv2's, and the tag
                          of its weights
``NAME@FILE``             the same model with weights from a local file
``CHECKPOINT+NAME@FILE``  a trained model whose frozen CLIP lies in a file of its own
========================  ====================================================================

A name is read by its form and never by what lies on the disk, so that it means the same on every
machine. A path whose file name holds an ``@`` begins with ``./`` or is absolute.

References to frozen towers are the short strings that checkpoints and users name them by:

=================================  ===========================================================
``open_clip:NAME/TAG``             a model of open_clip and the tag of its weights
``open_clip:NAME/file:PATH``       the same model with weights from a local file
``tips:NAME/TAG``                  a model of TIPSv2 and the tag of its weights
``tips:NAME/file:PATH``            the same model with weights from a local file
``timm:NAME``                      a timm model with its own weights (``NAME`` may end in a tag)
``timm:NAME/file:PATH``            the same model with weights from a local file
``package:MODULE``                 a model folder inside an installed Python package
``package:MODULE/PATH``            a file or folder inside an installed Python package
=================================  ===========================================================
"""

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
import importlib.util
from pathlib import Path
import re
from typing import get_args, Literal

from zegclip_core.errors import ModelError, TowerError
from zegclip_core.files import user_path

PairKind = Literal['open_clip', 'tips']
"""Where an image and a text tower are had that were trained together."""
Kind = PairKind | Literal['timm', 'package']
PAIR_KINDS: tuple[PairKind, ...] = get_args(PairKind)

GRAMMAR = (
    'open_clip:NAME/TAG, open_clip:NAME/file:PATH, tips:NAME/TAG, tips:NAME/file:PATH, timm:NAME, '
    'timm:NAME/file:PATH, package:MODULE or package:MODULE/PATH'
)
_FILE = '/file:'


@dataclass(frozen=True)
class TowerReference:
    """A parsed reference to a frozen tower.

    The name is that of a model or of a package, the path that of a weights file or one inside the
    package; only weights of open_clip and of TIPSv2 have a tag.
    """

    kind: Kind
    name: str
    tag: str | None = None
    path: str | None = None

    def __str__(self) -> str:
        """Return the string that parses to this reference."""
        if self.kind == 'package':
            return f'package:{self.name}' + (f'/{self.path}' if self.path else '')
        if self.path is not None:
            return f'{self.kind}:{self.name}{_FILE}{self.path}'
        return f'{self.kind}:{self.name}' + (f'/{self.tag}' if self.tag else '')


def clip_model_name(name: str) -> str:
    """Return open_clip's name of a model: OpenAI writes ViT-B/16, open_clip ViT-B-16."""
    return name.replace('/', '-')


def parse_reference(text: str) -> TowerReference:
    """Read a reference.

    Raises:
        TowerError: If the text does not follow the grammar.

    Example:
        >>> parse_reference('open_clip:ViT-B-16/openai')
        TowerReference(kind='open_clip', name='ViT-B-16', tag='openai', path=None)

    """
    kind, colon, rest = text.strip().partition(':')
    if not colon or not rest:
        raise _no_reference(text)
    if kind == 'package':
        name, _, path = rest.partition('/')
        # A dotted name would be imported in part by the look-up, and a path must stay inside.
        if not name.isidentifier() or '..' in Path(path).parts or Path(path).is_absolute():
            raise _no_reference(text)
        return TowerReference('package', name, path=path or None)
    name, is_file, path = rest.partition(_FILE)
    if is_file and not (name and path):
        raise _no_reference(text)
    if kind == 'timm':
        return TowerReference('timm', name, path=path or None)
    pair = next((each for each in PAIR_KINDS if each == kind), None)
    if pair is None:
        raise _no_reference(text)
    if is_file:
        return TowerReference(pair, clip_model_name(name), path=path)
    name, _, tag = rest.rpartition('/')
    if not name or not tag:
        raise _no_reference(text)
    return TowerReference(pair, clip_model_name(name), tag=tag)


def _pair(name: str, *, tag: str | None = None, path: str | None = None) -> TowerReference:
    """Return the reference to towers that were trained together, by the name of their model."""
    name = clip_model_name(name)
    kind: PairKind = 'tips' if name.lower().startswith(_TIPS) else 'open_clip'
    return TowerReference(kind, name, tag=tag, path=path)


def package_path(reference: TowerReference) -> Path:
    """Return where a file or folder of an installed package lies, without importing the package.

    Raises:
        TowerError: If the reference names no package, the package is not installed, or holds no
            such path.
    """
    if reference.kind != 'package':
        raise TowerError(f'Expected a tower named package:MODULE/PATH, but got {reference}.')
    try:
        spec = importlib.util.find_spec(reference.name)
    except ValueError:
        spec = None
    folders = spec.submodule_search_locations if spec is not None else None
    if not folders:
        raise TowerError(
            f'The Python package {reference.name!r} of the tower {reference} is not installed '
            f'(install it with: pip install {reference.name.replace("_", "-")}).'
        )
    path = Path(folders[0], reference.path or '')
    if not path.exists():
        raise TowerError(
            f'Expected the Python package {reference.name!r} of the tower {reference} to hold '
            f'{reference.path!r}, but it does not: another version of it may be needed.'
        )
    return path


def _no_reference(text: str) -> TowerError:
    """Return the error of a text that is no reference."""
    shown = text if len(text) <= 120 else f'{text[:117]}...'
    return TowerError(f'Expected a tower to be named {GRAMMAR}, but got {shown!r}.')


DEFAULT_MODEL = 'everyday-s'
SUFFIX = '.safetensors'
"""Of checkpoints of this project."""
PUBLISHED_SUFFIXES = ('.pth', '.pt')
"""Of checkpoints of ZegCLIP's authors."""
ONNX_SUFFIX = '.onnx'
"""Of exported models."""
SUFFIXES = (SUFFIX, *PUBLISHED_SUFFIXES, ONNX_SUFFIX)
"""Of every file of a trained model."""

FORMS = (
    f'a path ending in {", ".join(SUFFIXES[:-1])} or {SUFFIXES[-1]}, NAME/TAG, NAME@FILE or '
    'CHECKPOINT+NAME@FILE'
)
MODEL_HELP = (
    'a bundled name (zegclip models lists them), a checkpoint or exported file, NAME/TAG or '
    'NAME@FILE for CLIP without training, or CHECKPOINT+NAME@FILE (default: %(default)s)'
)
"""Help text of every option that names a model."""

_OTHER_SUFFIXES = ('.ckpt', '.bin')
"""Of files that are no trained model of ours, but may hold weights of CLIP."""
_NAME = r'[^/@+:~.\s][^/@+:]*(?:/\d+)?'
"""A model of open_clip, also as OpenAI writes it: ViT-B/16."""
_TIPS = 'tips'
"""What the names of TIPSv2's models begin with, in small letters."""
_LARGER = ('ViT-L/14@336px', 'ViT-L-14-336')
"""The one name with an ``@`` in OpenAI's spelling, and open_clip's."""
_WITH_FILE = re.compile(rf'(?:(?P<checkpoint>.+?)\+)?(?P<name>{_NAME})@(?P<file>.+)')
_WITH_TAG = re.compile(rf'(?P<name>{_NAME})/(?P<tag>[\w-]+)')


@dataclass(frozen=True)
class ModelName:
    """A model's name, read.

    Attributes:
        text: What the user wrote.
        file: File of a trained model; ``None`` for CLIP without training.
        clip: That CLIP, or where a trained model's frozen CLIP lies if the user said so.
    """

    text: str
    file: Path | None = None
    clip: TowerReference | None = None

    @property
    def is_exported(self) -> bool:
        """Whether the model was written by ``zegclip export``."""
        return self.file is not None and self.file.suffix == ONNX_SUFFIX

    @property
    def without_training(self) -> TowerReference | None:
        """The CLIP that is used without training, if the model is one."""
        return self.clip if self.file is None else None

    def checkpoint_file(self, purpose: str = '') -> Path:
        """Return the file of a trained model; ``purpose`` says what for, such as ``to export``.

        Raises:
            ModelError: If the name is that of CLIP without training or of an exported model.
        """
        if self.file is not None and not self.is_exported:
            return self.file
        given = 'an exported model' if self.file is not None else 'CLIP without training'
        raise ModelError(
            f'Expected a trained model{purpose and " "}{purpose}, a bundled name or a checkpoint, '
            f'but got {self.text!r}, {given}.'
        )


@lru_cache(maxsize=1)
def bundled_models() -> dict[str, Path]:
    """Return the models that come with the package, by name."""
    folder = Path(str(resources.files('zegclip_core') / 'models'))
    return {path.stem: path for path in sorted(folder.glob(f'*{SUFFIX}'))}


def parse_model(text: str) -> ModelName:
    """Read a model's name.

    Raises:
        ModelError: If the text does not follow the grammar.

    Example:
        >>> parse_model('ViT-B-16/openai').clip
        TowerReference(kind='open_clip', name='ViT-B-16', tag='openai', path=None)

    """
    name = text.strip().replace(*_LARGER)
    trained = _trained_file(name)
    with_file = _WITH_FILE.fullmatch(name)
    if with_file is not None:
        clip = _pair(with_file['name'], path=with_file['file'])
        if with_file['checkpoint'] is None:
            return ModelName(text, clip=clip)
        checkpoint = _trained_file(with_file['checkpoint'])
        if checkpoint is not None:
            return ModelName(text, checkpoint, clip)
        if trained is None:
            raise _refusal(text)
        # A path with a folder such as a+b@c in it.
    if trained is not None:
        return ModelName(text, trained)
    with_tag = _WITH_TAG.fullmatch(name)
    if with_tag is None or with_tag['tag'].isdecimal():  # ViT-B/16 has none.
        raise _refusal(text)
    return ModelName(text, clip=_pair(with_tag['name'], tag=with_tag['tag']))


def _trained_file(name: str) -> Path | None:
    """Return the file of a bundled model or of a path, if the name is one."""
    known = bundled_models()
    if name in known:
        return known[name]
    path = user_path(name)
    return path if path.suffix in SUFFIXES else None


def _refusal(text: str) -> ModelError:
    """Return the error of a text that names no model, and what to write if it nearly does."""
    from zegclip_core.weights.catalogue import tags_of

    name, hint = text.strip(), ''
    known = clip_model_name(name.rstrip('/@').replace(*_LARGER))
    tags, suffix = tags_of(known), Path(name).suffix
    if tags:
        hint = f' Add a tag, such as {known}/{tags[0]}.'
    elif name.startswith('open_clip:'):
        hint = ' That is the form of a tower: leave out open_clip:, and write @ for /file:.'
    elif suffix.lower() in SUFFIXES and suffix not in SUFFIXES:
        hint = f' Endings are in small letters: {suffix.lower()}.'
    elif suffix.lower() in _OTHER_SUFFIXES and '@' not in name:
        hint = f' CLIP weights in a {suffix} file are used as NAME@FILE.'
    shown = text if len(text) <= 120 else f'{text[:117]}...'
    return ModelError(
        f'Expected a model to be one of {", ".join(bundled_models())}, {FORMS}, but got {shown!r}.'
        f'{hint}'
    )

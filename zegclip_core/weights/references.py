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
"""References to frozen towers: the short strings that checkpoints and users name them by.

=================================  ===========================================================
``open_clip:NAME/TAG``             a model of open_clip and the tag of its weights
``open_clip:NAME/file:PATH``       the same model with weights from a local file
``timm:NAME``                      a timm model with its own weights (``NAME`` may end in a tag)
``timm:NAME/file:PATH``            the same model with weights from a local file
``package:MODULE``                 a model folder inside an installed Python package
``package:MODULE/PATH``            a file or folder inside an installed Python package
=================================  ===========================================================
"""

from dataclasses import dataclass
import importlib.util
from pathlib import Path
from typing import Literal

from zegclip_core.errors import TowerError

Kind = Literal['open_clip', 'timm', 'package']

GRAMMAR = (
    'open_clip:NAME/TAG, open_clip:NAME/file:PATH, timm:NAME, timm:NAME/file:PATH, '
    'package:MODULE or package:MODULE/PATH'
)
_FILE = '/file:'


@dataclass(frozen=True)
class TowerReference:
    """A parsed reference to a frozen tower.

    Attributes:
        kind: Which library or place the tower comes from.
        name: Model name, or the import name of the package.
        tag: Tag of open_clip weights, ``None`` for all else.
        path: Path of a weights file, or path inside the package; ``None`` if not given.
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
        raise _refusal(text)
    if kind == 'package':
        name, _, path = rest.partition('/')
        # A dotted name would be imported in part by the look-up, and a path must stay inside.
        if not name.isidentifier() or '..' in Path(path).parts or Path(path).is_absolute():
            raise _refusal(text)
        return TowerReference('package', name, path=path or None)
    name, is_file, path = rest.partition(_FILE)
    if is_file and not (name and path):
        raise _refusal(text)
    if kind == 'timm':
        return TowerReference('timm', name, path=path or None)
    if kind == 'open_clip':
        if is_file:
            return TowerReference('open_clip', clip_model_name(name), path=path)
        name, _, tag = rest.rpartition('/')
        if not name or not tag:
            raise _refusal(text)
        return TowerReference('open_clip', clip_model_name(name), tag=tag)
    raise _refusal(text)


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


def _refusal(text: str) -> TowerError:
    """Return the error of a text that is no reference."""
    shown = text if len(text) <= 120 else f'{text[:117]}...'
    return TowerError(f'Expected a tower to be named {GRAMMAR}, but got {shown!r}.')

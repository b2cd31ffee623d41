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
"""The options of the commands that label bags, and what their labels depend on."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from zegclip_core.cli._model import add_model_options, add_word_options, positive
from zegclip_core.files import user_path
from zegclip_core.options import OPTIONS

if TYPE_CHECKING:
    from zegclip_core.bags.added import AddedTopics
    from zegclip_core.text.vocabulary import Vocabulary

_SAME_LABELS = ('device', 'threads')
"""Options that labels do not depend on."""


def add_bag_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of topics, words, model and what is added."""
    parser.add_argument(
        '--topic',
        action='append',
        default=[],
        metavar='NAME',
        help='topic with images, or a pattern such as "/cam*/image"; may be given several times '
        '(default: all cameras)',
    )
    add_word_options(parser)
    parser.add_argument(
        '--every',
        type=positive,
        default=1,
        metavar='N',
        help='label each Nth image only',
    )
    add_model_options(parser)
    parser.add_argument(
        '--overlay', action='store_true', help='also add the images tinted in class colours'
    )
    parser.add_argument(
        '--confidence', action='store_true', help='also add the score of each pixel'
    )
    parser.add_argument(
        '--masks', action='store_true', help='also add a mask of 0 and 255 for each class'
    )
    parser.add_argument(
        '--prefix',
        default='/zegclip',
        metavar='NAME',
        help='what the added topics begin with (default: %(default)s)',
    )
    parser.add_argument(
        '--storage', choices=('mcap', 'sqlite3'), help='of OUT (default: that of IN)'
    )
    parser.add_argument(
        '--compress', action='store_true', help='compress OUT with zstd, if it is MCAP'
    )


def added_topics(args: argparse.Namespace, vocabulary: Vocabulary) -> AddedTopics:
    """Return the topics that are added for a camera.

    Raises:
        ZegCLIPError: If their names cannot be used.
    """
    from zegclip_core.bags.added import AddedTopics

    return AddedTopics(vocabulary, args.prefix, args.overlay, args.confidence, args.masks)


def label_settings(args: argparse.Namespace, vocabulary: Vocabulary) -> dict[str, str]:
    """Return what the labels depend on, by option."""
    classes = [
        [entry.name, entry.phrases, entry.color, entry.threshold, entry.exact]
        for entry in vocabulary.classes
    ]
    if vocabulary.has_ids:
        classes = [[*row, number] for row, number in zip(classes, vocabulary.ids, strict=True)]
    plain = not any(',' in name for name in vocabulary.names) and all(
        rest == [(), None, None, False] for _, *rest in classes
    )
    words = ', '.join(vocabulary.names) if plain else json.dumps(classes, ensure_ascii=False)
    settings = {'--classes': words, '--model': _model_identity(args.model)}
    for name, option in OPTIONS.items():
        if option.flag and name not in _SAME_LABELS:
            value = getattr(args, name)
            text = ', '.join(value) or 'none' if isinstance(value, tuple) else str(value)
            shown = "the model's" if value is None else text
            settings[f'--{name.replace("_", "-")}'] = shown
    return settings


def _model_identity(text: str) -> str:
    """Return a model's name with the digests of its files, so that other ones are noticed."""
    from zegclip_core.weights.names import parse_model

    name, parts = parse_model(text), []
    if name.file is not None:
        parts.append(_file_identity(name.file))
    if name.clip is not None:
        path, tag = name.clip.path, name.clip.tag
        weights = f'/{tag}' if path is None else f'@{_file_identity(Path(path))}'
        parts.append(f'{name.clip.name}{weights}')
    return '+'.join(parts)


def _file_identity(path: Path) -> str:
    """Return a file's name and digest; its path if there is none, which loading will tell."""
    path = user_path(path)
    if not path.is_file():
        return str(path)
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while part := file.read(2**20):
            digest.update(part)
    return f'{path.stem} ({digest.hexdigest()[:12]})'

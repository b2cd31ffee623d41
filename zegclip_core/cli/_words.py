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
"""The options of every command that looks for words, and the words that they name."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zegclip_core.segmenter import Segmenter
    from zegclip_core.text.vocabulary import Vocabulary


def add_word_options(parser: argparse.ArgumentParser) -> None:
    """Add the two options of which one says what to look for."""
    words = parser.add_mutually_exclusive_group(required=True)
    words.add_argument(
        '--classes', metavar='WORDS', help='what to look for: "person, cat", or JSON'
    )
    words.add_argument(
        '--classes-file', metavar='FILE', help='a file with the same, or one a line'
    )


def read_words(args: argparse.Namespace) -> Vocabulary:
    """Return the words that the user gave.

    Raises:
        VocabularyError: If they cannot be used.
    """
    from zegclip_core.text.vocabulary import Vocabulary

    if args.classes_file is not None:
        return Vocabulary.from_file(args.classes_file)
    return Vocabulary.parse(args.classes)


def encode_words(segmenter: Segmenter, vocabulary: Vocabulary) -> None:
    """Have a segmenter know the words, behind a progress bar: a thousand take a minute.

    Raises:
        VocabularyError: If the words cannot be encoded.
    """
    from tqdm import tqdm

    classes = vocabulary.encoded_phrases(segmenter.settings.seen_classes)
    with tqdm(total=len(classes), unit='word', delay=1.0, leave=False, disable=None) as bar:
        for part in (classes[start:][:32] for start in range(0, len(classes), 32)):
            segmenter.text_encoder.encode_classes(part)
            bar.update(len(part))

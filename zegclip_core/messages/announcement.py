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
"""What is said of the words in use, on a topic of the node and in labelled bags."""

from collections.abc import Mapping, Sequence
from typing import Any

from zegclip_core.text.vocabulary import Vocabulary


def announcement(
    vocabulary: Vocabulary | None,
    topics: Sequence[str | None],
    *,
    version: int,
    stamp: Mapping[str, int] | None,
    requested: int,
    error: str | None = None,
    refused: str | None = None,
) -> dict[str, Any]:
    """Return what ``~/active_vocabulary`` holds as JSON; ``docs/node.md`` explains it.

    Args:
        vocabulary: The words in use; ``None`` if there are none.
        topics: Mask topic of each class, in the order of the ids; ``None`` for one without.
        version: Number of the words in use, 0 if there are none.
        stamp: ``sec`` and ``nanosec`` of the first frame labelled with them; ``None`` before it.
        requested: Number of the newest accepted request.
        error: Why the last request was refused; ``None`` if it was not.
        refused: Its text.
    """
    return {
        'version': version,
        'classes': [] if vocabulary is None else _classes(vocabulary, topics),
        'stamp': stamp,
        'requested': requested,
        'error': error,
        'refused': refused,
    }


def _classes(vocabulary: Vocabulary, topics: Sequence[str | None]) -> list[dict[str, Any]]:
    """Return the classes in the order of their ids."""
    rows = zip(vocabulary.classes, vocabulary.colors.tolist(), topics, strict=True)
    return [
        {
            'id': index,
            'name': entry.name,
            'phrases': list(entry.phrases),
            'color': color,
            'threshold': entry.threshold,
            'exact': entry.exact,
            'topic': topic,
        }
        for index, (entry, color, topic) in enumerate(rows)
    ]

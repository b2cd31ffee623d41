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
"""Which topics of a bag are labelled: its cameras, or those that the user names."""

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Final

from rosbags.interfaces import Connection
from zegclip_core.bags.message_types import IMAGES, TYPES
from zegclip_core.bags.source import BagSource
from zegclip_core.errors import BagError
from zegclip_core.messages import outputs
from zegclip_core.messages.image_encodings import DEPTH

_OWN: Final = (outputs.LABEL_IMAGE, outputs.OVERLAY, outputs.CONFIDENCE)
_PATTERN: Final = '*?['
"""What tells a pattern from a name."""


class Cameras:
    """The topics with images of a bag, and the choice among them.

    Args:
        source: The bag.
        warn: Takes a line about each topic that is left out.
    """

    def __init__(self, source: BagSource, warn: Callable[[str], object]) -> None:
        self._source, self._warn = source, warn
        self._topics: dict[str, list[Connection]] = {}
        for one in source.connections:
            if one.msgtype in IMAGES:
                self._topics.setdefault(one.topic, []).append(one)
        self._all = set(self._topics)
        for topic in sorted(self._labelled_before()):
            del self._topics[topic]
        self._used = sorted(name for name in self._topics if self._count(name))

    def choose(self, names: Sequence[str]) -> dict[str, list[Connection]]:
        """Return the connections of each topic to be labelled, by topic.

        Args:
            names: Topics, or patterns with ``*``, ``?`` and ``[...]``, with or without the slash
                before them; none take all cameras.

        Raises:
            BagError: If a name or pattern fits no topic with images, or there is none at all.
        """
        if not self._topics:
            others = sorted({f'{c.topic} ({c.msgtype})' for c in self._source.connections})
            raise BagError(
                f'Expected a topic with images in {self._source.path}, but it has only '
                f'{", ".join(others) or "no topic at all"}.'
            )
        if not names:
            return {name: self._topics[name] for name in self._cameras()}
        found = [topic for name in names for topic in self._named(name)]
        return {name: self._topics[name] for name in sorted(set(found))}

    def _count(self, topic: str) -> int:
        return sum(one.msgcount for one in self._topics[topic])

    def _labelled_before(self) -> set[str]:
        """Return the topics that an earlier labelling has added, or a node has published."""
        end = f'/{outputs.ACTIVE_VOCABULARY}'
        names = {one.topic for one in self._source.connections}
        owners = [name.removesuffix(end) for name in names if name.endswith(end)]
        return {
            topic
            for topic in self._topics
            for owner in owners
            if topic.startswith(f'{owner}/')
            and (
                topic.removesuffix('/compressed').endswith(tuple(f'/{name}' for name in _OWN))
                or f'/{outputs.MASKS}/' in topic.removeprefix(owner)
            )
        }

    def _cameras(self) -> list[str]:
        """Return all topics with images of a camera; of one that is there twice the plain one."""
        if not self._used:
            raise BagError(
                f'Expected images in {self._source.path}, but there is no message on '
                f'{", ".join(sorted(self._topics))}.'
            )
        found = []
        for topic in self._used:
            plain = topic.rpartition('/')[0]
            reason = self._depth(topic)
            if reason is None and plain in self._used and self._depth(plain) is None:
                reason = f'it carries the images of {plain}'
            if reason is None:
                found.append(topic)
            else:
                self._warn(f'{topic} is left out, as {reason}; --topic {topic} labels it.')
        if not found:
            raise BagError(
                f'Expected a topic with images of a camera in {self._source.path}, but '
                f'{", ".join(self._used)} holds depth.'
            )
        return found

    def _depth(self, topic: str) -> str | None:
        """Return why a topic holds depth, by its first message; ``None`` if it does not."""
        for first in self._source.messages(self._topics[topic]):
            try:
                message = TYPES.deserialize_cdr(first.data, first.connection.msgtype)
            except Exception:
                return None  # It is reported when it is to be labelled.
            kind = str(getattr(message, 'encoding', getattr(message, 'format', '')))
            depth = kind in DEPTH or 'compressedDepth' in kind
            return f'{kind or "it"} looks like depth' if depth else None
        return None

    def _named(self, name: str) -> list[str]:
        """Return the topics that a user means by a name or pattern."""
        if not name.startswith('/') and name not in self._topics:
            name = f'/{name}'  # Without it people write it, and ROS does not.
        if any(sign in name for sign in _PATTERN) and name not in self._topics:
            found = [topic for topic in self._used if fnmatchcase(topic, name)]
            if not found:
                raise self._unknown(name, 'none of them with a message fits')
            return found
        if name not in self._topics:
            raise self._unknown(name, self._reason(name))
        if not self._count(name):
            raise BagError(
                f'Expected images on {name} in {self._source.path}, but it has no message.'
            )
        return [name]

    def _reason(self, name: str) -> str:
        """Return why a name is of no use."""
        if name in self._all:
            return 'that is what an earlier labelling has added'
        others = sorted({c.msgtype for c in self._source.connections if c.topic == name})
        if others:
            return f'that has the type {others[0]}'
        near = get_close_matches(name, self._topics, n=1)
        hint = f'; is {near[0]} meant?' if near else ''
        return f'there is none of that name{hint}'

    def _unknown(self, name: str, why: str) -> BagError:
        return BagError(
            f'Expected a topic with images in {self._source.path}, which has '
            f'{", ".join(sorted(self._topics))}, but got {name}: {why}.'
        )

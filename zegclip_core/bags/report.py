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
"""What became of a bag: of its messages, and of the images of each topic."""

from collections import Counter
from dataclasses import dataclass, field
import json

from zegclip_core.bags.source import BagSource


@dataclass
class TopicReport:
    """What was done with the images of a topic.

    Attributes:
        topic: Its name.
        labelled: Images that have labels.
        earlier: How many of them had labels before this run.
        unreadable: Count of images that could not be read, by reason.
        pixels: Count of labelled pixels of each class, by its name; ``''`` for the others.
        first: Time of recording of the first labelled image [ns].
        last: That of the last one.
    """

    topic: str
    labelled: int = 0
    earlier: int = 0
    unreadable: Counter[str] = field(default_factory=Counter)
    pixels: Counter[str] = field(default_factory=Counter)
    first: int = 0
    last: int = 0

    def note_earlier(self) -> None:
        """Count an image that an earlier run has labelled."""
        self.labelled += 1
        self.earlier += 1

    def note_time(self, time: int) -> None:
        """Note when a labelled image was recorded [ns]."""
        self.first = min(self.first or time, time)
        self.last = max(self.last, time)

    @property
    def span(self) -> float:
        """Seconds from the first labelled image to the last."""
        return (self.last - self.first) / 1e9


@dataclass
class LabelReport:
    """What was done.

    Attributes:
        topics: The topics with images, by name.
        seconds: Time of the labelling.
        copied: Count of recorded messages that were written.
        expected: Count of recorded messages as the bag states it.
        added: Count of messages beside them.
        unfinished: Whether the end of a recorded file is missing.
        missing: Names of recorded files that are not there.
        settings: What the labels depend on, by the name of the option that sets it.
        written: How the new bag is stored, likewise.
    """

    topics: dict[str, TopicReport]
    seconds: float = 0.0
    copied: int = 0
    expected: int = 0
    added: int = 0
    unfinished: bool = False
    missing: list[str] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    written: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, source: BagSource, topics: list[str]) -> 'LabelReport':
        """Return the report of a bag of which nothing is done yet."""
        return cls(
            {topic: TopicReport(topic) for topic in topics},
            expected=source.message_count,
            unfinished=source.unfinished,
            missing=list(source.missing),
        )

    @property
    def labelled(self) -> int:
        """Images that have labels, of all topics."""
        return sum(one.labelled for one in self.topics.values())

    @property
    def earlier(self) -> int:
        """How many of them had labels before this run."""
        return sum(one.earlier for one in self.topics.values())

    @property
    def unreadable(self) -> Counter[str]:
        """Count of images that could not be read, by reason."""
        return sum((one.unreadable for one in self.topics.values()), Counter[str]())

    @property
    def rate(self) -> float:
        """Images labelled in a second by this run."""
        return (self.labelled - self.earlier) / self.seconds if self.seconds else 0.0

    @property
    def whole(self) -> bool:
        """Whether everything was read."""
        read = self.copied == self.expected and not self.unfinished and not self.missing
        return read and not self.unreadable

    def faults(self, source: object) -> list[str]:
        """Return a line about each thing that was not read, but for images."""
        lines = []
        if self.missing:
            lines.append(
                f'{len(self.missing)} files that the metadata.yaml of {source} names are not '
                f'there: {", ".join(self.missing)}.'
            )
        if self.unfinished:
            lines.append(
                f'The end of {source} is missing, as of an interrupted recording: it was read to '
                f'its last whole message, {self.copied} in all.'
            )
        elif self.copied != self.expected:
            lines.append(
                f'Expected {self.expected} messages in {source}, as it says itself, but read '
                f'{self.copied}.'
            )
        return lines

    def note(self) -> str:
        """Return what the new bag says of its labels, as JSON: the same for the same labels."""
        topics = [
            {
                'topic': one.topic,
                'frames': one.labelled,
                'unreadable': one.unreadable.total(),
                'seconds': one.span,
                'pixels': dict(one.pixels),
            }
            for one in self.topics.values()
        ]
        faults = self.faults('the bag')
        content = {
            'settings': self.settings,
            'written': self.written,
            'topics': topics,
            'faults': faults,
        }
        return json.dumps(content, ensure_ascii=False)

    def summary(self) -> str:
        """Return what was done in a line."""
        images = ', '.join(f'{one.labelled} images of {one.topic}' for one in self.topics.values())
        parts = [f'{images} labelled']
        if self.earlier:
            parts.append(f'{self.earlier} of them by an earlier run')
        if self.rate:
            parts.append(f'{self.rate:.1f} frames/s')
        if self.unreadable:
            parts.append(f'{self.unreadable.total()} could not be read')
        parts.append(f'{self.copied} messages copied, {self.added} added')
        return ', '.join(parts)

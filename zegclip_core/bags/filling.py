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
"""Writing the labelled bag: what was recorded, and after each image what is added for it."""

from collections.abc import Callable
import shutil
import sqlite3
from typing import Final

import numpy as np
from tqdm import tqdm
from zegclip_core.bags.added import AddedTopics
from zegclip_core.bags.decoding import Decoder, Frame
from zegclip_core.bags.job import LabelJob
from zegclip_core.bags.mcap import named, Recorded
from zegclip_core.bags.message_types import header_of, TYPES
from zegclip_core.bags.report import LabelReport, TopicReport
from zegclip_core.bags.source import BagSource
from zegclip_core.bags.store import Key, key_of, LabelStore
from zegclip_core.bags.writing import BagWriter
from zegclip_core.errors import BagError
from zegclip_core.segmentation import Segmentation

THRESHOLD: Final = 'threshold of the model'
"""What the labels keep beside the settings: of the first model that was loaded."""


def note_name(prefix: str) -> str:
    """Return under which name a bag's ``custom_data`` say what made the labels of a prefix."""
    return f'zegclip /{prefix.strip("/")}'


class Filling:
    """Writes a labelled bag from the recorded one and the labels that are kept.

    Args:
        job: What to do.
        source: The recorded bag.
        added: What is added for each topic with images.
        store: The labels.
        report: Takes what was written.
        warn: Takes a line about what the new bag has no place for.
    """

    def __init__(
        self,
        job: LabelJob,
        source: BagSource,
        added: dict[str, AddedTopics],
        store: LabelStore,
        report: LabelReport,
        warn: Callable[[str], object],
    ) -> None:
        self._job, self._source, self._added = job, source, added
        self._store, self._report, self._warn = store, report, warn
        self._threshold = float(store.settings()[THRESHOLD])
        self._labelled = store.keys()
        self._announced: set[str] = set()
        self._decoders = {topic: Decoder() for topic in added if job.added.overlay}

    def write(self) -> None:
        """Write the whole bag into the work folder; one that a killed run left is removed.

        Raises:
            BagError: If the recorded one cannot be read, or there is no room.
        """
        path = self._job.partial / self._job.target.name
        if path.exists():
            shutil.rmtree(path)
        storage, compress = self._job.storage or self._source.storage, self._job.compress
        self._report.written = {'--storage': storage, '--compress': str(compress)}
        writer = BagWriter(path, storage, compress=compress)
        try:
            with writer:
                self._fill(writer)
        except (OSError, sqlite3.Error) as error:
            # Room on the disk is what is short most likely.
            shutil.rmtree(path, ignore_errors=True)
            reason = getattr(error, 'strerror', None) or str(error)
            raise BagError(f'Cannot write {path}: {reason}.') from error

    def _fill(self, writer: BagWriter) -> None:
        """Write topics, extras and messages."""
        added = [topics for one in self._added.values() for topics in one.topics().items()]
        writer.add_topics(self._source, dict(added))
        left = [one for one in self._source.extras() if not writer.copy_extra(one)]
        if left:
            self._warn(f'{named(left)} are not copied: SQLite has no place for them.')
        messages = self._source.messages(self._source.connections)
        total = self._source.message_count
        quiet = self._job.quiet or None
        for message in tqdm(messages, total=total, unit='message', disable=quiet):
            writer.copy(message)
            if message.connection.topic in self._added:
                self._follow(writer, message)
        for decoder in self._decoders.values():
            for frame in decoder.flush():
                self._add(writer, frame.key, frame)
        self._report.added = writer.added
        self._report.copied = sum(writer.counts.values()) - writer.added
        writer.set_custom_data(note_name(self._job.added.prefix), self._report.note())

    def _follow(self, writer: BagWriter, message: Recorded) -> None:
        """Write what is added after a message with an image, or with a part of a video."""
        key = key_of(message)
        wanted = key in self._labelled
        decoder = self._decoders.get(message.connection.topic)
        if decoder is not None:  # The image itself is needed.
            for frame in decoder.feed(message, key, wanted=wanted):
                self._add(writer, frame.key, frame)
        elif wanted:
            content = TYPES.deserialize_cdr(message.data, message.connection.msgtype)
            self._add(writer, key, Frame(key, header_of(content), ''))

    def _add(self, writer: BagWriter, key: Key, frame: Frame) -> None:
        """Write what is added for an image."""
        topic, time, _ = key
        added = self._added[topic]
        found = self._store.load(key, added.vocabulary)
        if found is None:
            return
        if topic not in self._announced:
            self._announced.add(topic)
            for name, content in added.for_vocabulary(frame.header, self._threshold):
                writer.add(name, content, time)
        image = None if isinstance(frame.found, str) else frame.found
        for name, content in added.for_frame(frame.header, found, image):
            writer.add(name, content, time)
        _count(self._report.topics[topic], found, time)


def _count(report: TopicReport, found: Segmentation, time: int) -> None:
    """Note which classes an image shows, and when it was recorded."""
    report.note_time(time)
    names = found.vocabulary.names
    known = len(names)
    counts = np.bincount(found.labels.ravel(), minlength=known)
    report.pixels.update(
        {name: int(count) for name, count in zip(names, counts, strict=False) if count}
    )
    report.pixels[''] += int(counts[known:].sum())

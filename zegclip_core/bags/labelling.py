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
"""Label a bag: first every image, kept frame by frame; then the bag, which appears at the end."""

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice
import os
from pathlib import Path
import re
import shutil
import sqlite3
import time
from typing import TYPE_CHECKING, TypeVar

from rosbags.interfaces import Connection
from tqdm import tqdm
from zegclip_core.bags.added import AddedTopics, TYPES
from zegclip_core.bags.source import BagSource
from zegclip_core.bags.store import Key, key_of, LabelStore, NAME
from zegclip_core.bags.writing import BagWriter
from zegclip_core.errors import BagError, ImageError, shortened, ZegCLIPError
from zegclip_core.images.checks import RgbImage
from zegclip_core.messages.image_encodings import packed_rgb
from zegclip_core.segmentation import Segmentation

if TYPE_CHECKING:
    from zegclip_core.segmenter import Segmenter

WAITING = 4
"""Images that are decoded ahead of the model."""
_THRESHOLD = 'threshold of the model'

Item = TypeVar('Item')


@dataclass(frozen=True)
class LabelJob:
    """What is to be labelled, how, and where it goes.

    Attributes:
        source: The recorded bag.
        target: The labelled bag, which does not exist yet.
        topic: The topic with the images; ``None`` takes the only one.
        added: The topics that are added, with the classes.
        load: Loads the model; called when the first image that needs it is there.
        settings: What else the labels depend on, by the name of the option that sets it.
        storage: ``mcap`` or ``sqlite3``; ``None`` takes that of the source.
        compress: Whether the chunks of an MCAP are compressed.
        every: Of how many images one is labelled.
    """

    source: Path
    target: Path
    topic: str | None
    added: AddedTopics
    load: 'Callable[[], Segmenter]'
    settings: dict[str, str] = field(default_factory=dict)
    storage: str | None = None
    compress: bool = False
    every: int = 1

    @property
    def partial(self) -> Path:
        """Folder of an unfinished run, beside the target."""
        return self.target.with_name(f'{self.target.name}.partial')


@dataclass
class LabelReport:
    """What was done.

    Attributes:
        topic: The topic with the images.
        labelled: Images that have labels.
        earlier: How many of them had labels before this run.
        unreadable: Count of images that could not be read, by reason.
        seconds: Time of the labelling.
        copied: Count of recorded messages that were written.
        expected: Count of recorded messages as the bag states it.
        added: Count of messages beside them.
        unfinished: Whether the end of a recorded file is missing.
    """

    topic: str
    labelled: int = 0
    earlier: int = 0
    unreadable: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    copied: int = 0
    expected: int = 0
    added: int = 0
    unfinished: bool = False

    @property
    def rate(self) -> float:
        """Images labelled in a second by this run."""
        return (self.labelled - self.earlier) / self.seconds if self.seconds else 0.0


def label_bag(job: LabelJob, warn: Callable[[str], object]) -> LabelReport:
    """Write a bag that holds labels beside what was recorded; the recorded bag stays as it is.

    An unfinished run leaves its labels in a folder beside the target, where the same job goes on.

    Args:
        job: What to do.
        warn: Takes a line about each kind of images that cannot be read, and about what is kept.

    Raises:
        ZegCLIPError: If the bag, the words or the model cannot be used, or the target exists.
    """
    if job.target.exists():
        raise BagError(f'Expected OUT to be new, but {job.target} exists.')
    if job.source.resolve() in job.target.resolve().parents:
        raise BagError(f'Expected OUT outside of IN, but {job.target} is in {job.source}.')
    with BagSource(job.source) as source:
        images = source.pick_topic(job.topic)
        taken = sorted({one.topic for one in source.connections} & job.added.topics().keys())
        if taken:
            raise BagError(
                f'Expected topics that {source.path} does not have, but it has '
                f'{", ".join(taken)}: give another --prefix.'
            )
        if job.compress and (job.storage or source.storage) != 'mcap':
            raise BagError('Expected --compress with MCAP, but the bag is to be SQLite.')
        report = LabelReport(images[0].topic, expected=source.message_count)
        report.unfinished = source.unfinished
        if source.loose:
            warn(
                f'{source.path} has no metadata.yaml, as of an interrupted recording: its files '
                'are taken in the order of their names.'
            )
        with _work_folder(job) as store:
            run = _Run(job, source, images, store, report, warn)
            run.agree()
            with run.keeping():
                run.label()
                run.write()
    finished = job.partial / job.target.name
    for path in finished.iterdir():
        with path.open('rb') as file:
            os.fsync(file.fileno())  # So that a name means a whole bag for sure.
    finished.rename(job.target)
    shutil.rmtree(job.partial)
    return report


@contextmanager
def _work_folder(job: LabelJob) -> Iterator[LabelStore]:
    """Open the labels of an unfinished run, or begin one; one without labels leaves nothing."""
    taken = job.partial.exists()
    if job.partial.is_dir():
        names = [path.name for path in job.partial.iterdir()]
        taken = bool(names) and not any(name.startswith(NAME) for name in names)
    if taken:
        raise BagError(
            f'Expected {job.partial} to be free for an unfinished run, but something else is '
            'there: move it, or give another OUT.'
        )
    job.partial.mkdir(parents=True, exist_ok=True)
    store = LabelStore(job.partial)
    try:
        yield store
    finally:
        with store:
            empty = not store.keys()
        if empty:
            shutil.rmtree(job.partial, ignore_errors=True)


@dataclass
class _Run:
    """A job that is being done: its bag and images, and the labels and report so far."""

    job: LabelJob
    source: BagSource
    images: list[Connection]
    store: LabelStore
    report: LabelReport
    warn: Callable[[str], object]

    def agree(self) -> None:
        """Note what the labels depend on, or refuse to go on with something else."""
        wanted = {
            'IN': self.source.fingerprint(),
            '--topic': self.report.topic,
            **self.job.settings,
            '--every': str(self.job.every),
            '--confidence': str(self.job.added.confidence),
        }
        known = self.store.settings() if self.store.keys() else {}
        for name, value in wanted.items():
            if name in known and known[name] != value:
                raise BagError(
                    f'Expected {name} to be as in the unfinished {self.job.partial}, which has '
                    f'{shortened(known[name])}, but got {shortened(value)}: give that, or remove '
                    'the folder to start afresh.'
                )
        if not known:
            self.store.note(wanted)

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Say after an error that the labels are kept, if there are some."""
        try:
            yield
        except (ZegCLIPError, KeyboardInterrupt) as error:
            count, where = len(self.store.keys()), self.job.partial
            hint = f'Labels of {count} frames are kept in {where}: the same command goes on there.'
            if isinstance(error, ZegCLIPError):
                raise BagError(f'{error} {hint}' if count else str(error)) from error
            if count:
                self.warn(hint)
            raise

    def label(self) -> None:
        """Label every image that has no labels yet."""
        report, done = self.report, self.store.keys()
        report.earlier = report.labelled = len(done)
        total = -(-sum(one.msgcount for one in self.images) // self.job.every)
        segment: Callable[[RgbImage], Segmentation] | None = None
        began = time.perf_counter()
        with (
            tqdm(total=total, initial=len(done), unit='frame', disable=None) as bar,
            closing(_ahead(self._undone_images(done), WAITING)) as images,
        ):
            for key, found in images:
                if segment is None:
                    segment = self._load()
                    began = time.perf_counter()
                    bar.unpause()
                try:
                    if isinstance(found, str):
                        raise ImageError(found)
                    self.store.save(key, segment(found), scores=self.job.added.confidence)
                    report.labelled += 1
                except ImageError as error:
                    self._note_unreadable(str(error), key)
                bar.update()
        report.seconds = time.perf_counter() - began
        if not report.labelled:
            reason = ''.join(list(report.unreadable)[:1])
            raise BagError(f'Expected images on {report.topic}, but none can be read. {reason}')

    def _load(self) -> Callable[[RgbImage], Segmentation]:
        """Load the model and return what labels an image."""
        segmenter = self.job.load()
        encoded = segmenter.encode(self.job.added.vocabulary)
        self.store.note({_THRESHOLD: repr(float(segmenter.threshold))})
        return lambda image: segmenter.segment(image, encoded)

    def _undone_images(self, done: set[Key]) -> Iterator[tuple[Key, RgbImage | str]]:
        """Yield each image without labels, or why it cannot be read."""
        for number, (connection, recorded, raw) in enumerate(self.source.messages(self.images)):
            key = key_of(recorded, raw)
            if number % self.job.every or key in done:
                continue
            try:
                found: RgbImage | str = packed_rgb(TYPES.deserialize_cdr(raw, connection.msgtype))
            except ImageError as error:
                found = str(error)
            except Exception as error:
                # Whatever bytes that are no such message make the decoder raise.
                found = f'It is no {connection.msgtype}: {error or type(error).__name__}.'
            yield key, found

    def _note_unreadable(self, reason: str, key: Key) -> None:
        """Count an image that cannot be read, and report the first of its kind."""
        kinds = {re.sub(r'\d+', '0', known) for known in self.report.unreadable}
        if re.sub(r'\d+', '0', reason) not in kinds:
            self.warn(
                f'Cannot read the image of {self.report.topic} recorded at {key[0] / 1e9:.3f} s: '
                f'{reason} It gets no labels; more of this kind are only counted.'
            )
        self.report.unreadable[reason] += 1

    def write(self) -> None:
        """Write the whole bag into the work folder; one that a killed run left is removed."""
        path = self.job.partial / self.job.target.name
        if path.exists():
            shutil.rmtree(path)
        storage = self.job.storage or self.source.storage
        writer = BagWriter(path, storage, compress=self.job.compress)
        try:
            with writer:
                writer.add_topics(self.source, self.job.added.topics())
                self._fill(writer)
        except (OSError, sqlite3.Error) as error:
            # Room on the disk is what is short most likely.
            shutil.rmtree(path, ignore_errors=True)
            reason = getattr(error, 'strerror', None) or str(error)
            raise BagError(f'Cannot write {path}: {reason}.') from error
        self.report.added = writer.added
        self.report.copied = sum(writer.counts.values()) - writer.added

    def _fill(self, writer: BagWriter) -> None:
        """Write each recorded message, and after each labelled image what is added for it."""
        added, labelled = self.job.added, {one.id for one in self.images}
        threshold: float | None = float(self.store.settings()[_THRESHOLD])
        messages = self.source.messages(self.source.connections)
        total = self.source.message_count
        for connection, recorded, raw in tqdm(messages, total=total, unit='message', disable=None):
            writer.copy(connection, recorded, raw)
            if connection.id not in labelled:
                continue
            found = self.store.load(key_of(recorded, raw), added.vocabulary)
            if found is None:
                continue
            message = TYPES.deserialize_cdr(raw, connection.msgtype)
            if threshold is not None:
                for topic, content in added.for_vocabulary(message.header, threshold):
                    writer.add(topic, content, recorded)
                threshold = None
            image = packed_rgb(message) if added.overlay else None
            for topic, content in added.for_frame(message.header, found, image):
                writer.add(topic, content, recorded)


def _ahead(items: Iterable[Item], size: int) -> Generator[Item, None, None]:
    """Yield the items, up to ``size`` of which a thread makes ahead of their use."""
    iterator = iter(items)
    thread = ThreadPoolExecutor(1)
    try:
        waiting = deque(thread.submit(list, islice(iterator, 1)) for _ in range(size))
        while item := waiting.popleft().result():
            waiting.append(thread.submit(list, islice(iterator, 1)))
            yield from item
    finally:
        thread.shutdown(cancel_futures=True)

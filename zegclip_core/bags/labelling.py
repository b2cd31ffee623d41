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

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
import os
from pathlib import Path
import re
import shutil
import sqlite3
import time
from typing import Any, TYPE_CHECKING

from rosbags.interfaces import Connection
from tqdm import tqdm
from zegclip_core.bags.ahead import ahead
from zegclip_core.bags.messages import Outputs, TYPES
from zegclip_core.bags.source import BagSource
from zegclip_core.bags.store import Key, key_of, LabelStore
from zegclip_core.bags.writing import BagWriter, check_topics, LabelledBag
from zegclip_core.errors import BagError, ImageError, shortened, ZegCLIPError
from zegclip_core.images.checks import RgbImage
from zegclip_core.messages.image_encodings import packed_rgb
from zegclip_core.segmentation import Segmentation

if TYPE_CHECKING:
    from zegclip_core.segmenter import Segmenter

WAITING = 4
"""Images that are decoded ahead of the model."""
_THRESHOLD = 'threshold of the model'


@dataclass(frozen=True)
class LabelJob:
    """What is to be labelled, how, and where it goes.

    Attributes:
        source: The recorded bag.
        target: The labelled bag, which does not exist yet.
        topic: The topic with the images; ``None`` takes the only one.
        outputs: What is added.
        load: Loads the model; called when the first image that needs it is there.
        settings: What else the labels depend on, by the name of the option that sets it.
        storage: ``mcap`` or ``sqlite3``; ``None`` takes that of the source.
        compress: Whether the chunks of an MCAP are compressed.
        every: Of how many images one is labelled.
    """

    source: Path
    target: Path
    topic: str | None
    outputs: Outputs
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
class Report:
    """What was done.

    Attributes:
        topic: The topic with the images.
        labelled: Images that have labels.
        earlier: How many of them had labels before this run.
        unreadable: Images that could not be read, by reason.
        seconds: Time of the labelling.
        copied: Recorded messages.
        expected: Recorded messages that the bag says it has.
        added: Messages beside them.
    """

    topic: str
    labelled: int = 0
    earlier: int = 0
    unreadable: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    copied: int = 0
    expected: int = 0
    added: int = 0

    @property
    def rate(self) -> float:
        """Images labelled in a second by this run."""
        return (self.labelled - self.earlier) / self.seconds if self.seconds else 0.0


def label_bag(job: LabelJob, warn: Callable[[str], object]) -> Report:
    """Write a bag that holds labels beside what was recorded; the recorded bag stays as it is.

    An unfinished run leaves its labels in a folder beside the target, where the same job goes on.

    Args:
        job: What to do.
        warn: Takes a line about each kind of images that cannot be read, and about what is kept.

    Raises:
        ZegCLIPError: If the bag, the words or the model cannot be used, or the target exists.
    """
    _check_target(job)
    with BagSource(job.source) as source:
        images = source.pick_topic(job.topic)
        check_topics(source, job.outputs.topics())
        if job.compress and (job.storage or source.storage) != 'mcap':
            raise BagError('Expected --compress with MCAP, but the bag is to be SQLite.')
        report = Report(images[0].topic, expected=source.message_count)
        with _work_folder(job) as store:
            _agree(store, job, {'IN': source.fingerprint(), '--topic': report.topic})
            with _kept(store, job, warn):
                _label(source, images, store, job, report, warn)
                _write(source, images, store, job, report)
    finished = job.partial / job.target.name
    for path in finished.iterdir():
        with path.open('rb') as file:
            os.fsync(file.fileno())  # So that a name means a whole bag for sure.
    finished.rename(job.target)
    shutil.rmtree(job.partial)
    return report


def _check_target(job: LabelJob) -> None:
    """Refuse to write over something, or into the recorded bag."""
    if job.target.exists():
        raise BagError(f'Expected OUT to be new, but {job.target} exists.')
    if job.source.resolve() in job.target.resolve().parents:
        raise BagError(f'Expected OUT outside of IN, but {job.target} is in {job.source}.')


@contextmanager
def _work_folder(job: LabelJob) -> Iterator[LabelStore]:
    """Open the labels of an unfinished run, or begin one; one without labels leaves nothing."""
    if job.partial.is_dir():
        names = {entry.name for entry in job.partial.iterdir()}
        ours = not names or any(name.startswith('labels.sqlite3') for name in names)
    else:
        ours = not job.partial.exists()
    if not ours:
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


def _agree(store: LabelStore, job: LabelJob, settings: dict[str, str]) -> None:
    """Note what the labels depend on, or refuse to go on with something else."""
    wanted = {**settings, **job.settings, '--every': str(job.every)}
    wanted['--confidence'] = str(job.outputs.confidence)
    known = store.settings() if store.keys() else {}
    for name, value in wanted.items():
        if name in known and known[name] != value:
            raise BagError(
                f'Expected {name} to be as in the unfinished {job.partial}, which has '
                f'{shortened(known[name])}, but got {shortened(value)}: give that, or remove '
                'the folder to start afresh.'
            )
    if not known:
        store.note(wanted)


@contextmanager
def _kept(store: LabelStore, job: LabelJob, warn: Callable[[str], object]) -> Iterator[None]:
    """Say after an error that the labels are kept, if there are some."""

    def hint() -> str:
        count = len(store.keys())
        where = f'{job.partial}: the same command goes on there.'
        return f'Labels of {count} frames are kept in {where}' if count else ''

    try:
        yield
    except ZegCLIPError as error:
        raise BagError(f'{error} {hint()}'.rstrip()) from error
    except KeyboardInterrupt:
        if text := hint():
            warn(text)
        raise


def _label(
    source: BagSource,
    images: list[Connection],
    store: LabelStore,
    job: LabelJob,
    report: Report,
    warn: Callable[[str], object],
) -> None:
    """Label every image that has no labels yet."""
    done = store.keys()
    report.earlier = report.labelled = len(done)
    total = -(-sum(connection.msgcount for connection in images) // job.every)
    segment: Callable[[RgbImage], Segmentation] | None = None
    began = time.perf_counter()
    with tqdm(total=total, initial=len(done), unit='frame', disable=None) as bar:
        for key, found in ahead(_undone_images(source, images, done, job.every), WAITING):
            if segment is None:
                segment = _load(job, store)
                began = time.perf_counter()
                bar.unpause()
            try:
                if isinstance(found, str):
                    raise ImageError(found)
                store.save(key, segment(found), scores=job.outputs.confidence)
                report.labelled += 1
            except ImageError as error:
                _note_unreadable(str(error), key, report, warn)
            bar.update()
    report.seconds = time.perf_counter() - began
    if not report.labelled:
        reason = ''.join(list(report.unreadable)[:1])
        raise BagError(f'Expected images on {report.topic}, but none can be read. {reason}')


def _load(job: LabelJob, store: LabelStore) -> Callable[[RgbImage], Segmentation]:
    """Load the model and return what labels an image."""
    segmenter = job.load()
    encoded = segmenter.encode(job.outputs.vocabulary)
    store.note({_THRESHOLD: repr(float(segmenter.threshold))})
    return lambda image: segmenter.segment(image, encoded)


def _undone_images(
    source: BagSource, images: list[Connection], done: set[Key], every: int
) -> Iterator[tuple[Key, RgbImage | str]]:
    """Yield each image without labels, or why it cannot be read."""
    for number, (connection, recorded, raw) in enumerate(source.messages(images)):
        key = key_of(recorded, raw)
        if number % every or key in done:
            continue
        try:
            message = TYPES.deserialize_cdr(raw, connection.msgtype)
            found: RgbImage | str = packed_rgb(message)
        except ImageError as error:
            found = str(error)
        except Exception as error:
            # Whatever bytes that are no such message make the decoder raise.
            found = f'It is no {connection.msgtype}: {error or type(error).__name__}.'
        yield key, found


def _note_unreadable(reason: str, key: Key, report: Report, warn: Callable[[str], object]) -> None:
    """Count an image that cannot be read, and report the first of its kind."""
    kinds = {re.sub(r'\d+', '0', known) for known in report.unreadable}
    if re.sub(r'\d+', '0', reason) not in kinds:
        warn(
            f'Cannot read the image of {report.topic} recorded at {key[0] / 1e9:.3f} s: {reason} '
            'It gets no labels; more of this kind are only counted.'
        )
    report.unreadable[reason] += 1


def _write(
    source: BagSource,
    images: list[Connection],
    store: LabelStore,
    job: LabelJob,
    report: Report,
) -> None:
    """Write the whole bag into the work folder; one that a killed run left there is removed."""
    path = job.partial / job.target.name
    if path.exists():
        shutil.rmtree(path)
    writer = BagWriter(path, job.storage or source.storage, compress=job.compress)
    try:
        with writer:
            _fill(LabelledBag(writer, source, job.outputs.topics()), source, images, store, job)
    except (OSError, sqlite3.Error) as error:
        # Room on the disk is what is short most likely.
        shutil.rmtree(path, ignore_errors=True)
        reason = getattr(error, 'strerror', None) or str(error)
        raise BagError(f'Cannot write {path}: {reason}.') from error
    report.copied = sum(writer.counts[made.id] for made in writer.connections)
    added = {output.topic for output in job.outputs.topics()}
    report.added = sum(writer.counts[c.id] for c in writer.connections if c.topic in added)
    report.copied -= report.added


def _fill(
    bag: LabelledBag,
    source: BagSource,
    images: list[Connection],
    store: LabelStore,
    job: LabelJob,
) -> None:
    """Write each recorded message, and after each labelled image what is added for it."""
    labelled = {connection.id: connection.msgtype for connection in images}
    threshold: float | None = float(store.settings()[_THRESHOLD])
    messages = source.messages(source.connections)
    for connection, recorded, raw in tqdm(
        messages, total=source.message_count, unit='message', disable=None
    ):
        bag.copy(connection, recorded, raw)
        if connection.id not in labelled:
            continue
        found = store.load(key_of(recorded, raw), job.outputs.vocabulary)
        if found is None:
            continue
        message: Any = TYPES.deserialize_cdr(raw, connection.msgtype)
        if threshold is not None:
            for output in job.outputs.for_vocabulary(message.header, threshold):
                bag.add(output, recorded)
            threshold = None
        image = packed_rgb(message) if job.outputs.overlay else None
        for output in job.outputs.for_frame(message.header, found, image):
            bag.add(output, recorded)

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
from dataclasses import dataclass
from itertools import islice
import os
import re
import shutil
import time
from typing import TypeVar

from rosbags.interfaces import Connection
from tqdm import tqdm
from zegclip_core.bags.added import AddedTopics
from zegclip_core.bags.cameras import Cameras
from zegclip_core.bags.decoding import Decoder, Frame
from zegclip_core.bags.filling import Filling, THRESHOLD
from zegclip_core.bags.job import LabelJob, named_topics
from zegclip_core.bags.report import LabelReport, TopicReport
from zegclip_core.bags.source import BagSource
from zegclip_core.bags.store import Key, key_of, LabelStore, NAME
from zegclip_core.errors import BagError, ImageError, shortened, ZegCLIPError
from zegclip_core.images.checks import RgbImage
from zegclip_core.segmentation import Segmentation

WAITING = 4
"""Images that are decoded ahead of the model."""

Item = TypeVar('Item')


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
        cameras = Cameras(source, warn).choose(job.topics)
        added = _added_topics(job, source, list(cameras))
        for camera, topics in added.items():
            if len(added) > 1 and not topics.prefix.endswith(camera):
                warn(f'{camera} is no name that ROS allows: its labels are below {topics.prefix}.')
        if job.compress and (job.storage or source.storage) != 'mcap':
            raise BagError('Expected --compress with MCAP, but the bag is to be SQLite.')
        report = LabelReport.of(source, list(cameras))
        if source.loose:
            warn(
                f'{source.path} has no metadata.yaml, as of an interrupted recording: its files '
                'are taken in the order of their first messages.'
            )
        with _work_folder(job) as store:
            run = _Run(job, source, cameras, store, report, warn)
            run.agree()
            with run.keeping():
                run.label()
                Filling(job, source, added, store, report, warn).write()
    finished = job.partial / job.target.name
    for path in finished.iterdir():
        with path.open('rb') as file:
            os.fsync(file.fileno())  # So that a name means a whole bag for sure.
    finished.rename(job.target)
    shutil.rmtree(job.partial)
    return report


def _added_topics(job: LabelJob, source: BagSource, cameras: list[str]) -> dict[str, AddedTopics]:
    """Return what is added for each camera.

    Raises:
        BagError: If the bag has such topics.
    """
    found = job.added.for_cameras(cameras)
    names = {one.topic for one in source.connections}
    taken = sorted(names & {topic for one in found.values() for topic in one.topics()})
    if taken:
        raise BagError(
            f'Expected topics that {source.path} does not have, but it has '
            f'{", ".join(taken)}: give another --prefix.'
        )
    return found


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
    """A job that is being done: its bag and cameras, and the labels and report so far."""

    job: LabelJob
    source: BagSource
    cameras: dict[str, list[Connection]]
    store: LabelStore
    report: LabelReport
    warn: Callable[[str], object]

    def agree(self) -> None:
        """Note what the labels depend on, or refuse to go on with something else."""
        self.report.settings = {
            '--topic': named_topics(self.job.topics),
            **self.job.settings,
            '--every': str(self.job.every),
            '--confidence': str(self.job.added.confidence),
        }
        wanted = {'IN': self.source.fingerprint(), **self.report.settings}
        wanted['--topic'] = ', '.join(self.cameras)  # However they are asked for.
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
        """Label every image that has no labels yet, of all cameras in one pass over the bag."""
        report, done = self.report, self.store.keys()
        for topic, _, _ in done:
            report.topics[topic].note_earlier()
        segment: Callable[[RgbImage], Segmentation] | None = None
        began = time.perf_counter()
        quiet = self.job.quiet or None
        with (
            tqdm(total=self._total(), initial=len(done), unit='frame', disable=quiet) as bar,
            closing(_ahead(self._undone_images(done), WAITING)) as frames,
        ):
            for frame in frames:
                if segment is None:
                    segment = self._load()
                    began = time.perf_counter()
                    bar.unpause()
                self._label_frame(frame, segment)
                bar.update()
        report.seconds = time.perf_counter() - began
        if not report.labelled:
            reason = ''.join(list(report.unreadable)[:1])
            names = ', '.join(self.cameras)
            raise BagError(f'Expected images on {names}, but none can be read. {reason}')

    def _total(self) -> int:
        """Return how many images there are to label."""
        counts = (sum(one.msgcount for one in found) for found in self.cameras.values())
        return sum(-(-count // self.job.every) for count in counts)

    def _load(self) -> Callable[[RgbImage], Segmentation]:
        """Load the model and return what labels an image."""
        segmenter = self.job.load()
        encoded = segmenter.encode(self.job.added.vocabulary)
        self.store.note({THRESHOLD: repr(float(segmenter.threshold))})
        return lambda image: segmenter.segment(image, encoded)

    def _undone_images(self, done: set[Key]) -> Iterator[Frame]:
        """Yield each image without labels, or why it cannot be read."""
        decoders = {topic: Decoder() for topic in self.cameras}
        counts: Counter[str] = Counter()
        connections = [one for found in self.cameras.values() for one in found]
        for message in self.source.messages(connections):
            key, topic = key_of(message), message.connection.topic
            wanted = not counts[topic] % self.job.every and key not in done
            counts[topic] += 1
            yield from decoders[topic].feed(message, key, wanted=wanted)
        for decoder in decoders.values():
            yield from decoder.flush()

    def _label_frame(self, frame: Frame, segment: Callable[[RgbImage], Segmentation]) -> None:
        """Keep the labels of an image, or note why it has none."""
        report = self.report.topics[frame.key[0]]
        try:
            if isinstance(frame.found, str):
                raise ImageError(frame.found)
            labels = segment(frame.found)
        except ImageError as error:
            self._note_unreadable(report, str(error), frame.key)
            return
        self.store.save(frame.key, labels, scores=self.job.added.confidence)
        report.labelled += 1

    def _note_unreadable(self, report: TopicReport, reason: str, key: Key) -> None:
        """Count an image that cannot be read, and report the first of its kind."""
        kinds = {re.sub(r'\d+', '0', known) for known in report.unreadable}
        if re.sub(r'\d+', '0', reason) not in kinds:
            self.warn(
                f'Cannot read the image of {report.topic} recorded at {key[1] / 1e9:.3f} s: '
                f'{reason} It gets no labels; more of this kind are only counted.'
            )
        report.unreadable[reason] += 1


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

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
"""The work on one bag, which any process of any machine can do."""

from collections.abc import Callable
from dataclasses import dataclass, field
import json
from pathlib import Path, PurePosixPath
import shutil
from typing import Any, Literal, TYPE_CHECKING

import yaml
from zegclip_core.bags.added import AddedTopics
from zegclip_core.bags.filling import note_name
from zegclip_core.bags.job import LabelJob, named_topics
from zegclip_core.bags.labelling import label_bag
from zegclip_core.errors import BagError, shortened, ZegCLIPError
from zegclip_core.fleet.finding import Task
from zegclip_core.fleet.places import at_hand, is_url, put, read_metadata, room_for

if TYPE_CHECKING:
    from zegclip_core.segmenter import Segmenter

State = Literal['done', 'partly', 'failed']


@dataclass(frozen=True)
class Work:
    """What is done with each bag; it travels to the processes that do it.

    Attributes:
        topics: The topics with the images, or patterns of them; none take all cameras.
        added: The topics that are added for a camera, with the classes.
        load: Loads the model, once for each process, given how many share the processor.
        settings: What else the labels depend on, by the name of the option that sets it.
        cache: Folder for what comes from URLs and goes to them.
        storage: ``mcap`` or ``sqlite3``; ``None`` takes that of each bag.
        compress: Whether the chunks of an MCAP are compressed.
        every: Of how many images of a topic one is labelled.
    """

    topics: tuple[str, ...]
    added: AddedTopics
    load: 'Callable[[int], Segmenter]'
    settings: dict[str, str]
    cache: Path
    storage: str | None = None
    compress: bool = False
    every: int = 1


@dataclass
class Outcome:
    """What became of a bag.

    Attributes:
        task: The bag.
        state: Whether it is done, done in part as it is damaged, or failed.
        reason: Why it is not done, or what of it is not.
        note: What the labelled bag says of its labels; empty if it failed.
        earlier: Whether it was done before this run.
        lines: What was said about it.
    """

    task: Task
    state: State
    reason: str = ''
    note: dict[str, Any] = field(default_factory=dict)
    earlier: bool = False
    lines: list[str] = field(default_factory=list)


def done_before(task: Task, work: Work) -> Outcome | None:
    """Return the outcome of a bag that is labelled already; ``None`` if it is not.

    Raises:
        BagError: If something else is at its place, or it was labelled in another way.
    """
    text = read_metadata(task.target)
    if text is None:
        if not is_url(task.target) and Path(task.target).exists():
            raise BagError(f'Expected a new bag at {task.target}, but something else is there.')
        return None
    try:
        content = yaml.safe_load(text)['rosbag2_bagfile_information']
        note = json.loads(content['custom_data'][note_name(work.added.prefix)])
        known = {**note['settings'], **note['written']}
        topics = content['topics_with_message_count']
        there = {one['topic_metadata']['name'] for one in topics}
        wanted = work.added.for_cameras([one['topic'] for one in note['topics']]).values()
    except (KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise BagError(
            f'Expected {task.target} to be new, but a bag without these labels is there.'
        ) from error
    for name, value in _demands(work).items():
        if known.get(name) != value:
            raise _differs(task, f'with {name} {_short(known.get(name))}, not {_short(value)}')
    missing = sorted({topic for one in wanted for topic in one.topics()} - there)
    if missing:
        raise _differs(task, f'without {_short(", ".join(missing))}')
    return _outcome(task, note, earlier=True)


def _demands(work: Work) -> dict[str, str]:
    """Return what a labelled bag has to say of itself; what was not asked for may be there."""
    demands = {**work.settings, '--topic': named_topics(work.topics), '--every': str(work.every)}
    if work.storage:
        demands['--storage'] = work.storage
    if work.compress:
        demands['--compress'] = str(work.compress)
    return demands


def _differs(task: Task, how: str) -> BagError:
    return BagError(f'{task.target} was labelled {how}: remove it, or give another --out.')


def _short(value: object) -> str:
    return shortened(str(value))


def _outcome(task: Task, note: dict[str, Any], *, earlier: bool = False) -> Outcome:
    """Return the outcome of a bag whose labels are there."""
    unreadable = sum(one['unreadable'] for one in note['topics'])
    faults = list(note['faults'])
    if unreadable:
        faults.append(f'{unreadable} images could not be read.')
    state: State = 'partly' if faults else 'done'
    return Outcome(task, state, ' '.join(faults), note, earlier)


class Worker:
    """Labels bags one after another with one model; a fault of one bag costs no other.

    Args:
        work: What is done with each.
        sharing: How many workers share the processor of the machine, this one included.
    """

    def __init__(self, work: Work, sharing: int = 1) -> None:
        self._work, self._sharing = work, sharing
        self._model: Segmenter | None = None

    def label(self, task: Task) -> Outcome:
        """Label a bag, and return what became of it."""
        lines: list[str] = []
        try:
            note = self._label(task, lines.append)
        except ZegCLIPError as error:
            return Outcome(task, 'failed', str(error), lines=lines)
        except OSError as error:
            reason = f'{error.filename or task.source}: {error.strerror or error}.'
            return Outcome(task, 'failed', reason, lines=lines)
        except Exception as error:  # A fault of the program, which is not to end the batch.
            text = ' '.join(str(error).split())[:200]
            reason = f'{type(error).__name__}: {text} (a fault of the program)'
            return Outcome(task, 'failed', reason, lines=lines)
        found = _outcome(task, note)
        found.lines = lines
        return found

    def _load(self) -> 'Segmenter':
        if self._model is None:
            self._model = self._work.load(self._sharing)
        return self._model

    def _label(self, task: Task, warn: Callable[[str], object]) -> dict[str, Any]:
        """Label a bag where it is to be, or in the cache, from where it is copied to its URL."""
        if not is_url(task.target):
            return self._labelled(task, Path(task.target), warn)
        room = room_for(task.target, self._work.cache)
        target = room / PurePosixPath(task.target).name
        note = _waiting(task, target, self._work) or self._labelled(task, target, warn)
        put(target, task.target)
        shutil.rmtree(room)
        return note

    def _labelled(self, task: Task, target: Path, warn: Callable[[str], object]) -> dict[str, Any]:
        """Label a bag, or a copy of it."""
        work = self._work
        with at_hand(task.source, work.cache) as source:
            job = LabelJob(
                source=source,
                target=target,
                topics=work.topics,
                added=work.added,
                load=self._load,
                settings=work.settings,
                storage=work.storage,
                compress=work.compress,
                every=work.every,
                quiet=True,
            )
            report = label_bag(job, warn)
        return dict(json.loads(report.note()))


def _waiting(task: Task, target: Path, work: Work) -> dict[str, Any] | None:
    """Return the note of a labelled bag whose way to its URL broke off; remove another one."""
    try:
        found = done_before(Task(task.source, str(target)), work)
    except BagError:
        found = None
    if found is None:
        shutil.rmtree(target, ignore_errors=True)
    return None if found is None else found.note

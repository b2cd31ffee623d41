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
"""What the events of a case say: latencies, where they come from, lost frames, and the order."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from benchmarks.events import Event, expected_label
from benchmarks.receiver import CLASSES
import numpy as np

STAGES = (
    'camera: write',
    'camera to node',
    'node: read',
    'node: wait for the worker',
    'node: take up the frame',
    'node: make the label image',
    'node: write',
    'node to receiver',
    'receiver: read',
)
"""What the added latency consists of, one after the other; the model comes after the fifth."""

_NEAR = 100
_SLACK = 50_000_000
"""Nanoseconds before a request within which a frame may still be in work, so that it counts."""


@dataclass(frozen=True)
class Frame:
    """One frame that was sent, and what is known of it, in nanoseconds of the system's clock.

    Attributes:
        number: Number in the order of sending.
        stamp: Stamp in its header.
        arrived: When the node got it, or ``None``.
        segmented: When the model worked on it.
        published: When its labels were published.
        label: When and as what its labels came.
    """

    number: int
    stamp: int
    arrived: Event | None
    segmented: Event | None
    published: Event | None
    label: Event | None

    @property
    def added(self) -> int | None:
        """Arrival of the labels minus stamp minus time of the model."""
        if self.label is None or self.segmented is None:
            return None
        cost = self.segmented['ended'] - self.segmented['began']
        return int(self.label['time'] - self.stamp - cost)

    def stages(self, free: int) -> list[int] | None:
        """Return how long each of ``STAGES`` took.

        Args:
            free: When the worker was done with the frame before.
        """
        came, model, left, label = self.arrived, self.segmented, self.published, self.label
        if came is None or model is None or left is None or label is None:
            return None
        begun = min(max(free, came['time']), model['began'])
        before = [self.stamp, came['written'], came['received'], came['time'], begun]
        after = [model['ended'], left['began'], label['written'], label['received']]
        return [*_steps([*before, model['began']]), *_steps([*after, label['time']])]


def _steps(times: Sequence[int]) -> list[int]:
    return [later - earlier for earlier, later in pairwise(times)]


def join(camera: Sequence[Event], node: Sequence[Event], receiver: Sequence[Event]) -> list[Frame]:
    """Return the frames that were sent, each with what happened to it."""
    by = {
        kind: {event[key]: event for event in events if event['kind'] == kind}
        for kind, key, events in (
            ('arrived', 'stamp', node),
            ('segmented', 'number', node),
            ('published', 'stamp', node),
            ('label', 'stamp', receiver),
        )
    }
    return [
        Frame(
            number=sent['number'],
            stamp=sent['stamp'],
            arrived=by['arrived'].get(sent['stamp']),
            segmented=by['segmented'].get(sent['number']),
            published=by['published'].get(sent['stamp']),
            label=by['label'].get(sent['stamp']),
        )
        for sent in camera
    ]


@dataclass(frozen=True)
class Work:
    """A frame that the node worked on.

    Attributes:
        frame: The frame.
        free: When the worker was done with the frame before, 0 if it is the first.
    """

    frame: Frame
    free: int


def works(frames: Iterable[Frame]) -> list[Work]:
    """Return the frames that the node worked on, in the order of its work."""
    worked = [frame for frame in frames if frame.segmented is not None]
    found, free = [], 0
    for frame in sorted(worked, key=lambda entry: (entry.segmented or {})['began']):
        found.append(Work(frame, free))
        free = (frame.segmented or {})['ended']
        if frame.published is not None:
            free = max(free, frame.published['ended'])
    return found


def stale(frames: Sequence[Frame]) -> list[int]:
    """Return the numbers of frames that were worked on although a newer one had arrived.

    A newer one had arrived if the node's callback was done with it before the worker was free.
    """
    return [work.frame.number for work in works(frames) if _newest(frames, 'handed', work) > 0]


def overtaken(frames: Sequence[Frame]) -> int:
    """Return how often a newer frame lay in the middleware, not read yet, when work began."""
    return sum(_newest(frames, 'received', work) > 0 for work in works(frames))


def _newest(frames: Sequence[Frame], moment: str, work: Work) -> int:
    """Return the number of the newest frame that was there, 0 if none was newer."""
    # The frames around this one suffice: numbers grow with time.
    place = work.frame.number - frames[0].number
    near = frames[place:][:_NEAR]
    newer = (
        frame.number
        for frame in near
        if frame.number > work.frame.number
        and frame.arrived is not None
        and frame.arrived[moment] <= work.free
    )
    return max(newer, default=0)


def spread(nanoseconds: Iterable[int]) -> dict[str, float] | None:
    """Return median, 95th percentile and maximum in milliseconds, ``None`` of nothing."""
    values = np.array(list(nanoseconds), float) / 1e6
    if not len(values):
        return None
    names = ('p50', 'p95', 'max')
    return {
        name: round(float(value), 3)
        for name, value in zip(names, np.percentile(values, (50, 95, 100)), strict=True)
    }


def _wrong(frames: Iterable[Frame]) -> int:
    """Return how many frames got labels that are not those of their picture."""
    return sum(
        frame.label is not None and frame.label['label'] != expected_label(frame.number, CLASSES)
        for frame in frames
    )


def by_stage(frames: Sequence[Frame]) -> dict[str, dict[str, float] | None]:
    """Return how long each stage took."""
    taken = [work.frame.stages(work.free) for work in works(frames)]
    rows = [row for row in taken if row is not None]
    return {name: spread(row[place] for row in rows) for place, name in enumerate(STAGES)}


def by_time(frames: Sequence[Frame], window: float) -> list[dict[str, float]]:
    """Return the added latency of each full window of time, in milliseconds."""
    timed = [(frame.stamp, frame.added) for frame in frames if frame.added is not None]
    if not timed:
        return []
    first, last = frames[0].stamp, frames[-1].stamp
    rows = []
    for place in range(round((last - first) / 1e9 / window)):
        begin = first + place * window * 1e9
        picked = [added for stamp, added in timed if 0 <= stamp - begin < window * 1e9]
        figures = spread(picked)
        if figures is not None:
            rows.append({'seconds': (place + 0.5) * window, 'frames': len(picked), **figures})
    return rows


def changes(frames: Sequence[Frame], receiver: Sequence[Event]) -> dict[str, Any] | None:
    """Return what changes of the words cost, ``None`` if there were none.

    A frame is lost to a change if it was sent after the change was asked for and before the next
    one, or was in work then, and came to the node, which published no labels of it.
    """
    times = [event['time'] for event in receiver if event['kind'] == 'asked']
    times = [time for time in times if frames[0].stamp + _SLACK <= time <= frames[-1].stamp]
    if len(times) < 2:
        return None
    lost = [_lost(frames, *pair) for pair in pairwise(times)]
    taken = {event['first'] for event in receiver if event['kind'] == 'words'}
    asked = [event for event in receiver if event['kind'] == 'asked' and event['time'] in times]
    missing = [event['turn'] for event in asked if f'thing {event["turn"]} 0' not in taken]
    gaps = _gaps(frames)
    return {
        'changes': len(lost),
        'lost': lost,
        'most': max(lost),
        'not taken over': missing,
        'gap [ms]': spread(gaps),
    }


def _gaps(frames: Sequence[Frame]) -> list[int]:
    """Return the times between the labels of two frames."""
    came = sorted(frame.label['time'] for frame in frames if frame.label is not None)
    return [later - earlier for earlier, later in pairwise(came)]


def _lost(frames: Sequence[Frame], begin: int, end: int) -> int:
    between = (frame for frame in frames if begin - _SLACK <= frame.stamp < end - _SLACK)
    return sum(frame.arrived is not None and frame.published is None for frame in between)


def figures(frames: Sequence[Frame], receiver: Sequence[Event]) -> dict[str, Any]:
    """Return all figures of a case, for JSON; frames must be those of the time measured."""
    added = [frame.added for frame in frames if frame.added is not None]
    model = [frame.segmented for frame in frames if frame.segmented is not None]
    said: list[Mapping[str, Any]] = [
        event['values'] for event in receiver if event['kind'] == 'diagnostics'
    ]
    wrong_order = stale(frames)
    return {
        'sent': len(frames),
        'arrived': sum(frame.arrived is not None for frame in frames),
        'processed': len(model),
        'received': sum(frame.label is not None for frame in frames),
        'wrong labels': _wrong(frames),
        'added [ms]': spread(added),
        'model [ms]': spread(event['ended'] - event['began'] for event in model),
        'stages [ms]': by_stage(frames),
        'stale': {'count': len(wrong_order), 'of': len(model), 'first': wrong_order[:10]},
        'newer one not read yet': overtaken(frames),
        'changes of words': changes(frames, receiver) if frames else None,
        'diagnostics': said[-1] if said else None,
    }

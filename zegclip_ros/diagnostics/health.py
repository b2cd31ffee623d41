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
"""How the node is, and what ``/diagnostics`` says of it: frames, cameras, the node as a whole."""

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
import threading
import time

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
import numpy as np
from zegclip_ros.diagnostics.unlabelled import unknown_words_text, unlabelled_text

DIAGNOSTICS_INTERVAL = 1.0
"""Seconds between two messages."""
SILENCE = 2.0
"""Seconds without an image after which a camera is reported to be silent."""
MEMORY_ALARM = 60.0
"""Seconds for which the loss of a frame for lack of memory is reported."""
STAGES = ('wait', 'pre-process', 'model', 'post-process', 'publish')
"""What a frame passes, in this order; its times add up to the time that it is in the node."""
DROPS = ('newer frame', 'bad image', 'no words', 'nobody listens', 'out of memory', 'fault')
"""Reasons why a frame that arrived is not labelled."""
RATE_WINDOW = 5.0
"""Seconds over which rates are measured."""
LATENCY_WINDOW = 256
"""Number of the newest frames whose latencies are kept."""


@dataclass(frozen=True)
class Snapshot:
    """The statistics at one moment.

    Attributes:
        input_rate: Frames that arrived per second, over the last ``RATE_WINDOW`` seconds [Hz].
        output_rate: Frames labelled per second, over the same time [Hz].
        dropped: Frames that were not labelled, by each of ``DROPS``; like the other two counts,
            since the start.
        latencies: By each of ``STAGES``, median and 95th percentile in seconds over the last
            ``LATENCY_WINDOW`` frames; empty before the first frame.
    """

    frames_in: int
    frames_out: int
    input_rate: float
    output_rate: float
    dropped: Mapping[str, int]
    latencies: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class CameraHealth:
    """A camera and its frames at one moment.

    Attributes:
        figures: Statistics of its frames.
        silent_seconds: Seconds without an image; ``None`` unless the node is subscribed.
        topic: The topic of its images.
        working_seconds: Seconds for which frames were wanted without a break.
        missing: What else the outputs wait for, in one line; ``None`` if for nothing.
        unlabelled_seconds: Seconds for which images have arrived and none was labelled.
        cause: What the last image was dropped for since then, of ``DROPS`` or
            ``unlabelled.ENCODING``; ``''`` if none was dropped.
        reason: The error of the last of them; ``''`` if there was none.
    """

    figures: Snapshot
    silent_seconds: float | None
    topic: str
    working_seconds: float
    missing: str | None = None
    unlabelled_seconds: float = 0.0
    cause: str = ''
    reason: str = ''

    def warning(self, min_rate: float) -> str | None:
        """Return what is wrong with the camera or its frames; ``None`` if nothing is."""
        if self.silent_seconds is not None and self.silent_seconds >= SILENCE:
            return f'No image on {self.topic} for {self.silent_seconds:.0f} s.'
        if self.missing is not None:
            return self.missing
        if self.unlabelled_seconds >= SILENCE:
            return unlabelled_text(self.topic, self.unlabelled_seconds, self.cause, self.reason)
        # A window that is not full yet would show a rate that nobody has seen.
        if self.figures.output_rate < min_rate and self.working_seconds >= SILENCE:
            return (
                f'The output rate of {self.figures.output_rate:.1f} Hz is under the min_rate of '
                f'{min_rate:.1f} Hz.'
            )
        return None


class _Rate:
    """Counts events, and those of the last seconds."""

    def __init__(self) -> None:
        self.total = 0
        self._times: deque[float] = deque()

    def count(self, now: float) -> None:
        self.total += 1
        self._times.append(now)
        self._forget(now)

    def per_second(self, now: float, since: float) -> float:
        """Return the rate over the window, or over the time since the start if that is less."""
        self._forget(now)
        return len(self._times) / max(min(RATE_WINDOW, now - since), 1.0)

    def _forget(self, now: float) -> None:
        while self._times and self._times[0] < now - RATE_WINDOW:
            self._times.popleft()


class Statistics:
    """Counts and times the frames of a camera since the start; thread-safe.

    ``total`` are the statistics of all cameras, which count every frame as well.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        total: 'Statistics | None' = None,
    ) -> None:
        self._clock = clock
        self._total = total
        self._lock = threading.Lock()
        self._arrivals = _Rate()
        self._labelled = _Rate()
        self._dropped: Counter[str] = Counter()
        self._latencies: deque[tuple[float, ...]] = deque(maxlen=LATENCY_WINDOW)
        self._since = clock()
        self._last_image: float | None = None
        self._wanted_since: float | None = None
        self._waiting_since: float | None = None
        self._cause = self._reason = ''

    def restart(self) -> None:
        """Begin to measure rates, latencies and silence anew; totals are kept."""
        with self._lock:
            totals = self._arrivals.total, self._labelled.total
            self._arrivals, self._labelled = _Rate(), _Rate()
            self._arrivals.total, self._labelled.total = totals
            self._latencies.clear()
            self._since = self._clock()
            self._last_image = self._wanted_since = None
            self._settle()

    def _settle(self) -> None:
        """Forget the images that wait for labels, as one has got some or none is wanted."""
        self._waiting_since = None
        self._cause = self._reason = ''

    def arrived(self) -> None:
        """Count a frame that arrived, whether it can be used or not."""
        with self._lock:
            self._last_image = self._clock()
            self._arrivals.count(self._last_image)
            if self._waiting_since is None:
                self._waiting_since = self._last_image
        if self._total is not None:
            self._total.arrived()

    def dropped(self, reason: str, error: str = '', cause: str = '') -> None:
        """Count a frame that is not labelled, for one of ``DROPS``.

        Args:
            reason: Which one.
            error: What was wrong with it, if something was.
            cause: What to call it in ``CameraHealth``; ``''`` for the reason's own name.
        """
        with self._lock:
            self._dropped[reason] += 1
            if reason == 'nobody listens':
                self._settle()
            # A frame that is replaced tells less than an error before it.
            elif not (reason == 'newer frame' and self._reason):
                self._cause, self._reason = cause or reason, error
        if self._total is not None:
            self._total.dropped(reason, error, cause)

    def labelled(self, times: Mapping[str, float]) -> None:
        """Count a frame that was labelled, with the seconds that each of ``STAGES`` took."""
        with self._lock:
            self._labelled.count(self._clock())
            self._latencies.append(tuple(times[stage] for stage in STAGES))
            self._settle()
        if self._total is not None:
            self._total.labelled(times)

    def wanted(self, wanted: bool) -> None:
        """Record whether frames are to be labelled now."""
        if not wanted:
            self._wanted_since = None
        elif self._wanted_since is None:
            self._wanted_since = self._clock()

    def health(
        self, topic: str, subscribed_seconds: float | None, missing: str | None = None
    ) -> CameraHealth:
        """Return how the camera on a topic is, to which the node has subscribed for so long."""
        now, since, last = self._clock(), self._wanted_since, self._last_image
        silent = subscribed_seconds
        if silent is not None and last is not None:
            silent = min(silent, now - last)
        return CameraHealth(
            figures=self.snapshot(),
            silent_seconds=silent,
            topic=topic,
            working_seconds=0.0 if since is None else now - since,
            missing=missing,
            unlabelled_seconds=self._unlabelled(now, since),
            cause=self._cause,
            reason=self._reason,
        )

    def _unlabelled(self, now: float, wanted_since: float | None) -> float:
        """Return for how long images have arrived and none was labelled."""
        with self._lock:
            waiting = self._waiting_since
            if waiting is None:
                return 0.0
            # Refused images are reported whether somebody listens or not.
            if wanted_since is None:
                return now - waiting if self._reason else 0.0
            return now - max(waiting, wanted_since)

    def snapshot(self) -> Snapshot:
        """Return the statistics at this moment."""
        with self._lock:
            now = self._clock()
            latencies = {}
            if self._latencies:
                pairs = np.percentile(np.array(self._latencies), (50.0, 95.0), axis=0).T.tolist()
                latencies = dict(zip(STAGES, map(tuple, pairs), strict=True))
            return Snapshot(
                frames_in=self._arrivals.total,
                frames_out=self._labelled.total,
                input_rate=self._arrivals.per_second(now, self._since),
                output_rate=self._labelled.per_second(now, self._since),
                dropped={reason: self._dropped[reason] for reason in DROPS},
                latencies=latencies,
            )


@dataclass(frozen=True)
class Health:
    """The node at one moment.

    Attributes:
        enabled: Whether frames are labelled while it is active.
        version: Version of the vocabulary in use, 0 if there is none.
        cameras: The cameras by name, ``''`` for the only one; empty unless configured.
        min_rate: Output rate of a camera below which to warn [Hz], 0 for none.
        refusal: Why the last request of words was refused; ``None`` if it was not.
        fault: What keeps the node from working; ``None`` if nothing does.
        memory_fault_seconds: Seconds since a frame was lost for lack of memory; ``None`` if none.
        memory_bytes: Memory of the device that is held; ``None`` on a CPU.
        last_error: The last error, ``''`` if there was none.
        word_warning: Which of the words in use the model may not know; ``''`` if it knows all.
    """

    state: str
    enabled: bool
    model: str
    device: str
    version: int
    classes: int
    figures: Snapshot
    cameras: Mapping[str, CameraHealth]
    min_rate: float
    refusal: str | None
    fault: str | None
    memory_fault_seconds: float | None
    memory_bytes: int | None
    last_error: str
    word_warning: str = ''


def _in_short(health: Health) -> str:
    """Return what is said of a node that has no problem."""
    paused = health.state == 'active' and not health.enabled
    return f'The node is {health.state}{" and paused" if paused else ""}.'


def judge(health: Health) -> tuple[bytes, str]:
    """Return the diagnostic level and message of a node, for the gravest of its problems."""
    lost = health.memory_fault_seconds
    if health.fault is not None:
        return DiagnosticStatus.ERROR, health.fault
    if lost is not None and lost < MEMORY_ALARM:
        return DiagnosticStatus.ERROR, 'A frame was lost: the device is out of memory.'
    for name, camera in health.cameras.items():
        warning = camera.warning(health.min_rate)
        if warning is not None:
            return DiagnosticStatus.WARN, f'{name}: {warning}' if name else warning
    if health.refusal is not None:
        return DiagnosticStatus.WARN, f'The last words were refused: {health.refusal}'
    if health.word_warning:
        return DiagnosticStatus.WARN, unknown_words_text(health.word_warning)
    return DiagnosticStatus.OK, _in_short(health)


def entries(health: Health) -> dict[str, str]:
    """Return the key-value pairs of the message about the node as a whole."""
    values = {
        'state': health.state,
        'enabled': 'yes' if health.enabled else 'no',
        'model': health.model,
        'device': health.device,
        'vocabulary version': str(health.version),
        'classes': str(health.classes),
        **_frame_entries(health.figures),
    }
    if health.memory_bytes is not None:
        values['memory [MB]'] = f'{health.memory_bytes / 2**20:.0f}'
    return values | {'last error': health.last_error}


def _frame_entries(figures: Snapshot) -> dict[str, str]:
    """Return the key-value pairs for counts and times of frames."""
    values = {
        'frames in': str(figures.frames_in),
        'frames out': str(figures.frames_out),
        'input rate [Hz]': f'{figures.input_rate:.2f}',
        'output rate [Hz]': f'{figures.output_rate:.2f}',
    }
    values |= {f'dropped: {reason}': str(count) for reason, count in figures.dropped.items()}
    for stage, (median, p95) in figures.latencies.items():
        values[f'{stage} p50 [ms]'] = f'{1000.0 * median:.2f}'
        values[f'{stage} p95 [ms]'] = f'{1000.0 * p95:.2f}'
    return values


def diagnostics_of(health: Health, node: str) -> DiagnosticArray:
    """Return a status of the node of this name and one of each of several cameras.

    As ``diagnostic_updater`` would; it is not on the package index.
    """
    parts = [('segmentation', *judge(health), entries(health))]
    for name, camera in health.cameras.items():
        if name:
            warning = camera.warning(health.min_rate)
            level = DiagnosticStatus.OK if warning is None else DiagnosticStatus.WARN
            message = warning or _in_short(health)
            parts.append((f'camera {name}', level, message, _frame_entries(camera.figures)))
    return DiagnosticArray(
        status=[
            DiagnosticStatus(
                level=level,
                name=f'{node}: {part}',
                message=message,
                hardware_id=health.device,
                values=[KeyValue(key=key, value=value) for key, value in values.items()],
            )
            for part, level, message, values in parts
        ]
    )

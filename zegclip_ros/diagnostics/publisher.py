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
"""What the node says of itself on ``/diagnostics``."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from zegclip_ros.diagnostics.frame_statistics import Snapshot

INTERVAL = 1.0
"""Seconds between two messages."""
SILENCE = 2.0
"""Seconds without an image after which a camera is told to be silent."""
MEMORY_ALARM = 60.0
"""Seconds for which it is told that a frame was lost for lack of memory."""


@dataclass(frozen=True)
class Health:
    """The node at one moment.

    Attributes:
        state: Label of the lifecycle state.
        model: Name of the model.
        device: Where it runs.
        version: Version of the vocabulary in use, 0 if there is none.
        classes: Number of its classes.
        figures: What was counted and timed.
        silent_seconds: Seconds without an image while subscribed to one; ``None`` if not
            subscribed.
        topic: The camera's topic.
        working_seconds: Seconds for which frames were wanted without a break.
        min_rate: Output rate under which to warn [Hz], 0 for none.
        refusal: Why the last request of words was refused; ``None`` if it was not.
        fault: What keeps the node from working; ``None`` if nothing does.
        memory_fault_seconds: Seconds since a frame was lost for lack of memory; ``None`` if none.
        memory_bytes: Memory of the device that is held; ``None`` on a CPU.
        last_error: The last thing that went wrong, '' if nothing did.
        cameras: The same as far as each of several cameras shows it, by name; then ``figures`` are
            those of all cameras together.
    """

    state: str
    model: str
    device: str
    version: int
    classes: int
    figures: Snapshot
    silent_seconds: float | None
    topic: str
    working_seconds: float
    min_rate: float
    refusal: str | None
    fault: str | None
    memory_fault_seconds: float | None
    memory_bytes: int | None
    last_error: str
    cameras: Mapping[str, 'Health'] = field(default_factory=dict)


def judge(health: Health) -> tuple[bytes, str]:
    """Return the level and the message that a node's health deserves, the gravest first."""
    lost = health.memory_fault_seconds
    if health.fault is not None:
        return DiagnosticStatus.ERROR, health.fault
    if lost is not None and lost < MEMORY_ALARM:
        return DiagnosticStatus.ERROR, 'A frame was lost: the device is out of memory.'
    warning = _warning(health)
    if warning is not None:
        return DiagnosticStatus.WARN, warning
    return DiagnosticStatus.OK, f'The node is {health.state}.'


def _warning(health: Health) -> str | None:
    """Return what is not as it should be although the node works."""
    for name, camera in {'': health, **health.cameras}.items():
        text = _camera_warning(camera)
        if text is not None:
            return f'{name}: {text}' if name else text
    if health.refusal is not None:
        return f'The last words were refused: {health.refusal}'
    return None


def _camera_warning(health: Health) -> str | None:
    """Return what is not as it should be with a camera or its frames."""
    if health.silent_seconds is not None and health.silent_seconds >= SILENCE:
        return f'No image on {health.topic} for {health.silent_seconds:.0f} s.'
    slow = health.figures.output_rate < health.min_rate
    # A window that is not full yet would tell of a rate that nobody has seen.
    if slow and health.working_seconds >= SILENCE:
        return (
            f'The output rate of {health.figures.output_rate:.1f} Hz is under the min_rate of '
            f'{health.min_rate:.1f} Hz.'
        )
    return None


def entries(health: Health) -> dict[str, str]:
    """Return the figures as the key-value pairs of the message."""
    values = {
        'state': health.state,
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
    """Return what was counted and timed of frames."""
    values = {
        'frames in': str(figures.frames_in),
        'frames out': str(figures.frames_out),
        'input rate [Hz]': f'{figures.input_rate:.2f}',
        'output rate [Hz]': f'{figures.output_rate:.2f}',
    }
    values |= {f'dropped: {reason}': str(count) for reason, count in figures.dropped.items()}
    for stage, times in figures.latencies.items():
        values[f'{stage} p50 [ms]'] = f'{1000.0 * times.p50:.2f}'
        values[f'{stage} p95 [ms]'] = f'{1000.0 * times.p95:.2f}'
    return values


class DiagnosticsPublisher:
    """Publishes a node's health on ``/diagnostics``, as ``diagnostic_updater`` would.

    That package is not on the package index, and has no more than this to give.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._name = node.get_fully_qualified_name().lstrip('/')
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 1)

    def publish(self, health: Health) -> None:
        """Publish one message, with the present time as its stamp."""
        whole = self._status('segmentation', *judge(health), entries(health), health.device)
        cameras = [
            self._camera_status(name, camera, health.device)
            for name, camera in health.cameras.items()
        ]
        array = DiagnosticArray(status=[whole, *cameras])
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(array)

    def _camera_status(self, name: str, camera: Health, device: str) -> DiagnosticStatus:
        """Return how one of several cameras and its frames are."""
        warning = _camera_warning(camera)
        level = DiagnosticStatus.OK if warning is None else DiagnosticStatus.WARN
        message = warning or f'The node is {camera.state}.'
        figures = _frame_entries(camera.figures)
        return self._status(f'camera {name}', level, message, figures, device)

    def _status(
        self, part: str, level: bytes, message: str, values: Mapping[str, str], device: str
    ) -> DiagnosticStatus:
        """Return the status of a part of the node."""
        return DiagnosticStatus(
            level=level,
            name=f'{self._name}: {part}',
            message=message,
            hardware_id=device,
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )

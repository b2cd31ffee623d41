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
"""What the node reports of itself on ``/diagnostics``."""

from collections.abc import Mapping
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from zegclip_ros.diagnostics.frame_statistics import Snapshot

INTERVAL = 1.0
"""Seconds between two messages."""
SILENCE = 2.0
"""Seconds without an image after which a camera is reported to be silent."""
MEMORY_ALARM = 60.0
"""Seconds for which the loss of a frame for lack of memory is reported."""


@dataclass(frozen=True)
class CameraHealth:
    """A camera and its frames at one moment.

    Attributes:
        figures: Counts and times of its frames.
        silent_seconds: Seconds without an image while the node is subscribed; ``None`` if it is
            not.
        topic: The topic of its images.
        working_seconds: Seconds for which frames were wanted without a break.
    """

    figures: Snapshot
    silent_seconds: float | None
    topic: str
    working_seconds: float

    def warning(self, min_rate: float) -> str | None:
        """Return what is wrong with the camera or its frames; ``None`` if nothing is.

        Args:
            min_rate: Output rate below which to warn [Hz].
        """
        if self.silent_seconds is not None and self.silent_seconds >= SILENCE:
            return f'No image on {self.topic} for {self.silent_seconds:.0f} s.'
        # A window that is not full yet would show a rate that nobody has seen.
        if self.figures.output_rate < min_rate and self.working_seconds >= SILENCE:
            return (
                f'The output rate of {self.figures.output_rate:.1f} Hz is under the min_rate of '
                f'{min_rate:.1f} Hz.'
            )
        return None


@dataclass(frozen=True)
class Health:
    """The node at one moment.

    Attributes:
        state: Label of the lifecycle state.
        model: Name of the model.
        device: Where it runs.
        version: Version of the vocabulary in use, 0 if there is none.
        classes: Number of its classes.
        figures: Counts and times of the frames of all cameras together.
        cameras: The cameras by name, ``''`` for the only one; empty unless configured.
        min_rate: Output rate of a camera below which to warn [Hz], 0 for none.
        refusal: Why the last request of words was refused; ``None`` if it was not.
        fault: What keeps the node from working; ``None`` if nothing does.
        memory_fault_seconds: Seconds since a frame was lost for lack of memory; ``None`` if none.
        memory_bytes: Memory of the device that is held; ``None`` on a CPU.
        last_error: The last error, ``''`` if there was none.
    """

    state: str
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
    return DiagnosticStatus.OK, f'The node is {health.state}.'


def entries(health: Health) -> dict[str, str]:
    """Return the key-value pairs of the message about the node as a whole."""
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
    """Return the key-value pairs for counts and times of frames."""
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

    That package is not on the package index, and would replace only a few lines.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._name = node.get_fully_qualified_name().lstrip('/')
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 1)

    def publish(self, health: Health) -> None:
        """Publish a status of the node and one of each of several cameras, stamped now."""
        parts = [('segmentation', *judge(health), entries(health))]
        for name, camera in health.cameras.items():
            if name:
                warning = camera.warning(health.min_rate)
                level = DiagnosticStatus.OK if warning is None else DiagnosticStatus.WARN
                message = warning or f'The node is {health.state}.'
                parts.append((f'camera {name}', level, message, _frame_entries(camera.figures)))
        array = DiagnosticArray(
            status=[
                DiagnosticStatus(
                    level=level,
                    name=f'{self._name}: {part}',
                    message=message,
                    hardware_id=health.device,
                    values=[KeyValue(key=key, value=value) for key, value in values.items()],
                )
                for part, level, message, values in parts
            ]
        )
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(array)

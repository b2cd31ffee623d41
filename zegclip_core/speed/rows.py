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
"""What was measured: rows, and the report that holds them."""

from dataclasses import dataclass
import statistics
from typing import Any

import numpy as np
from zegclip_core.speed.cases import Case
from zegclip_core.speed.ceiling import Ceiling
from zegclip_core.speed.sides import Timed

START_PARTS = (
    'Python, and import of PyTorch',
    'import of the rest',
    'image tower, decoder and text tower',
    'first run: buffers, kernels, graphs',
    'words',
    'first frame',
)
"""Of the time to the first label, in the order in which they pass."""
NOTHING_LEFT_OUT = 'nothing'
"""What the lean path lacks where it has all of its savings."""


@dataclass(frozen=True)
class Row:
    """One side in one case.

    Attributes:
        side: Its name.
        case: What was asked of it.
        skipped: Why it was not measured; empty if it was.
        times: Every call that counts.
        peak_mb: Most memory in use while it worked [MB]; ``None`` if that cannot be told.
        agreement: Share of pixels labelled as by ``plain``; ``None`` if that was not measured.
        agreement_literal: Likewise by ``literal``.
        flops: Operations that its model needs.
    """

    side: str
    case: Case
    skipped: str = ''
    times: tuple[Timed, ...] = ()
    peak_mb: float | None = None
    agreement: float | None = None
    agreement_literal: float | None = None
    flops: float = 0.0

    @property
    def model_ms(self) -> float | None:
        """Median time of the model alone [ms]."""
        times = [1e3 * time.model for time in self.times]
        return statistics.median(times) if times else None

    @property
    def total_ms(self) -> float | None:
        """Median time from frames to labels [ms]."""
        times = [1e3 * time.total for time in self.times]
        return statistics.median(times) if times else None

    @property
    def spread_ms(self) -> float | None:
        """Distance between the quartiles of the total times [ms]; ``None`` of one alone."""
        if len(self.times) < 2:
            return None
        low, high = np.percentile([1e3 * time.total for time in self.times], [25, 75])
        return float(high - low)

    def times_as_long(self, other: 'Row') -> float | None:
        """Return how many times as long as another this takes, from frames to labels.

        It is the median over the rounds, in each of which both had their turn: what slows the
        machine down for a while slows both. ``None`` if there is no such round.
        """
        rounds = zip(self.times, other.times, strict=False)  # One may have been given up.
        ratios = [mine.total / its.total for mine, its in rounds]
        return statistics.median(ratios) if ratios else None

    def share_of_peak(self, ceiling: Ceiling) -> float | None:
        """Return the model's rate of operations as a share of the device's highest."""
        if self.model_ms is None:
            return None
        return self.flops / (1e-3 * self.model_ms) / (1e12 * ceiling.peak_tflops)

    def to_dict(self, ceiling: Ceiling) -> dict[str, Any]:
        """Return the row as the JSON file has it; one that was skipped says why."""
        case = self.case
        found: dict[str, Any] = {
            'side': self.side,
            'height': case.height,
            'width': case.width,
            'classes': case.classes,
            'batch': case.batch,
            'prompts': case.prompts,
            'model_ms': _rounded(self.model_ms),
            'total_ms': _rounded(self.total_ms),
            'spread_ms': _rounded(self.spread_ms),
            'peak_mb': _rounded(self.peak_mb, 1),
            'agreement': _rounded(self.agreement, 6),
            'agreement_literal': _rounded(self.agreement_literal, 6),
            'share_of_peak': _rounded(self.share_of_peak(ceiling), 5),
        }
        return {**found, 'skipped': self.skipped} if self.skipped else found


def _rounded(value: float | None, digits: int = 4) -> float | None:
    return None if value is None else round(value, digits)


@dataclass(frozen=True)
class CameraRow:
    """The bundled model behind a camera.

    Attributes:
        short_side: Working size, in pixels.
        is_default: Whether that is the model's own.
        precision: Floating-point type.
        times: Every frame: of the model, and of the whole of ``segment``.
        agreement: Share of pixels labelled as by the plain path in float32 at this size.
        agreement_default: Likewise as at the default size.
    """

    short_side: int
    is_default: bool
    precision: str
    times: tuple[Timed, ...]
    agreement: float
    agreement_default: float

    @property
    def model_ms(self) -> float:
        """Median time of the model alone [ms]."""
        return statistics.median(1e3 * time.model for time in self.times)

    @property
    def total_ms(self) -> float:
        """Median time of ``segment`` [ms]."""
        return statistics.median(1e3 * time.total for time in self.times)

    @property
    def rate(self) -> float:
        """Frames a second."""
        return 1e3 / self.total_ms


@dataclass(frozen=True)
class WordChanges:
    """What changes of a vocabulary cost.

    Attributes:
        words: How many words change.
        new_ms: Median time until words that were never used are ready, beside frames [ms].
        alone_ms: Likewise with no frame beside [ms].
        known_ms: Likewise of words that were used before, with no frame beside [ms].
        interval_ms: Median time from one frame's labels to the next at rest [ms].
        longest_ms: Longest one beside a change [ms].
    """

    words: int
    new_ms: float
    alone_ms: float
    known_ms: float
    interval_ms: float
    longest_ms: float


@dataclass(frozen=True)
class Start:
    """A start.

    Attributes:
        parts: Seconds of each of ``START_PARTS``.
        frame: Seconds of the second frame, to compare with.
    """

    parts: tuple[float, ...]
    frame: float

    @property
    def total(self) -> float:
        """Seconds from the start of the process to the first label."""
        return sum(self.parts)


@dataclass(frozen=True)
class Steps:
    """The lean path in one precision with savings left out.

    Attributes:
        precision: Its name.
        rows: The plain path in float32, the whole lean path and that without each saving, whose
            names stand in the place of the sides'.
    """

    precision: str
    rows: tuple[Row, ...]

    @property
    def case(self) -> Case:
        """What was asked of it."""
        return self.rows[0].case


@dataclass(frozen=True)
class Report:
    """All of a run.

    Attributes:
        device: Its name.
        kind: ``cpu`` or ``cuda``.
        model: What was measured.
        best: The device's best precision.
        base: Around which the sweeps go.
        ceiling: What the device can do.
        rows: In the order of the sweeps, the sides of a case together.
        camera: The bundled model; empty if that was not asked for.
        steps: The lean path with savings left out, in the best precision and in float32; empty
            if that was not asked for.
        words: What changes of the vocabulary cost; ``None`` if that was not asked for.
        starts: Of processes; likewise empty.
        seconds: How long all of it took.
        software: Versions.
    """

    device: str
    kind: str
    model: str
    best: str
    base: Case
    ceiling: Ceiling
    rows: tuple[Row, ...]
    camera: tuple[CameraRow, ...]
    steps: tuple[Steps, ...]
    words: WordChanges | None
    starts: tuple[Start, ...]
    seconds: float
    software: str

    def to_dict(self) -> dict[str, Any]:
        """Return what the JSON file holds."""
        return {
            'device': self.device,
            'peak_tflops': round(self.ceiling.peak_tflops, 4),
            'copy_gbps': round(self.ceiling.copy_gbps, 2),
            'rows': [row.to_dict(self.ceiling) for row in self.rows],
        }

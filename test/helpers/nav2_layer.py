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
"""How Nav2's ``semantic_segmentation_layer`` reads its topics and remembers ids, without Nav2.

Written anew from what https://github.com/ros-navigation/semantic_segmentation_layer does at commit
b269885: the bytes of a label image are ids in the order of the rows, whatever ``step`` and
``encoding`` say; each LabelInfo builds the map of ids anew, from names that equal those of the
parameters to the letter; image, confidence and cloud have one size, and stamps within 0.1 s; tiles
remember observations by id for seconds, and their cost is that which the id has now.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
import math
from typing import Any

import numpy as np

SLOP = 0.1
"""Seconds that stamps of one observation may be apart."""
QUEUE = 10
"""Messages of a topic that wait for the others."""


@dataclass(frozen=True)
class ClassCost:
    """Parameters of a class: ``base_cost``, and ``max_cost`` from so many samples on."""

    base_cost: int
    max_cost: int
    samples_to_max_cost: int = 0
    mark_confidence: int = 0
    dominant_priority: bool = False


NO_COST = ClassCost(0, 0)
"""What the layer takes for an id that is in no LabelInfo."""


@dataclass
class Tile:
    """A tile of the costmap: observations by id, as (confidence, time)."""

    queues: dict[int, deque[tuple[int, float]]] = field(default_factory=dict)
    dominant: int | None = None

    def push(self, number: int, confidence: int, time: float, *, priority: bool) -> None:
        """Add an observation; the id with most of them, or with priority, clears the others."""
        queue = self.queues.setdefault(number, deque())
        queue.append((confidence, time))
        most = 0 if self.dominant is None else len(self.queues[self.dominant])
        if priority or len(queue) > most:
            self.queues, self.dominant = {number: queue}, number

    def purge(self, now: float, decay: float) -> None:
        """Forget what is older than so many seconds."""
        for number, queue in list(self.queues.items()):
            while queue and now - queue[0][1] > decay:
                queue.popleft()
            if not queue:
                del self.queues[number]
        if self.dominant not in self.queues:
            self.dominant = max(self.queues, key=lambda one: len(self.queues[one]), default=None)


class SemanticLayer:
    """Takes messages and says what the tiles cost.

    Attributes:
        names: Class names by id, of the last LabelInfo.
        complaints: What it would log.
        buffered: Stamps of the label images that it took [s].
    """

    def __init__(
        self, costs: Mapping[str, ClassCost], *, decay: float = 5.0, resolution: float = 1.0
    ) -> None:
        self._costs, self._decay, self._resolution = costs, decay, resolution
        self.names: dict[int, str] = {}
        self.complaints: list[str] = []
        self.buffered: list[float] = []
        self._tiles: dict[tuple[int, int], Tile] = {}
        self._waiting: list[deque[Any]] = [deque(maxlen=QUEUE) for _ in range(3)]

    def on_labels(self, classes: Iterable[tuple[int, str]]) -> None:
        """Take the ids and names of a LabelInfo; those before are forgotten."""
        self.names = {}
        for number, name in classes:
            if name in self._costs:
                self.names[number & 0xFF] = name
            else:
                self.complaints.append(f'CRITICAL ERROR: Class {name!r}')

    def on_image(self, image: Any) -> None:  # noqa: ANN401 - messages
        """Take a label image."""
        self._put(0, image)

    def on_confidence(self, image: Any) -> None:  # noqa: ANN401
        """Take an image of scores."""
        self._put(1, image)

    def on_cloud(self, cloud: Any) -> None:  # noqa: ANN401
        """Take a cloud."""
        self._put(2, cloud)

    def costs(self, now: float) -> dict[tuple[int, int], int]:
        """Return the cost of each tile that has any observation left."""
        found = {}
        for place, tile in self._tiles.items():
            tile.purge(now, self._decay)
            if tile.dominant is None:
                continue
            cost = self._cost(tile.dominant)
            queue = tile.queues[tile.dominant]
            mean = sum(confidence for confidence, _ in queue) / len(queue)
            full = len(queue) >= cost.samples_to_max_cost and mean > cost.mark_confidence
            found[place] = cost.max_cost if full else cost.base_cost
        return found

    def _cost(self, number: int) -> ClassCost:
        return self._costs[self.names[number]] if number in self.names else NO_COST

    def _put(self, at: int, message: Any) -> None:  # noqa: ANN401
        """Keep a message until the two others of its moment are there."""
        self._waiting[at].append(message)
        for first in self._waiting[0]:
            when = stamp_of(first)
            near = [
                min(some, key=lambda one: abs(stamp_of(one) - when), default=None)
                for some in self._waiting[1:]
            ]
            stamps = [when, *(stamp_of(one) for one in near if one is not None)]
            if None not in near and max(stamps) - min(stamps) <= SLOP:
                for some, used in zip(self._waiting, (first, *near), strict=True):
                    some.remove(used)
                self._buffer(first, *near)
                return

    def _buffer(self, image: Any, confidence: Any, cloud: Any) -> None:  # noqa: ANN401
        """Add the observations of one moment, one a tile."""
        if image.width * image.height != cloud.width * cloud.height:
            self.complaints.append('Pointcloud and segmentation sizes are different')
            return
        size = image.width * image.height
        if len(image.data) < size or not self.names:
            self.complaints.append('wrong sizes, or no labelinfo')
            return
        ids = np.frombuffer(image.data, np.uint8)[:size]
        scores = np.frombuffer(confidence.data, np.uint8)[:size]
        points = np.frombuffer(cloud.data, np.float32).reshape(size, -1)[:, :3]
        best: dict[tuple[int, int], int] = {}
        for pixel in np.flatnonzero(np.isfinite(points[:, 2])).tolist():
            place = self._place(points[pixel])
            other = best.get(place)
            if other is None or self._more(int(ids[pixel]), int(ids[other])):
                best[place] = pixel
        now = stamp_of(cloud)
        for tile in self._tiles.values():
            tile.purge(now, self._decay)
        for place, pixel in best.items():
            number = int(ids[pixel])
            if number in self.names:
                priority = self._cost(number).dominant_priority
                tile = self._tiles.setdefault(place, Tile())
                tile.push(number, int(scores[pixel]), now, priority=priority)
        self.buffered.append(stamp_of(image))

    def _place(self, point: np.ndarray) -> tuple[int, int]:
        x, y = (math.floor(part / self._resolution) for part in point[:2])
        return x, y

    def _more(self, number: int, other: int) -> bool:
        return self._cost(number).max_cost > self._cost(other).max_cost


def stamp_of(message: Any) -> float:  # noqa: ANN401
    """Return the time of a message [s]."""
    stamp = message.header.stamp
    return float(stamp.sec + stamp.nanosec / 1e9)

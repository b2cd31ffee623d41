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
"""Ray as the engine: workers on this machine, or on all machines of a cluster."""

from collections.abc import Iterator, Sequence
import os
from typing import Any, Final

from zegclip_core.errors import BagError
from zegclip_core.fleet.engines import LOST
from zegclip_core.fleet.finding import Task
from zegclip_core.fleet.work import Outcome, Work, Worker

ADDRESS = 'RAY_ADDRESS'
"""Environment variable with the address of a running cluster."""

_STARTS: Final = 5
"""How often Ray is started before that is given up: it gives itself 30 seconds, which are few on
a machine that is busy."""


class RayEngine:
    """Actors of Ray, each with a model of its own.

    Without ``RAY_ADDRESS`` Ray is started on this machine, and ended with the engine.

    Args:
        count: How many.
        gpus: Share of the GPUs that each gets, such as 1 or 0.5.

    Raises:
        BagError: If Ray is not installed or its cluster cannot be reached.
    """

    def __init__(self, count: int, gpus: float = 0.0) -> None:
        try:
            import ray
        except ImportError as error:
            raise BagError(
                "Expected Ray to be installed for --engine ray: pip install 'zegclip-ros[ray]'."
            ) from error
        self._ray: Any = ray
        self._count, self._gpus = count, gpus
        self._actors: list[Any] = []
        self._started = not ray.is_initialized()
        if self._started:
            self._start()
        self._check_gpus()
        # Spread, so that their number on each machine is known, whose threads they share.
        self._kind = ray.remote(Worker).options(
            num_cpus=1, num_gpus=gpus or None, scheduling_strategy='SPREAD'
        )

    def _start(self) -> None:
        """Join the cluster, or start Ray here."""
        here = not os.environ.get(ADDRESS)
        # As many places as workers: they divide the processor's threads themselves.
        more: dict[str, Any] = {'num_cpus': self._count, 'include_dashboard': False}
        # Else Ray would join one that runs here by chance, and refuse the number.
        more = {'address': 'local', **more} if here else {}
        for attempt in range(_STARTS):
            try:
                self._ray.init(log_to_driver=False, logging_level='ERROR', **more)
                return
            except Exception as error:
                self._ray.shutdown()
                if attempt + 1 == _STARTS or not here:
                    where = f'reach the cluster at {os.environ.get(ADDRESS)}'
                    reason = ' '.join(str(error).split())[:200].rstrip('.')
                    start = 'start Ray here' if here else where
                    raise BagError(f'Cannot {start}: {reason}.') from error

    def _check_gpus(self) -> None:
        """Refuse more GPUs than this machine has, for which Ray would wait for ever."""
        there = self._ray.cluster_resources().get('GPU', 0)
        if self._gpus > there and not os.environ.get(ADDRESS):  # A cluster may grow.
            self.close()
            raise BagError(
                f'Expected --gpus-per-worker of at most {there:g}, the GPUs of this machine, but '
                f'got {self._gpus:g}.'
            )

    def run(self, tasks: Sequence[Task], work: Work) -> Iterator[Outcome]:
        """Yield the outcome of each task as it comes; a worker that dies fails one task."""
        left = list(reversed(tasks))
        running: dict[Any, tuple[Task, Any]] = {}
        while left and len(running) < self._count:
            self._begin(left.pop(), self._kind.remote(work, self._sharing()), running)
        while running:
            (ready, *_), _ = self._ray.wait(list(running), num_returns=1)
            task, actor = running.pop(ready)
            try:
                outcome: Outcome = self._ray.get(ready)
            except self._ray.exceptions.RayError as error:
                self._end(actor)
                died = isinstance(error, self._ray.exceptions.RayActorError)
                reason = LOST if died else ' '.join(str(error).split())[:200]
                outcome = Outcome(task, 'failed', reason)
                actor = self._kind.remote(work, self._sharing()) if left else None
            if left:
                self._begin(left.pop(), actor, running)
            elif actor is not None:
                self._end(actor)
            yield outcome

    def _sharing(self) -> int:
        """Return how many workers a machine of the cluster has."""
        machines = [
            one for one in self._ray.nodes() if one['Alive'] and one['Resources'].get('CPU')
        ]
        return -(-self._count // max(len(machines), 1))

    def _begin(
        self,
        task: Task,
        actor: Any,  # noqa: ANN401
        running: dict[Any, tuple[Task, Any]],
    ) -> None:
        if actor not in self._actors:
            self._actors.append(actor)
        running[actor.label.remote(task)] = (task, actor)

    def _end(self, actor: Any) -> None:  # noqa: ANN401
        self._actors.remove(actor)
        self._ray.kill(actor)

    def close(self) -> None:
        """End all workers, at once: what they have labelled is kept."""
        for actor in list(self._actors):
            self._end(actor)
        if self._started:
            self._ray.shutdown()

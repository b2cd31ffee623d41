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
"""A fleet's bags: found, labelled by an engine, tried again, and listed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm
from zegclip_core.errors import BagError
from zegclip_core.fleet.engines import Engine
from zegclip_core.fleet.finding import Task
from zegclip_core.fleet.manifest import write_manifest
from zegclip_core.fleet.work import done_before, Outcome, Work


@dataclass
class Fleet:
    """A run over many bags.

    Attributes:
        tasks: The bags.
        work: What is done with each.
        manifest: File that lists them.
        retries: How often those that failed are tried again, at the end.
        say: Takes a line about each bag that is not done as a whole.
        outcomes: What became of each bag so far, by its target.
    """

    tasks: Sequence[Task]
    work: Work
    manifest: Path
    retries: int
    say: Callable[[str], object]
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def run(self, make: Callable[[], Engine]) -> None:
        """Label what is not labelled yet; the manifest is written however it ends.

        Args:
            make: Makes the engine, if there is something to do.

        Raises:
            BagError: If the engine does not start.
        """
        try:
            left = self._undone()
            if left:
                self._label(left, make())
        finally:
            write_manifest(self.manifest, list(self.outcomes.values()))

    def _undone(self) -> list[Task]:
        """Return the bags that are to be labelled; note those that are already, or cannot be."""
        left = []
        for task in self.tasks:
            try:
                found = done_before(task, self.work)
            except BagError as error:
                found = Outcome(task, 'failed', str(error))
                self.say(f'{task.source}: {error}')
            if found is None:
                left.append(task)
            else:
                self.outcomes[task.target] = found
        return left

    def _label(self, tasks: list[Task], engine: Engine) -> None:
        """Label bags, and those that fail once more at the end."""
        try:
            with tqdm(total=len(tasks), unit='bag', disable=None) as bar:
                for attempt in range(self.retries + 1):
                    failed = []
                    for outcome in engine.run(tasks, self.work):
                        self._note(outcome)
                        if outcome.state == 'failed' and attempt < self.retries:
                            failed.append(outcome.task)
                        else:
                            bar.update()
                    tasks = failed
                    if not tasks:
                        break
        finally:
            engine.close()

    def _note(self, outcome: Outcome) -> None:
        """Note what became of a bag, and say what of it is not done."""
        self.outcomes[outcome.task.target] = outcome
        for line in outcome.lines:
            self.say(f'{outcome.task.source}: {line}')
        if outcome.state != 'done':
            self.say(f'{outcome.task.source}: {outcome.state}: {outcome.reason}')

    def count(self, state: str) -> int:
        """Return how many bags are in a state."""
        return sum(one.state == state for one in self.outcomes.values())

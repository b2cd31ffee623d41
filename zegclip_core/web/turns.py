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
"""A thread that works for many, a little for each in turn."""

from collections.abc import Callable
import logging
import threading

from zegclip_core.web.sessions import Session

logger = logging.getLogger(__name__)


class Turns:
    """Calls a function for each page that waits, those that wait longest first.

    A page that is added while it waits already stays at its place, so that none gets more than
    the others by asking more often.

    Args:
        name: Of the thread.
        work: Does a piece of work for one page; what it raises is logged.
    """

    def __init__(self, name: str, work: Callable[[Session], None]) -> None:
        self._work = work
        self._waiting: dict[str, Session] = {}
        self._change = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def add(self, session: Session) -> None:
        """Have a page wait for its turn; may be called from any thread."""
        with self._change:
            self._waiting.setdefault(session.name, session)
            self._change.notify()

    def close(self) -> None:
        """End the thread once it has done what it is at."""
        with self._change:
            self._ended = True
            self._change.notify()
        self._thread.join()

    def _next(self) -> Session | None:
        """Wait for a page and take it; ``None`` at the end."""
        with self._change:
            self._change.wait_for(lambda: self._waiting or self._ended)
            if self._ended:
                return None
            return self._waiting.pop(next(iter(self._waiting)))

    def _run(self) -> None:
        """Work until the end."""
        while (session := self._next()) is not None:
            try:
                self._work(session)
            except Exception:
                logger.exception('A piece of work for a page failed.')

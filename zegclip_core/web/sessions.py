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
"""The pages that are open: what each of them asked for, and what waits to be sent to it."""

import asyncio
from dataclasses import dataclass, field
import secrets
import time
from typing import Any

from zegclip_core.errors import ZegCLIPError
from zegclip_core.web.limits import KEPT, MAX_SESSIONS
from zegclip_core.web.settings import Settings
from zegclip_core.web.wire import Payload


class Outbox:
    """What waits to be sent to one page: of each kind of message only the newest.

    However slowly a page takes them, nobody waits for it and no more is kept.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[str, Payload] = {}
        self._there = asyncio.Event()

    def post(self, kind: str, payload: Payload) -> None:
        """Leave a message in place of one of that kind; may be called from any thread."""

        def put() -> None:
            self._waiting.pop(kind, None)  # Newer messages lie behind older ones.
            self._waiting[kind] = payload
            self._there.set()

        try:
            self._loop.call_soon_threadsafe(put)
        except RuntimeError:  # The server has ended, and with it all pages.
            return

    async def take(self) -> Payload:
        """Wait for a message and take it."""
        while not self._waiting:
            self._there.clear()
            await self._there.wait()
        kind = next(iter(self._waiting))
        return self._waiting.pop(kind)


@dataclass(eq=False)
class Session:
    """One open page.

    Attributes:
        name: Its secret name.
        outbox: What waits to be sent to it.
        settings: What it asked for last; ``None`` before that.
        left: When it was closed [s]; ``None`` while it is open.
        state: What the desk knows of it.
        uploading: Held while a photo comes: a second one waits.
    """

    name: str
    outbox: Outbox
    settings: Settings | None = None
    left: float | None = None
    state: Any = field(default=None, repr=False)
    uploading: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)


class Sessions:
    """All pages, by their secret names. One thread uses it, that of the server's loop."""

    def __init__(self) -> None:
        self._known: dict[str, Session] = {}

    def __getitem__(self, name: str) -> Session:
        """Return a page, or raise a ``ZegCLIPError`` if there is none of that name."""
        if name not in self._known:
            raise ZegCLIPError('This page is no longer known here: reload it.')
        return self._known[name]

    def is_open(self, name: str) -> bool:
        """Return whether a page of that name is open, as beside one that was duplicated."""
        return name in self._known and self._known[name].left is None

    def enter(self, name: str) -> Session:
        """Return the page of that name if it was closed a short time ago, else a new one.

        Raises:
            ZegCLIPError: If too many are open.
        """
        if sum(one.left is None for one in self._known.values()) >= MAX_SESSIONS:
            raise ZegCLIPError(f'Expected at most {MAX_SESSIONS} open pages: close another one.')
        known = self._known.get(name)
        if known is not None and known.left is not None:
            known.left, known.outbox = None, Outbox()
            return known
        session = Session(secrets.token_urlsafe(18), Outbox())
        self._known[session.name] = session
        return session

    def close(self, session: Session) -> None:
        """Remember when a page was closed."""
        session.left = time.monotonic()

    def forget_old(self) -> list[Session]:
        """Forget the pages that were closed long ago, and return them; also of many the oldest."""
        closed = [one for one in self._known.values() if one.left is not None]
        now = time.monotonic()
        closed.sort(key=lambda one: one.left or now)
        surplus = len(self._known) - MAX_SESSIONS
        old = [
            one
            for place, one in enumerate(closed)
            if place < surplus or now - (one.left or now) > KEPT
        ]
        for one in old:
            del self._known[one.name]
        return old

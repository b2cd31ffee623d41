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
"""The page for tests: a server in a thread, a socket without a browser, and Chromium."""

from collections.abc import Iterator
from contextlib import contextmanager
import http.client
import io
import json
import shutil
import struct
import threading
from typing import Any
from urllib.parse import urlsplit

from PIL import Image
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin
from zegclip_core.web.desk import Desk
from zegclip_core.web.serve import Place, Server
from zegclip_core.web.wire import unpacked

PROGRAMS = ('chromium', 'chromium-browser', 'google-chrome')
SIDE = 112
"""Short side that the model of the tests looks at [px]."""
PATIENCE = 120.0
"""Longest wait for an answer [s]; machines of tests are slow."""


def chromium() -> str | None:
    """Return the path of a Chromium, ``None`` if there is none."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


@contextmanager
def served(desk: Desk, host: str = '127.0.0.1', token: str | None = None) -> Iterator[str]:
    """Serve the page of a desk; yield its address."""
    server = Server(desk, Place(host, 0, token))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield server.addresses[0]
    finally:
        server.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def asked(
    address: str,
    path: str,
    *,
    method: str = 'GET',
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, bytes, dict[str, str]]:
    """Return status, body and headers of the answer to a request; ``path`` is sent as it is."""
    where = urlsplit(address)
    connection = http.client.HTTPConnection(where.hostname or '', where.port, timeout=PATIENCE)
    origin = {} if method == 'GET' else {'Origin': f'http://{where.netloc}'}
    try:
        connection.request(method, path, body, {**origin, **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()}
    finally:
        connection.close()


class Talk:
    """A page without a browser."""

    def __init__(self, address: str, session: str = '', cookie: str | None = None) -> None:
        where = urlsplit(address)
        self._address = address
        self._opened = connect(
            f'ws://{where.netloc}/socket?session={session}',
            origin=Origin(f'http://{where.netloc}'),
            max_size=None,
            open_timeout=PATIENCE,
            additional_headers={} if cookie is None else {'Cookie': cookie},
        )
        self.socket: ClientConnection = self._opened.__enter__()
        self.session = self.heard('hello')['session']
        self.number = 0

    def __enter__(self) -> 'Talk':
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()

    def heard(self, *kinds: str) -> dict[str, Any]:
        """Return the next message of one of these kinds, with its arrays."""
        while True:
            message = self.socket.recv(timeout=PATIENCE)
            if isinstance(message, str):
                fields = json.loads(message)
            else:
                fields, parts = unpacked(message)
                fields.update(parts)
            if fields['type'] in kinds:
                return dict(fields)

    def say(self, kind: str, **fields: object) -> None:
        self.socket.send(json.dumps({'type': kind, **fields}))

    def look_for(self, words: str, number: int = 1, **fields: object) -> None:
        self.say('settings', number=number, words=words, **fields)

    def photo(self, data: bytes, number: int = 1) -> tuple[int, bytes]:
        path = f'/photo?session={self.session}&number={number}'
        return asked(self._address, path, method='POST', body=data)[:2]

    def frame(self, data: bytes, number: int, seconds: float) -> None:
        self.socket.send(struct.pack('<Id', number, seconds) + data)

    def download(self, what: str, alpha: float = 0.5) -> tuple[int, bytes]:
        path = f'/download/{what}?session={self.session}&alpha={alpha}'
        return asked(self._address, path)[:2]

    def point(self, x: object, y: object) -> dict[str, Any]:
        self.say('point', x=x, y=y)
        return self.heard('point', 'error')


def encoded(image: Any, kind: str = 'PNG') -> bytes:  # noqa: ANN401 - any array
    """Return the file of an image."""
    data = io.BytesIO()
    Image.fromarray(image).save(data, format=kind)
    return data.getvalue()

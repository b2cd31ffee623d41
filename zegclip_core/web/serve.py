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
"""Serves the page at an address."""

from collections.abc import Sequence
from dataclasses import dataclass
import os
import secrets
import socket
from urllib.parse import quote

from starlette.types import ASGIApp
import uvicorn
from zegclip_core.errors import ConfigError
from zegclip_core.web.app import Page
from zegclip_core.web.desk import Desk
from zegclip_core.web.guard import Guard, is_loopback, TOKEN
from zegclip_core.web.limits import HOST, MAX_FRAME, PORT

_BACKLOG = 64
_MAX_PORT = 65535


@dataclass(frozen=True)
class Place:
    """Where the page is served.

    Attributes:
        host: Address to listen at.
        port: Port; 0 for any that is free.
        token: What the address must hold; ``None`` for one that is drawn where other machines
            can reach the page, and for none else.
        names: Further names that the page is reached by.
    """

    host: str = HOST
    port: int = PORT
    token: str | None = None
    names: Sequence[str] = ()


class Server:
    """The page at its address, which is open once this is made.

    Args:
        desk: What labels the images.
        place: Where.

    Raises:
        ConfigError: If the address cannot be listened at.
    """

    def __init__(self, desk: Desk, place: Place = Place()) -> None:
        self._socket = _listening(place)
        self._host, port = self._socket.getsockname()[:2]
        everywhere = not is_loopback(place.host)
        self._token = place.token or (secrets.token_urlsafe(18) if everywhere else None)
        self._port = int(port)
        app: ASGIApp = Guard(
            Page(desk).app(), token=self._token, everywhere=everywhere, names=place.names
        )
        config = uvicorn.Config(
            app,
            ws='websockets-sansio',
            ws_max_size=MAX_FRAME,
            log_level='warning',
            access_log=False,  # Addresses hold the token and the names of pages.
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)

    @property
    def addresses(self) -> list[str]:
        """Addresses of the page, with its token if it has one."""
        end = f'/?{TOKEN}={quote(self._token, safe="")}' if self._token else '/'
        shown = [self._host]
        if self._host in {'0.0.0.0', '::'}:
            shown = [HOST, _own_address()]
        return [
            f'http://{f"[{name}]" if ":" in name else name}:{self._port}{end}' for name in shown
        ]

    def run(self) -> None:
        """Serve until Ctrl-C, or until ``stop`` is called from another thread."""
        self._server.run([self._socket])

    def stop(self) -> None:
        """End it; may be called from any thread."""
        self._server.should_exit = True


def _listening(place: Place) -> socket.socket:
    """Return a socket that listens."""
    if not 0 <= place.port <= _MAX_PORT:
        raise ConfigError(f'Expected a port from 0 to {_MAX_PORT}, but got {place.port}.')
    try:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
        family, *_, address = found[0]
        made = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except (OSError, OverflowError, UnicodeError) as error:
        number = getattr(error, 'errno', None) or 0
        # Below 0 are errors of names, which the system has other texts for.
        reason = os.strerror(number) if number > 0 else getattr(error, 'strerror', '') or 'no name'
        raise ConfigError(
            f'Cannot serve the page at {place.host} and port {place.port}: {reason}.'
        ) from error
    made.setblocking(False)
    return made


def _own_address() -> str:
    """Return the address that this machine has in its network, its name if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(('192.0.2.1', 9))  # Reserved for documents; nothing is sent.
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])

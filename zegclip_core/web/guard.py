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
"""Who may use the page: checks of token, host and origin in front of everything else."""

from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
import ipaddress
import secrets
import socket
from urllib.parse import parse_qs, quote, unquote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN = 'token'
"""Name of the token in the address that is given to people."""
_LOCAL = frozenset({'localhost', '127.0.0.1', '::1'})
_COOKIE = 'zegclip_token'
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self' ws://{host} wss://{host}; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


def is_loopback(address: str) -> bool:
    """Return whether an address to listen at is reached from this machine alone."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == 'localhost'


def own_names() -> frozenset[str]:
    """Return the names that this machine is called by in its network."""
    name = socket.gethostname().lower()
    return frozenset({name, name.partition('.')[0], f'{name.partition(".")[0]}.local'})


class Guard:
    """Refuses requests that are not from the page itself, or lack the token.

    A page of another site that a browser shows cannot reach this one: what it sends carries its
    own origin, and a name of its own that leads to this machine is none of the hosts.

    Args:
        app: What is guarded.
        token: What the address must hold once; a cookie keeps it. ``None`` for none.
        everywhere: Whether it listens to other machines; then any address without a name is a
            host, and names of this machine.
        names: Further names that it is reached by.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str | None,
        everywhere: bool = False,
        names: Collection[str] = (),
    ) -> None:
        self._app = app
        self._token = token
        self._everywhere = everywhere
        self._names = _LOCAL | {name.lower() for name in names}
        if everywhere:
            self._names |= own_names()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope['type'] not in {'http', 'websocket'}:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        host = headers.get('host', '')
        answer = self._refusal(scope, headers) or self._without_token(scope, headers)

        async def sealed(message: Message) -> None:
            if message['type'] == 'http.response.start':
                _seal(MutableHeaders(scope=message), host)
            await send(message)

        if answer is None:
            await self._app(scope, receive, sealed)
        elif scope['type'] == 'websocket':
            await send({'type': 'websocket.close', 'code': 1008})
        else:
            await answer(scope, receive, sealed)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        """Return what a request from elsewhere is answered with; ``None`` for one of the page."""
        hosts = headers.getlist('host')
        if len(hosts) != 1 or not self._knows(hosts[0]):
            return PlainTextResponse('This is not the address of the page.', 421)
        origins = headers.getlist('origin')
        needs = scope['type'] == 'websocket' or scope['method'] not in {'GET', 'HEAD'}
        own = [f'{scheme}://{hosts[0]}' for scheme in ('http', 'https')]
        if (needs and len(origins) != 1) or any(one not in own for one in origins):
            return PlainTextResponse('Expected a request of the page itself.', 403)
        return None

    def _knows(self, host: str) -> bool:
        """Return whether a host with its port is this machine."""
        try:
            name = (urlsplit(f'//{host}').hostname or '').lower()
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return self._everywhere

    def _without_token(self, scope: Scope, headers: Headers) -> Response | None:
        """Return the answer to a request without the token, and to the first one with it."""
        if self._token is None:
            return None
        given = parse_qs(scope['query_string'].decode('latin-1')).get(TOKEN, [''])[0]
        if scope['type'] == 'http' and scope['path'] == '/' and self._fits(given):
            answer = RedirectResponse('/', 303)
            value = quote(self._token, safe='')
            answer.set_cookie(_cookie(headers), value, httponly=True, samesite='lax')
            return answer
        try:
            cookies = SimpleCookie(headers.get('cookie', ''))
        except CookieError:
            cookies = SimpleCookie()
        cookie = cookies.get(_cookie(headers))
        if cookie is not None and self._fits(unquote(cookie.value)):
            return None
        return PlainTextResponse(
            'Expected the address with its token, as the terminal shows it.', 401
        )

    def _fits(self, given: str) -> bool:
        """Return whether a token is the right one, in a time that does not tell how nearly."""
        return secrets.compare_digest(given.encode(), (self._token or '').encode())


def _cookie(headers: Headers) -> str:
    """Return the cookie's name, with the port: browsers send a host's cookies to all its ports."""
    port = headers.get('host', '').rpartition(':')[2]
    return f'{_COOKIE}_{port}' if port.isascii() and port.isdecimal() else _COOKIE


def _seal(headers: MutableHeaders, host: str) -> None:
    """Add what keeps browsers from lending the page to others."""
    headers['Content-Security-Policy'] = _POLICY.format(host=host)
    headers['X-Content-Type-Options'] = 'nosniff'
    headers['Referrer-Policy'] = 'no-referrer'
    headers['Cross-Origin-Resource-Policy'] = 'same-origin'
    headers.setdefault('Cache-Control', 'no-store')

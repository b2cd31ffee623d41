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
"""The page's server: its files, uploads, downloads, and the socket that each page has."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
import json
import logging
import math
from pathlib import Path
import struct
from typing import Any, get_args

from anyio import CapacityLimiter, fail_after, move_on_after, to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from zegclip_core.errors import ImageError, ZegCLIPError
from zegclip_core.images.checks import RgbImage
from zegclip_core.web.desk import Desk, Download
from zegclip_core.web.limits import (
    MAX_FRAME,
    MAX_FRAME_SIDE,
    MAX_PIXELS,
    MAX_UPLOAD,
    SEND_TIMEOUT,
    SHOWN_SIDE,
)
from zegclip_core.web.photos import bundled_photos
from zegclip_core.web.pictures import jpeg, read_photo, shown
from zegclip_core.web.sessions import Session, Sessions
from zegclip_core.web.settings import BoxError, Settings
from zegclip_core.web.wire import text

STATIC = Path(__file__).with_name('static')
_TYPES = {
    '.css': 'text/css',
    '.html': 'text/html',
    '.js': 'text/javascript',
    '.svg': 'image/svg+xml',
    '.jpg': 'image/jpeg',
    '.png': 'image/png',
    '.json': 'application/json',
}
_UPLOAD_SECONDS = 120.0
"""Longest time that an upload may take [s]."""
_FRAME_HEAD = struct.Struct('<Id')
"""What stands before a frame's file: the page's count of it, and its time [s]."""
_SWEEP = 10.0
"""Seconds between two looks at pages that were closed."""
_MAX_NUMBER = 2**31
_RELOAD = 1.0
"""Longest wait for the old socket of a page that was reloaded [s]."""

logger = logging.getLogger(__name__)


class Page:
    """The routes of the page.

    Args:
        desk: What labels the images.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._sessions = Sessions()
        # Read once: whatever a request names, no other file can be reached.
        self._files = {path.name: path.read_bytes() for path in STATIC.iterdir()}
        self._photos = bundled_photos()
        # One photo of full size at a time: each takes some 100 MB.
        self._large = CapacityLimiter(1)

    def app(self) -> Starlette:
        """Return the application, without its guard."""
        return Starlette(
            routes=[
                Route('/', partial(self._file, 'index.html')),
                Route('/static/{name}', self._static),
                Route('/photos/{name}', self._photo),
                Route('/about', self._about),
                Route('/photo', self._upload, methods=['POST']),
                Route('/photo', self._shown, methods=['GET']),
                Route('/download/{what}', self._download),
                WebSocketRoute('/socket', self._socket),
            ],
            exception_handlers={HTTPException: _refused},
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Forget closed pages while the server runs."""
        sweeper = asyncio.create_task(self._sweep())
        yield
        sweeper.cancel()

    async def _sweep(self) -> None:
        """Forget the pages that were closed and did not come back."""
        while True:
            await asyncio.sleep(_SWEEP)
            for session in self._sessions.forget_old():
                self._desk.forget(session)

    async def _file(self, name: str, request: Request) -> Response:
        """Send a file of the page."""
        if name not in self._files:
            raise HTTPException(404, 'There is no such file.')
        return Response(self._files[name], media_type=_TYPES[Path(name).suffix])

    async def _static(self, request: Request) -> Response:
        return await self._file(request.path_params['name'], request)

    async def _photo(self, request: Request) -> Response:
        """Send a bundled photo."""
        name = request.path_params['name']
        if name not in self._photos:
            raise HTTPException(404, 'There is no such photo.')
        return Response(self._photos[name], media_type=_TYPES[Path(name).suffix])

    async def _about(self, request: Request) -> Response:
        """Say what stands behind the page, and what it takes."""
        limits = {
            'upload': MAX_UPLOAD,
            'pixels': MAX_PIXELS,
            'shown': SHOWN_SIDE,
            'frame_bytes': MAX_FRAME,
            'frame_side': MAX_FRAME_SIDE,
        }
        about = {**asdict(self._desk.about), 'photos': list(self._photos), 'limits': limits}
        return JSONResponse(about)

    async def _upload(self, request: Request) -> Response:
        """Take a photo, and send back the copy that is labelled."""
        session = self._session(request)
        number = _number(request)
        async with session.uploading:  # Until it is decoded: else files would pile up there.
            data = await _body(request)
            try:
                work = partial(_copy, data)
                image = await to_thread.run_sync(work, limiter=self._large)
                self._desk.show(session, number, image, data)
            except ImageError as error:
                raise HTTPException(422, str(error)) from error
            except ZegCLIPError as error:
                raise HTTPException(409, str(error)) from error
        return Response(await to_thread.run_sync(jpeg, image), media_type='image/jpeg')

    async def _shown(self, request: Request) -> Response:
        """Send a page that was reloaded its photo again."""
        found = self._desk.shown(self._session(request))
        if found is None:
            return Response(status_code=204)
        number, image = found
        data = await to_thread.run_sync(jpeg, image)
        return Response(data, media_type='image/jpeg', headers={'X-Number': str(number)})

    async def _download(self, request: Request) -> Response:
        """Send the label image, the overlay or the figures of what was found last."""
        session, what = self._session(request), request.path_params['what']
        if what not in get_args(Download):
            raise HTTPException(404, 'There is no such file.')
        alpha = _fraction(request.query_params.get('alpha', '0.5'))
        if alpha is None:
            raise HTTPException(400, 'Expected alpha to be a number in [0, 1].')
        try:
            work = partial(self._desk.download, session, what, alpha)
            data = await to_thread.run_sync(work, limiter=self._large)
        except ZegCLIPError as error:
            raise HTTPException(409, str(error)) from error
        return Response(
            data,
            media_type=_TYPES[Path(what).suffix],
            headers={'Content-Disposition': f'attachment; filename="{what}"'},
        )

    def _session(self, request: Request) -> Session:
        """Return the page that a request is of."""
        try:
            return self._sessions[request.query_params.get('session', '')]
        except ZegCLIPError as error:
            raise HTTPException(410, str(error)) from error

    async def _socket(self, socket: WebSocket) -> None:
        """Talk to a page until it is closed."""
        await socket.accept()
        name = socket.query_params.get('session', '')
        with move_on_after(_RELOAD):
            while self._sessions.is_open(name):  # A page is reloaded: its old socket is closing.
                await asyncio.sleep(_RELOAD / 20)
        try:
            session = self._sessions.enter(name)
        except ZegCLIPError as error:
            await socket.send_text(text('error', box='image', text=str(error)))
            await socket.close(1013)
            return
        session.outbox.post('hello', text('hello', session=session.name))
        self._desk.join(session)
        tasks = [
            asyncio.create_task(work)
            for work in (_send(socket, session), self._hear(socket, session))
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            self._sessions.close(session)
        for result in results:
            if isinstance(result, TimeoutError):
                logger.info('A page took nothing for %g s and was given up.', SEND_TIMEOUT)
            elif isinstance(result, Exception) and not isinstance(result, WebSocketDisconnect):
                logger.error('A page was given up.', exc_info=result)

    async def _hear(self, socket: WebSocket, session: Session) -> None:
        """Do what a page asks for."""
        while True:
            message = await socket.receive()
            if message['type'] == 'websocket.disconnect':
                return
            try:
                if message.get('bytes') is not None:
                    self._frame(session, message['bytes'])
                else:
                    await self._asked(session, _fields(message.get('text') or ''))
            except ZegCLIPError as error:
                box = error.box if isinstance(error, BoxError) else 'image'
                session.outbox.post(f'error {box}', text('error', box=box, text=str(error)))

    def _frame(self, session: Session, data: bytes) -> None:
        """Pass on a frame of a page's camera or video."""
        if len(data) <= _FRAME_HEAD.size:
            raise ImageError('Expected a frame, but got too few bytes.')
        number, seconds = _FRAME_HEAD.unpack_from(data)
        start = _FRAME_HEAD.size
        if not math.isfinite(seconds):
            raise ImageError('Expected the time of a frame to be a number.')
        self._desk.frame(session, number, seconds, data[start:])

    async def _asked(self, session: Session, fields: dict[str, Any]) -> None:
        """Do what a message of JSON asks for."""
        kinds: dict[str, Callable[[Session, dict[str, Any]], Awaitable[None]]] = {
            'settings': self._on_settings,
            'hover': self._on_hover,
            'point': self._on_point,
        }
        work = kinds.get(str(fields.get('type')))
        if work is None:
            raise ZegCLIPError(f'Expected a message of {", ".join(kinds)}.')
        await work(session, fields)

    async def _on_settings(self, session: Session, fields: dict[str, Any]) -> None:
        session.settings = await to_thread.run_sync(Settings.read, fields)
        self._desk.ask(session, session.settings)

    async def _on_hover(self, session: Session, fields: dict[str, Any]) -> None:
        row = fields.get('row')
        if row is not None and not (type(row) is int and 0 <= row < _MAX_NUMBER):
            raise ZegCLIPError('Expected the row of a word.')
        await to_thread.run_sync(self._desk.hover, session, row)

    async def _on_point(self, session: Session, fields: dict[str, Any]) -> None:
        x, y = (_fraction(fields.get(key)) for key in ('x', 'y'))
        if x is None or y is None:
            raise ZegCLIPError('Expected a place in [0, 1].')
        found = await to_thread.run_sync(self._desk.point, session, x, y)
        session.outbox.post('point', text('point', **found))


async def _send(socket: WebSocket, session: Session) -> None:
    """Send what waits for a page, one after the other."""
    while True:
        payload = await session.outbox.take()
        with fail_after(SEND_TIMEOUT):
            if isinstance(payload, str):
                await socket.send_text(payload)
            else:
                await socket.send_bytes(payload)


def _copy(data: bytes) -> RgbImage:
    """Return the copy of a photo that the page shows."""
    return shown(read_photo(data))


async def _body(request: Request) -> bytes:
    """Return the body of an upload, which ends where it is too long or too slow."""
    too_large = HTTPException(413, f'Expected a file of at most {MAX_UPLOAD // 2**20} MB.')
    if int(_digits(request.headers.get('content-length')) or 0) > MAX_UPLOAD:
        raise too_large
    data = bytearray()
    try:
        with fail_after(_UPLOAD_SECONDS):
            async for part in request.stream():
                data += part
                if len(data) > MAX_UPLOAD:
                    raise too_large
    except TimeoutError:
        raise HTTPException(408, 'The upload took too long.') from None
    except ClientDisconnect:
        raise HTTPException(400, 'The upload was cut off.') from None
    return bytes(data)


def _fields(message: str) -> dict[str, Any]:
    """Return the fields of a message of JSON."""
    try:
        fields = json.loads(message)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise ZegCLIPError('Expected a message of JSON.')
    return fields


def _number(request: Request) -> int:
    """Return the page's count of a photo."""
    number = _digits(request.query_params.get('number'))
    if number is None or int(number) >= _MAX_NUMBER:
        raise HTTPException(400, 'Expected the number of the photo.')
    return int(number)


def _digits(given: str | None) -> str | None:
    """Return a text of a few digits; ``None`` for any other."""
    fits = given is not None and given.isascii() and given.isdecimal() and len(given) < 16
    return given if fits else None


def _fraction(given: object) -> float | None:
    """Return a number in [0, 1], which may be given as text; ``None`` for anything else."""
    try:
        value = float(given) if isinstance(given, str | int | float) else math.nan
    except (ValueError, OverflowError):
        return None
    return value if 0.0 <= value <= 1.0 else None


async def _refused(request: Request, error: Exception) -> Response:
    """Answer what cannot be done with one line."""
    if not isinstance(error, HTTPException):
        raise error
    return JSONResponse({'error': error.detail}, error.status_code)

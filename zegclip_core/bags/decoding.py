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
"""From the messages of a topic to images, also where a message is a part of a video."""

from collections.abc import Iterator
from typing import Any, cast, Final, NamedTuple

import av
from av.video.codeccontext import VideoCodecContext
import numpy as np
from zegclip_core.bags.mcap import Recorded
from zegclip_core.bags.message_types import header_of, PACKET, TYPES, VIDEO
from zegclip_core.bags.store import Key
from zegclip_core.errors import EncodingError, ImageError
from zegclip_core.images.checks import RgbImage
from zegclip_core.messages.image_encodings import check_size, packed_rgb
from zegclip_core.messages.storage import message_bytes

_LONGEST: Final = 64
"""Messages after which a frame that the decoder has not given will not come."""
_MOST_PARAMETERS: Final = 2**20
"""Bytes of parameters that wait for a frame, and of those that are kept for a new decoder."""
_START: Final = b'\0\0\1'
"""What a unit of H.264 and H.265 begins with."""
_CODECS: Final = {'264': 'h264', 'avc': 'h264', '265': 'hevc', 'hevc': 'hevc'}
"""FFmpeg's codec by what its names have in common."""


_PARAMETERS: Final = {'h264': (7, 8), 'hevc': (32, 33, 34)}
"""Kinds of units that hold parameters, each of which refers to the one before it."""


class Frame(NamedTuple):
    """An image of a topic, or why there is none.

    Attributes:
        key: What tells it from all others.
        header: That of its message; ``None`` if the message is none.
        found: RGB, uint8 ``(H, W, 3)``, or the reason.
    """

    key: Key
    header: Any
    found: RgbImage | str


class Decoder:
    """Makes images of the messages of one topic, which are fed in their order."""

    def __init__(self) -> None:
        self._video: _Video | None = None

    def feed(self, message: Recorded, key: Key, *, wanted: bool) -> Iterator[Frame]:
        """Yield the images that are known by now; a video may give some later.

        Args:
            message: The next message of the topic.
            key: Of its image.
            wanted: Whether its image is to be given; a video is decoded anyway.
        """
        kind = message.connection.msgtype
        try:
            content = TYPES.deserialize_cdr(message.data, kind)
        except Exception as error:
            # Whatever bytes that are no such message make the decoder raise.
            if wanted:
                yield Frame(key, None, f'It is no {kind}: {error or type(error).__name__}.')
            return
        try:
            codec = _codec(content, kind)
            if codec is None:
                if wanted:
                    yield Frame(key, header_of(content), packed_rgb(content))
                return
        except ImageError as error:
            yield from [Frame(key, header_of(content), str(error))] * wanted
            return
        if self._video is None or self._video.codec != codec:
            yield from self.flush()
            self._video = _Video(codec)
        data = bytes(message_bytes(content.data))
        yield from self._video.feed(data, Frame(key, header_of(content), ''), wanted=wanted)

    def flush(self) -> Iterator[Frame]:
        """Yield what is left after the last message."""
        if self._video is not None:
            yield from self._video.flush()


def _codec(content: Any, kind: str) -> str | None:  # noqa: ANN401 - of rosbags
    """Return the codec of a message with a part of a video; ``None`` for an image.

    Raises:
        EncodingError: If it is a video of another codec.
    """
    name = str(content.encoding if kind == PACKET else getattr(content, 'format', '')).lower()
    for part, codec in _CODECS.items():
        if part in name:
            return codec
    if kind in {VIDEO, PACKET}:
        raise EncodingError(f'Expected a video in H.264 or H.265, but got {name[:40]!r}.')
    return None


class _Video:
    """Decodes a video whose frames come as messages, from the first key frame on.

    A damaged message costs the images up to the next key frame: what a decoder makes up in their
    place is nothing that a camera has seen.
    """

    def __init__(self, codec: str) -> None:
        self.codec = codec
        self._context, self._new = _context(codec), True
        self._waiting: dict[int, tuple[Frame, bool]] = {}
        self._count = 0
        self._parameters = b''
        self._kept = _Parameters(codec)
        self._synchronised = False
        self._reason = 'No key frame has come before it.'

    def feed(self, data: bytes, frame: Frame, *, wanted: bool) -> Iterator[Frame]:
        """Decode the next message, and yield the frames that it completes."""
        units = {kind for kind, _ in _units(self.codec, data)}
        image = any(_is_image(self.codec, unit) for unit in units)
        self._synchronised |= any(_is_key(self.codec, unit) for unit in units)
        if not units:
            yield from self._lost('It holds no unit of H.264 or H.265.', frame, wanted=wanted)
            return
        if not self._synchronised:
            yield from [frame._replace(found=self._reason)] * (wanted and image)
            return
        if not image:  # Parameters alone, which a decoder takes with a frame.
            kept = self._parameters + data  # Each kind of them may be a message of its own.
            self._parameters = kept if len(kept) <= _MOST_PARAMETERS else data
            return
        content = self._parameters + data
        if self._new and not _parameters(self.codec, content):
            content = self._kept.content() + content
        self._parameters, self._new = b'', False
        packet = av.Packet(content)
        packet.pts = packet.dts = self._count
        self._waiting[self._count] = (frame, wanted)
        self._count += 1
        yield from self._decode(packet)
        self._kept.add(content, decoded=self._synchronised)

    def flush(self) -> Iterator[Frame]:
        """Yield the last frames."""
        if self._synchronised:
            yield from self._decode(None)
        yield from self._given_up(self._count)

    def _decode(self, packet: 'av.Packet[Any] | None') -> Iterator[Frame]:
        try:
            frames = self._context.decode(packet)
        except av.FFmpegError:
            reason = 'It is damaged, or a part of the video before it is missing.'
            yield from self._lost(reason)
            return
        for decoded in frames:
            frame, wanted = self._waiting.pop(decoded.pts or 0, (None, False))
            if frame is not None and wanted:
                yield frame._replace(found=_pixels(decoded))
        yield from self._given_up(self._count - _LONGEST)

    def _lost(
        self, reason: str, frame: Frame | None = None, *, wanted: bool = False
    ) -> Iterator[Frame]:
        """Yield what the decoder owes, with the reason, and wait for the next key frame."""
        self._reason = 'A part of the video before it is damaged or missing.'
        self._synchronised = False
        yield from self._given_up(self._count, reason)
        if frame is not None and wanted:
            yield frame._replace(found=reason)
        self._context, self._new = _context(self.codec), True

    def _given_up(self, before: int, reason: str = '') -> Iterator[Frame]:
        """Yield the frames that will not come any more."""
        for place in [place for place in self._waiting if place < before]:
            frame, wanted = self._waiting.pop(place)
            if wanted:
                yield frame._replace(found=reason or 'The decoder has no image for it.')


class _Parameters:
    """The parameters of a video, which many cameras send once, before the first frame.

    A new decoder needs them again. Those of a message that could not be decoded may be damaged,
    and would spoil what follows: they are kept as long as there are no others.
    """

    def __init__(self, codec: str) -> None:
        self._codec = codec
        self._units: list[tuple[int, bytes]] = []
        self._decoded = False

    def add(self, content: bytes, *, decoded: bool) -> None:
        """Keep those in the content of a message; ``decoded`` says whether it could be decoded."""
        found = _parameters(self._codec, content)
        if self._decoded and not decoded:
            return
        if found:
            first = min(kind for kind, _ in found)
            replaced = first < max(_PARAMETERS[self._codec])  # Else one more of the last kind.
            kept = [one for one in self._units if not replaced or one[0] < first]
            self._units = [one for one in kept if one not in found] + found
        self._decoded = decoded
        while sum(len(unit) for _, unit in self._units) > _MOST_PARAMETERS:
            del self._units[0]

    def content(self) -> bytes:
        """Return all of them."""
        return b''.join(_START + unit for _, unit in self._units)


def _context(codec: str) -> VideoCodecContext:
    """Return a decoder that gives each frame as soon as it can, and makes none up."""
    context = cast('VideoCodecContext', VideoCodecContext.create(codec, 'r'))
    context.thread_count = 1  # Several give frames later.
    context.options = {'err_detect': 'explode', 'ec': '0'}
    return context


def _pixels(decoded: av.VideoFrame) -> RgbImage | str:
    """Return the pixels of a frame, or why it has none."""
    try:
        check_size(decoded.width, decoded.height)
    except ImageError as error:
        return str(error)
    if decoded.is_corrupt:
        return 'It is damaged, or a part of the video before it is missing.'
    return np.asarray(decoded.to_ndarray(format='rgb24'), np.uint8)


def _units(codec: str, data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the kind and the bytes of each unit of a message."""
    for unit in data.split(_START)[1:]:
        if unit:
            kind = unit[0] & 0x1F if codec == 'h264' else unit[0] >> 1 & 0x3F
            yield kind, unit.rstrip(b'\0')  # Zeros behind a unit are no part of it.


def _parameters(codec: str, data: bytes) -> list[tuple[int, bytes]]:
    """Return the kind and the bytes of each unit with parameters."""
    return [one for one in _units(codec, data) if one[0] in _PARAMETERS[codec]]


def _is_image(codec: str, unit: int) -> bool:
    return 1 <= unit <= 5 if codec == 'h264' else unit < 32


def _is_key(codec: str, unit: int) -> bool:
    """Return whether decoding may begin: with a key frame, or parameters, which precede one."""
    return unit in {5, 7} if codec == 'h264' else 16 <= unit <= 21 or unit in {32, 33}

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
"""Read and write video files with PyAV; cameras are read elsewhere, by OpenCV."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
import os
from pathlib import Path
from types import TracebackType
from typing import cast, Final

import av
from av.container import InputContainer, OutputContainer
from av.video.stream import VideoStream
import cv2
import numpy as np
import numpy.typing as npt
from zegclip_core.errors import ImageError
from zegclip_core.files import absent
from zegclip_core.images.checks import RgbImage

CODEC: Final = 'libx264'
"""H.264, which players and browsers show."""
_WHOLE = 0.95
"""Least share of the frames that a whole video gives."""
OPTIONS = {'preset': 'veryfast', 'crf': '20'}
"""Constant quality, to the eye like the original, at a speed that keeps up with a camera."""


@contextmanager
def _opened(path: Path, called: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video file and find its first video stream."""
    try:
        # An absolute path, since a colon in a relative one would name a protocol.
        container = av.open(str(path.absolute()), metadata_errors='replace')
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = 'not a video or damaged' if path.exists() else absent(path)
        raise ImageError(f'Cannot open the video {called}: {reason}.') from error
    with container:
        if not container.streams.video:
            raise ImageError(f'Cannot open the video {called}: not a video or damaged.')
        yield container, container.streams.video[0]


def _upright(image: RgbImage, frame: av.VideoFrame) -> RgbImage:
    """Return a frame turned and mirrored as its file says.

    Phones store frames as the sensor has them, and front cameras mirrored.
    """
    try:
        data = frame.side_data.get('DISPLAYMATRIX')
    except ValueError:  # Beside it lies what this PyAV does not know, such as EXIF data.
        return np.ascontiguousarray(np.rot90(image, frame.rotation // 90))
    if data is None:
        return image
    # Stored (x, y) is shown at (a * x + c * y, b * x + d * y), but for where it begins.
    a, b, _, c, d = np.frombuffer(cast(bytes, data), np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        image, a, d = image.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


class Video:
    """The frames of a video file.

    Args:
        path: The file.
        called: What it is in errors, if not its path.

    Attributes:
        frame_rate: Frames per second that the file declares, in (0, 1000], or ``None``.
        frame_count: Number of frames, estimated from the duration where the file has no count;
            ``None`` if it cannot be told without decoding.
        decoded: Frames that were decoded since the last iteration began.
        damaged: Whether that met parts that could not be decoded.

    Raises:
        ImageError: If the file cannot be opened or holds no video.
    """

    def __init__(self, path: Path, called: str = '') -> None:
        self._path, self._called = path, called or str(path)
        with _opened(self._path, self._called) as (container, stream):
            rate = float(stream.guessed_rate or stream.average_rate or 0.0)
            seconds = (container.duration or 0) / av.time_base
            count = stream.frames or int(seconds * rate + 0.5)
        self.frame_rate: float | None = rate if 0.0 < rate <= 1000.0 else None
        self.frame_count: int | None = count if count > 0 else None
        self.decoded = 0
        self.damaged = False

    @property
    def cut(self) -> bool:
        """Whether the last iteration, now that it is over, gave less than the file should hold.

        A few frames too few are no sign: counts are estimates, and editors trim without cutting.
        """
        return self.damaged or self.decoded < _WHOLE * (self.frame_count or 0)

    def __iter__(self) -> Iterator[RgbImage]:
        """Yield the frames from the first one, upright, as RGB uint8 ``(H, W, 3)``.

        Damaged parts are left out, and a file that breaks off ends there.

        Raises:
            ImageError: If the file cannot be opened or no frame of it can be decoded.
        """
        self.decoded, self.damaged = 0, False
        with _opened(self._path, self._called) as (container, stream), self._noting():
            stream.thread_type = 'AUTO'
            for packet in container.demux(stream):
                frames = []
                self.damaged |= packet.is_corrupt
                with self._noting():
                    frames = packet.decode()
                for frame in frames:
                    self.decoded += 1
                    image = np.asarray(frame.to_ndarray(format='rgb24'), np.uint8)
                    yield _upright(image, frame)
        if not self.decoded:
            raise ImageError(f'Cannot read {self._called}: no frame of it could be decoded.')

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Note that something could not be decoded, and go on behind it."""
        try:
            yield
        except av.FFmpegError:
            self.damaged = True


class VideoWriter:
    """Writes images of one size as the frames of an MP4 video.

    The file is at its place when the writer is closed; until then, and after an error in the
    ``with`` block, what was there before stays.

    Args:
        path: Where the video goes.
        frame_rate: Frames per second, above 0.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with VideoWriter(Path(folder) / 'a.mp4', frame_rate=10.0) as writer:
        ...         writer.write(np.zeros((48, 64, 3), dtype=np.uint8))
        ...     (Path(folder) / 'a.mp4').stat().st_size > 0
        True

    """

    def __init__(self, path: Path, frame_rate: float) -> None:
        self._path = path
        self._partial = path.with_name(f'.{path.stem}.{os.getpid()}.part{path.suffix}')
        self._rate = Fraction(frame_rate).limit_denominator(100_000)
        self._output: tuple[OutputContainer, VideoStream] | None = None

    def write(self, image: npt.NDArray[np.uint8]) -> None:
        """Append a frame.

        Args:
            image: RGB uint8 ``(H, W, 3)``, of the size of the first one. Odd sides grow by one
                pixel, since H.264 takes only even ones.

        Raises:
            ImageError: If the video cannot be written.
        """
        odd = [(0, side % 2) for side in image.shape[:2]]
        even = np.pad(image, (*odd, (0, 0)), mode='edge')
        try:
            if self._output is None:
                container = av.open(str(self._partial.absolute()), 'w', format='mp4')
                stream = container.add_stream(CODEC, rate=self._rate, options=OPTIONS)
                stream.height, stream.width = even.shape[:2]
                stream.pix_fmt = 'yuv420p'
                self._output = container, stream
                container.start_encoding()
            container, stream = self._output
            # OpenCV turns RGB into the encoder's colours eight times as fast as PyAV does.
            colors = np.asarray(cv2.cvtColor(even, cv2.COLOR_RGB2YUV_I420), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(colors, format='yuv420p')))
        except av.FFmpegError as error:
            raise ImageError(
                f'Cannot write the video {self._path}: the encoder does not open.'
            ) from error

    def close(self) -> None:
        """Finish the file; without a frame there is none.

        Raises:
            ImageError: If the video cannot be written.
        """
        if self._output is None:
            return
        (container, stream), self._output = self._output, None
        try:
            with container:
                container.mux(stream.encode(None))
            self._partial.replace(self._path)
        except av.FFmpegError as error:
            raise ImageError(f'Cannot write the video {self._path}: {error.strerror}.') from error
        finally:
            self._partial.unlink(missing_ok=True)

    def __enter__(self) -> 'VideoWriter':
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
            return
        if self._output is not None:
            self._output[0].close()
        self._partial.unlink(missing_ok=True)

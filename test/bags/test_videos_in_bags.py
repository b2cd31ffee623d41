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
"""Videos in bags: H.264 and H.265, whose frames are messages that need those before them."""

from fractions import Fraction
from pathlib import Path

import av
from bag_helpers import (
    ColorSegmenter,
    Command,
    COMPRESSED,
    content,
    header,
    on_topic,
    pixels_of,
    raw_compressed,
    START,
    STEP,
    TYPES,
    write_bag,
)
import numpy as np
import numpy.typing as npt
import pytest
from zegclip_core.bags.message_types import PACKET, VIDEO
from zegclip_core.bags.message_types import TYPES as KNOWN

WORDS = ('--classes', 'tomato, sky')
SIZE = (64, 96)
FRAMES = 12
CODECS = {'h264': ('libx264', 'x264-params'), 'h265': ('libx265', 'x265-params')}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def picture(place: int, size: tuple[int, int] = SIZE) -> npt.NDArray[np.uint8]:
    """Return a grey image whose left part, wider with each frame, is red."""
    pixels = np.full((*size, 3), 100, np.uint8)
    pixels[:, : 8 * (place % FRAMES)] = (255, 0, 0)
    return pixels


def encoded(
    codec: str, frames: int = FRAMES, *, reordered: int = 0, size: tuple[int, int] = SIZE
) -> list[bytes]:
    """Return the frames of a video, a key frame every fourth, as a driver sends them."""
    library, option = CODECS[codec]
    encoder = av.CodecContext.create(library, 'w')
    encoder.height, encoder.width = size
    encoder.pix_fmt = 'yuv420p'
    encoder.time_base = Fraction(1, 30)
    more = f'keyint=4:min-keyint=4:scenecut=0:bframes={reordered}:repeat-headers=1:annexb=1'
    quiet = ':log-level=none' if codec == 'h265' else ''
    encoder.options = {'preset': 'ultrafast', option: more + quiet, 'crf': '5'}
    found = []
    for place in range(frames):
        frame = av.VideoFrame.from_ndarray(picture(place, size), format='rgb24')
        frame.pts = place
        found += encoder.encode(frame)
    return [bytes(packet) for packet in (*found, *encoder.encode(None))]


def message(kind: str, codec: str, data: bytes, place: int) -> bytes:
    """Return a serialised message with a part of a video."""
    time, values = START + place * STEP, np.frombuffer(data, np.uint8)
    if kind == COMPRESSED:
        return raw_compressed(values, codec, time)
    if kind == VIDEO:
        stamp = header(time).stamp
        made = KNOWN.types[VIDEO](timestamp=stamp, frame_id='lens', data=values, format=codec)
    else:
        made = KNOWN.types[PACKET](
            header=header(time, 'lens'),
            height=SIZE[0],
            width=SIZE[1],
            encoding=f'{codec};yuv420p',
            pts=place,
            flags=0,
            is_bigendian=False,
            data=values,
        )
    return bytes(KNOWN.serialize_cdr(made, kind))


def bag(path: Path, parts: list[bytes], codec: str = 'h264', kind: str = COMPRESSED) -> Path:
    TYPES.register({kind: KNOWN.fielddefs[kind]} if kind not in TYPES.fielddefs else {})
    messages = [message(kind, codec, data, place) for place, data in enumerate(parts)]
    return write_bag(path, {'/camera': (kind, messages)})


def columns(path: Path) -> dict[int, int]:
    """Return how wide the labelled part is, by the number of the message."""
    return {
        (time - START) // STEP: int((pixels_of(label)[SIZE[0] // 2] == 0).sum())
        for time, label in on_topic(path, '/zegclip/label_image')
    }


@pytest.mark.parametrize('codec', CODECS)
@pytest.mark.parametrize('kind', [COMPRESSED, VIDEO, PACKET])
def test_each_frame_of_a_video_has_its_labels(
    run: Command, tmp_path: Path, codec: str, kind: str
) -> None:
    source = bag(tmp_path / 'in', encoded(codec), codec, kind)
    code, out, err = run(source, tmp_path / 'out', *WORDS)
    assert (code, err) == (0, '')
    assert f'{FRAMES} images of /camera labelled' in out
    # Colours are halved in both directions, so an edge may move by a pixel.
    found = columns(tmp_path / 'out')
    assert found.keys() == set(range(FRAMES))
    assert max(abs(found[place] - 8 * place) for place in found) <= 1
    frames = {label.header.frame_id for _, label in on_topic(tmp_path / 'out', LABELS)}
    assert frames == {'camera_optical' if kind == COMPRESSED else 'lens'}


LABELS = '/zegclip/label_image'


@pytest.mark.parametrize('codec', CODECS)
@pytest.mark.parametrize('started', [1, 3, 6])
def test_a_recording_that_begins_between_key_frames_is_labelled_from_the_next_one_on(
    run: Command, tmp_path: Path, codec: str, started: int
) -> None:
    source = bag(tmp_path / 'in', encoded(codec)[started:], codec)
    code, out, err = run(source, tmp_path / 'out', *WORDS)
    lost = 4 * -(-started // 4) - started
    assert (code, f'{lost} could not be read' in out) == (2, True)
    assert 'No key frame has come before it' in err
    found = columns(tmp_path / 'out')
    assert found.keys() == set(range(lost, FRAMES - started))
    assert max(abs(found[place] - 8 * (place + started)) for place in found) <= 1


@pytest.mark.parametrize('damage', ['cut', 'zeros', 'none', 'text'])
def test_a_damaged_message_costs_the_images_up_to_the_next_key_frame(
    run: Command, tmp_path: Path, damage: str
) -> None:
    parts = encoded('h264')
    parts[5] = {
        'cut': parts[5][:12],
        'zeros': bytes(50),
        'none': b'',
        'text': b'no video at all',
    }[damage]
    code, _, err = run(bag(tmp_path / 'in', parts), tmp_path / 'out', *WORDS)
    assert code == 2
    assert 'Cannot read the image of /camera' in err
    found = columns(tmp_path / 'out')
    assert {0, 1, 2, 3, 4, 8, 9, 10, 11} <= found.keys() <= set(range(FRAMES)) - {5}
    assert max(abs(found[place] - 8 * place) for place in found.keys() - {6, 7}) <= 1


def bare(codec: str, parts: list[bytes], kept: set[int]) -> list[bytes]:
    """Return a video whose parameters stand in some of its messages only, as cameras send them."""
    kinds = {'h264': {7, 8}, 'h265': {32, 33, 34}}[codec]

    def without(part: bytes) -> bytes:
        units = (unit.rstrip(b'\0') for unit in part.split(b'\0\0\1')[1:])
        kind = (lambda head: head & 31) if codec == 'h264' else (lambda head: head >> 1 & 63)
        return b''.join(b'\0\0\0\1' + unit for unit in units if kind(unit[0]) not in kinds)

    return [part if place in kept else without(part) for place, part in enumerate(parts)]


@pytest.mark.parametrize('codec', CODECS)
@pytest.mark.parametrize(
    ('damaged', 'lost'),
    [((5,), {5, 6, 7}), ((5, 9), {5, 6, 7, 9, 10, 11}), ((4,), {4, 5, 6, 7}), ((1, 2), {1, 2, 3})],
)
def test_parameters_that_come_once_outlive_a_damaged_part(
    run: Command, tmp_path: Path, codec: str, damaged: tuple[int, ...], lost: set[int]
) -> None:
    parts = bare(codec, encoded(codec), kept={0})
    for place in damaged:
        parts[place] = b'no video at all'
    code, _, _ = run(bag(tmp_path / 'in', parts, codec), tmp_path / 'out', *WORDS)
    found = columns(tmp_path / 'out')
    assert (code, found.keys()) == (2, set(range(FRAMES)) - lost)
    assert max(abs(found[place] - 8 * place) for place in found) <= 1


@pytest.mark.parametrize('codec', CODECS)
def test_parameters_of_a_first_frame_that_is_damaged_serve_the_next_key_frame(
    run: Command, tmp_path: Path, codec: str
) -> None:
    parts = bare(codec, encoded(codec), kept={0})
    image = parts[0].rindex(b'\0\0\1') + 5
    parts[0] = parts[0][:image] + b'\xff' * 40
    code, _, _ = run(bag(tmp_path / 'in', parts, codec), tmp_path / 'out', *WORDS)
    found = columns(tmp_path / 'out')
    assert code == 2
    assert set(range(4, FRAMES)) <= found.keys()
    assert max(abs(found[place] - 8 * place) for place in range(4, FRAMES)) <= 1


@pytest.mark.parametrize('codec', CODECS)
@pytest.mark.parametrize(
    ('damaged', 'kept', 'whole'),
    [
        (4, {0, 4}, {0, 1, 2, 3, 8, 9, 10, 11}),  # The third key frame has none of its own.
        (0, {0, 4}, {4, 5, 6, 7, 8, 9, 10, 11}),
        (0, {0, 8}, {8, 9, 10, 11}),
    ],
)
def test_damaged_parameters_spoil_no_later_part(
    run: Command, tmp_path: Path, codec: str, damaged: int, kept: set[int], whole: set[int]
) -> None:
    parts = bare(codec, encoded(codec), kept)
    first, second, *others = parts[damaged].split(b'\0\0\1')[1:]
    parts[damaged] = b''.join(b'\0\0\1' + unit for unit in (first[:4], second[:3], *others))
    run(bag(tmp_path / 'in', parts, codec), tmp_path / 'out', *WORDS)
    found = columns(tmp_path / 'out')
    assert found.keys() == whole
    assert max(abs(found[place] - 8 * place) for place in whole) <= 1


@pytest.mark.parametrize('codec', CODECS)
def test_parameters_that_change_are_the_last_ones(
    run: Command, tmp_path: Path, codec: str
) -> None:
    """A camera that is set to another size, and back, and then loses a frame."""
    wide = encoded(codec, 4, size=(96, 128))
    parts = bare(codec, encoded(codec, 4) + wide + encoded(codec, 8), kept={0, 4, 8})
    parts[10] = b'no video at all'
    run(bag(tmp_path / 'in', parts, codec), tmp_path / 'out', *WORDS)
    sizes = {
        (time - START) // STEP: (label.height, label.width)
        for time, label in on_topic(tmp_path / 'out', LABELS)
    }
    assert sizes == {
        **dict.fromkeys((0, 1, 2, 3, 8, 9, 12, 13, 14, 15), SIZE),
        **dict.fromkeys((4, 5, 6, 7), (96, 128)),
    }


def test_frames_that_a_camera_reorders_keep_their_own_times(run: Command, tmp_path: Path) -> None:
    parts = encoded('h264', reordered=2)
    code, out, _ = run(bag(tmp_path / 'in', parts), tmp_path / 'out', *WORDS, '--overlay')
    assert (code, f'{FRAMES} images' in out) == (0, True)
    # A message holds a frame that is shown later than some that follow it.
    found = columns(tmp_path / 'out')
    assert sorted(found.values()) == sorted(found.values(), key=int)
    assert len(set(found.values())) == FRAMES
    overlays = dict(on_topic(tmp_path / 'out', '/zegclip/overlay'))
    for time, label in on_topic(tmp_path / 'out', LABELS):
        red = pixels_of(overlays[time])[SIZE[0] // 2, :, 1] != 100
        assert abs(int(red.sum()) - int((pixels_of(label)[SIZE[0] // 2] == 0).sum())) <= 3


def test_parameters_may_come_as_a_message_of_their_own(run: Command, tmp_path: Path) -> None:
    first = encoded('h264')[0]
    cut = first.rindex(b'\0\0\1e')
    parts = [first[:cut], first[cut:], *encoded('h264')[1:]]
    code, out, err = run(bag(tmp_path / 'in', parts), tmp_path / 'out', *WORDS)
    assert (code, err) == (0, '')
    assert f'{FRAMES} images of /camera labelled' in out
    assert 0 not in columns(tmp_path / 'out')


@pytest.mark.parametrize('codec', CODECS)
def test_each_unit_of_the_parameters_may_be_a_message(
    run: Command, tmp_path: Path, codec: str
) -> None:
    first, *others = encoded(codec)
    # Between the parameters before and the image, which is the last unit.
    units = [b'\0\0\1' + unit for unit in first.split(b'\0\0\1')[1:]]
    assert len(units) > 2
    source = bag(tmp_path / 'in', [*units, *others], codec)
    code, out, err = run(source, tmp_path / 'out', *WORDS)
    assert (code, err) == (0, '')
    assert f'{FRAMES} images of /camera labelled' in out


def test_an_interrupted_video_goes_on_in_the_middle(run: Command, tmp_path: Path) -> None:
    source, out = bag(tmp_path / 'in', encoded('h264')), tmp_path / 'out'
    run(source, tmp_path / 'whole', *WORDS, '--overlay')
    run.segmenter = ColorSegmenter(ends_at=6)
    assert run(source, out, *WORDS, '--overlay')[0] == 130
    run.segmenter = ColorSegmenter()
    assert run(source, out, *WORDS, '--overlay')[0] == 0
    assert run.segmenter.seen == FRAMES - 6
    assert content(out) == content(tmp_path / 'whole')


def test_every_nth_frame_of_a_video_is_the_right_one(run: Command, tmp_path: Path) -> None:
    source = bag(tmp_path / 'in', encoded('h264'))
    assert run(source, tmp_path / 'out', *WORDS, '--every', 5)[0] == 0
    found = columns(tmp_path / 'out')
    assert found.keys() == {0, 5, 10}
    assert max(abs(found[place] - 8 * place) for place in found) <= 1


@pytest.mark.parametrize('codec', ['vp9', 'av1', ''])
def test_other_codecs_are_named(run: Command, tmp_path: Path, codec: str) -> None:
    source = bag(tmp_path / 'in', [b'\0\0\1\x65 data'], codec, VIDEO)
    code, _, err = run(source, tmp_path / 'out', *WORDS)
    assert code == 2
    assert f'Expected a video in H.264 or H.265, but got {codec!r}' in err

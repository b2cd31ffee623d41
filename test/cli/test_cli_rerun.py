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
"""``zegclip segment --rerun``: what Rerun's reader finds in a recording, and what is refused."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
import importlib.util
import io
from pathlib import Path
import re
import socket
import subprocess
import sys
import threading
from typing import Any, ClassVar

from commands import Answer, answer_of, refused
import cv2
import numpy as np
from PIL import Image
import pytest
import rerun
from rerun.chunk import RrdReader
from segment_stand_ins import ColorSegmenter, stand_in
from zegclip_core.images import rerun_log
from zegclip_core.images.rerun_log import annotation_context, MAX_MAPS
from zegclip_core.segmentation import Moment, Segmentation
from zegclip_core.text.vocabulary import Vocabulary

Run = Callable[..., Answer]
SETTINGS = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""What a server of HTTP/2 says first: a frame of settings, without any."""
PATIENCE = 100.0
"""Longest wait for a process [s]."""


class RedSegmenter(ColorSegmenter):
    """Red is class 0, the rest unlabelled; mask logits are asked for, and count the classes."""

    fails: ClassVar[bool] = False

    def segment(
        self,
        image: np.ndarray,
        vocabulary: Vocabulary,
        *,
        moment: Moment | None = None,
        mask_logits: bool = False,
    ) -> Segmentation:
        assert mask_logits
        if self.fails:
            raise KeyboardInterrupt
        labels = np.where(image[..., 0] > 128, 0, 255).astype(np.uint8)
        logits = np.arange(len(vocabulary), dtype=np.float32)[:, None, None] * np.ones((3, 4))
        return Segmentation(
            labels, np.ones(labels.shape, np.float32), vocabulary, logits.astype(np.float32)
        )


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    stand_in(monkeypatch, RedSegmenter)
    monkeypatch.setattr(RedSegmenter, 'fails', False)
    return partial(answer_of, capsys)


def half_red(path: Path) -> np.ndarray:
    """Write a picture whose left half is red; return the labels that the stand-in gives it."""
    pixels = np.full((30, 40, 3), 100, dtype=np.uint8)
    pixels[:, :20] = (255, 0, 0)
    Image.fromarray(pixels).save(path)
    return np.where(np.arange(40) < 20, 0, 255) * np.ones((30, 1), dtype=int)


def red_video(path: Path, frames: int) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), 10.0, (64, 48))
    for _ in range(frames):
        writer.write(np.full((48, 64, 3), (0, 0, 255), dtype=np.uint8))
    writer.release()


def logged(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each entity of a recording, in the order in which they were logged."""
    found: dict[str, list[dict[str, Any]]] = {}
    for chunk in RrdReader(path).stream():
        batch = chunk.to_record_batch()
        # When it was logged, in nanoseconds, is nothing that Python's datetime can hold.
        rows = batch.select([name for name in batch.schema.names if name != 'log_time'])
        found.setdefault(chunk.entity_path, []).extend(rows.to_pylist())
    for rows in found.values():
        rows.sort(key=lambda row: row['rerun.controls.RowId'])
    return found


def classes(row: dict[str, Any]) -> dict[int, tuple[str, int]]:
    """Return label and RGBA of each id of a logged annotation context."""
    entries = [each['class_description']['info'] for each in row['AnnotationContext:context'][0]]
    return {each['id']: (each['label'], each['color']) for each in entries}


def test_a_recording_has_names_colours_labels_and_maps(run: Run, tmp_path: Path) -> None:
    labels = half_red(tmp_path / 'a.png')
    half_red(tmp_path / 'b.png')
    words = '[{"name": "tomato", "color": "#ff8000"}, "a/b"]'
    file = tmp_path / 'x.rrd'
    options = ('--classes', words, '--out', tmp_path / 'out', '--rerun', file)
    assert run('segment', tmp_path / 'a.png', tmp_path / 'b.png', *options)[0] == 0

    found = logged(file)
    (context,) = found['/']
    known = classes(context)
    assert {number: name for number, (name, _) in known.items()} == {
        0: 'tomato',
        1: 'a/b',
        255: 'none of these',
    }
    assert (known[0][1], known[255][1]) == (0xFF8000FF, 0)
    assert [row['picture'] for row in found['/pictures/labels']] == [0, 1]
    assert [row['TextDocument:text'] for row in found['/pictures/name']] == [['a'], ['b']]
    buffer = bytes(found['/pictures/labels'][0]['SegmentationImage:buffer'][0])
    assert np.array_equal(np.frombuffer(buffer, np.uint8).reshape(30, 40), labels)
    blob = bytes(found['/pictures/image'][0]['EncodedImage:blob'][0])
    left, right = np.asarray(Image.open(io.BytesIO(blob)), dtype=int)[15, [3, 36]]
    assert np.abs(left - (255, 0, 0)).max() < 12
    assert np.abs(right - 100).max() < 12
    (maps,) = [rows for path, rows in found.items() if path.endswith('mask_logits/a\\/b')]
    tensor = maps[0]['Tensor:data'][0]
    assert list(tensor['shape']) == [3, 4]
    assert set(tensor['buffer']) == {1.0}
    assert [path.name for path in tmp_path.glob('.*')] == []


def test_frames_of_a_video_have_numbers_and_times(run: Run, tmp_path: Path) -> None:
    red_video(tmp_path / 'walk.avi', frames=3)
    half_red(tmp_path / 'photo.png')
    file = tmp_path / 'x.rrd'
    inputs = (tmp_path / 'walk.avi', tmp_path / 'photo.png')
    options = ('--classes', 'a', '--out', tmp_path / 'out', '--rerun', file)
    assert run('segment', *inputs, *options)[0] == 0
    rows = logged(file)['/videos/walk/labels']
    assert [row['frame'] for row in rows] == [0, 1, 2]
    seconds = [row['video_time'].total_seconds() for row in rows]
    assert seconds == pytest.approx([0.0, 0.1, 0.2])
    # A picture is at no time of the video before it.
    assert 'frame' not in logged(file)['/pictures/labels'][0]


def test_maps_of_other_images_do_not_stay(tmp_path: Path) -> None:
    count = MAX_MAPS + 1
    words = Vocabulary.from_names([f'w{index}' for index in range(count)])
    image, logits = np.zeros((5, count, 3), np.uint8), np.ones((count, 1, 1), np.float32)
    first = np.tile(np.arange(count, dtype=np.uint8), (5, 1))
    first[:, -1] = 0  # The last word has nothing,
    second = np.full_like(first, count - 1)  # and then all.
    scores = np.ones(first.shape, np.float32)
    with rerun_log.rerun_log(tmp_path / 'x.rrd', words, alpha=0.5) as log:
        for labels in (first, second):
            log.add('a', image, Segmentation(labels, scores, words, logits))
    found = logged(tmp_path / 'x.rrd')
    maps = {path.rsplit('/', 1)[1]: rows for path, rows in found.items() if 'mask_logits' in path}
    assert len(maps) == count
    assert [row['picture'] for row in maps[f'w{count - 1}']] == [1]
    # One had to make room for it.
    cleared = [name for name, rows in maps.items() if rows[-1].get('Clear:is_recursive')]
    assert cleared == [f'w{count - 2}']


def test_chosen_ids_and_wide_labels_have_their_names() -> None:
    chosen = Vocabulary.parse('[{"name": "cat", "id": 7}, {"name": "dog", "id": 3}]')
    many = Vocabulary.from_names([f'w{index}' for index in range(300)])
    for words, expected in ((chosen, [7, 3, 255]), (many, [*range(300), 65535])):
        batch = annotation_context(words).as_component_batches()[0].as_arrow_array().to_pylist()
        assert [each['class_description']['info']['id'] for each in batch[0]] == expected


def test_nothing_is_left_of_a_recording_that_breaks_off(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half_red(tmp_path / 'a.png')
    (tmp_path / 'x.rrd').write_bytes(b'of before')
    monkeypatch.setattr(RedSegmenter, 'fails', True)
    options = ('--classes', 'a', '--out', tmp_path / 'out', '--rerun', tmp_path / 'x.rrd')
    assert run('segment', tmp_path / 'a.png', *options)[0] != 0
    assert (tmp_path / 'x.rrd').read_bytes() == b'of before'
    assert list(tmp_path.glob('.*')) == []


@contextmanager
def answering(*answers: bytes | None) -> Iterator[str]:
    """Answer one connection after the other and close it, but keep those of ``None``; yield a URL.

    Nobody listens any more after the last.
    """
    kept: list[socket.socket] = []
    listening = socket.create_server(('127.0.0.1', 0))

    def serve() -> None:
        for answer in answers:
            connection = listening.accept()[0]
            if answer is None:
                kept.append(connection)
                continue
            with connection:
                connection.recv(1024)
                connection.sendall(answer)
        listening.close()

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    yield f'rerun+http://127.0.0.1:{listening.getsockname()[1]}/proxy'
    server.join()
    for connection in kept:
        connection.close()


def test_a_viewer_of_a_url_gets_what_a_file_gets(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half_red(tmp_path / 'a.png')
    with answering(SETTINGS) as url:
        to: list[str] = []
        # The real one is what Rerun's own tests are about.
        monkeypatch.setattr(
            rerun.RecordingStream,
            'connect_grpc',
            lambda stream, url: (to.append(url), stream.save(tmp_path / 'sent.rrd')),
        )
        options = ('--classes', 'a', '--out', tmp_path / 'out', '--rerun', url)
        assert run('segment', tmp_path / 'a.png', *options)[0] == 0
    assert to == [url]
    assert '/pictures/labels' in logged(tmp_path / 'sent.rrd')


def test_a_real_server_of_rerun_is_found_and_takes_all(run: Run, tmp_path: Path) -> None:
    half_red(tmp_path / 'a.png')
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    viewer = rerun.RecordingStream('viewer')
    url = viewer.serve_grpc(grpc_port=port)
    options = ('--classes', 'a', '--out', tmp_path / 'out', '--rerun', url)
    code, _, err = run('segment', tmp_path / 'a.png', *options)
    viewer.disconnect()
    assert (code, err) == (0, '')


def test_a_viewer_that_goes_away_is_told_of_and_the_files_are_there(
    run: Run, tmp_path: Path
) -> None:
    half_red(tmp_path / 'a.png')
    # First comes the question whether there is a viewer, then Rerun itself.
    with answering(SETTINGS, b'') as url:
        options = ('--classes', 'a', '--out', tmp_path / 'out', '--rerun', url)
        code, out, err = run('segment', tmp_path / 'a.png', *options)
    assert code == 2
    assert 'a_overlay.png' in out
    line = f'zegclip: error: Expected the viewer at {url} to take all, but: '
    assert line in err
    assert (tmp_path / 'out' / 'a_label.png').is_file()


@pytest.mark.parametrize(
    ('answer', 'reason'),
    [(None, 'timed out'), (b'HTTP/1.1 400 Bad Request\r\n', 'something else listens there')],
)
def test_what_is_no_viewer_is_refused_before_anything_is_done(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: bytes | None,
    reason: str,
) -> None:
    half_red(tmp_path / 'a.png')
    monkeypatch.setattr(rerun_log, '_PATIENCE', 0.2)
    with answering(answer) as url:
        options = ('--classes', 'a', '--out', tmp_path / 'out', '--rerun', url)
        line = refused(run('segment', tmp_path / 'a.png', *options))
    assert f'Expected a Rerun viewer at {url}, but there is none ({reason})' in line
    assert not (tmp_path / 'out').exists()


# A process of its own, since what is tested is that it ends.
STUCK = """
import numpy as np
from zegclip_core.images import rerun_log
from zegclip_core.segmentation import Segmentation
from zegclip_core.text.vocabulary import Vocabulary
rerun_log.LONGEST = rerun_log._PATIENCE = 0.5
words, size = Vocabulary.from_names(['a']), (600, 800)  # More than travels unasked.
found = Segmentation(np.zeros(size, np.uint8), np.ones(size, np.float32), words)
try:
    with rerun_log.rerun_log({url!r}, words, alpha=0.5) as log:
        for _ in range(2):
            log.add('a', np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8), found)
finally:
    print('labelled')
"""


def test_a_viewer_that_gets_stuck_keeps_nobody() -> None:
    with answering(None) as url:
        done = subprocess.run(
            [sys.executable, '-c', STUCK.format(url=url)],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert done.stdout == 'labelled\n'
    last = done.stderr.splitlines()[-1]
    assert f'ConfigError: Expected the viewer at {url} to take all, but: Flush timed out' in last


@pytest.mark.parametrize(
    ('target', 'line'),
    [
        ('x.txt', r"--rerun to be a file that ends in .rrd, but got '.*x.txt'"),
        ('http://127.0.0.1:1/proxy', 'a URL such as rerun.http.*, but got'),
        ('rerun+http://127.0.0.1:99999/proxy', 'a URL such as rerun.http'),
        ('rerun+http://127.0.0.1:1/proxy', 'there is none .*start it by `rerun`'),
        ('nowhere/x.rrd', 'Expected a folder for --rerun'),
    ],
)
def test_what_cannot_be_logged_to_is_refused_in_one_line(
    run: Run, tmp_path: Path, target: str, line: str
) -> None:
    half_red(tmp_path / 'a.png')
    options = ('--classes', 'a', '--out', tmp_path / 'out', '--rerun', target)
    assert re.search(line, refused(run('segment', tmp_path / 'a.png', *options)))
    assert not (tmp_path / 'out').exists()


def test_without_rerun_one_line_says_how_to_get_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half_red(tmp_path / 'a.png')
    real = importlib.util.find_spec
    monkeypatch.setattr(
        'zegclip_core.engines.backends.find_spec',
        lambda name: None if name == 'rerun' else real(name),
    )
    options = ('--classes', 'a', '--out', tmp_path / 'out', '--rerun', 'x.rrd')
    said = refused(run('segment', tmp_path / 'a.png', *options))
    assert "pip install 'zegclip-ros[rerun]'" in said


def test_what_rerun_cannot_take_is_an_error(tmp_path: Path) -> None:
    words = Vocabulary.from_names(['a'])
    labels: Any = np.zeros((2, 2, 2), np.uint8)
    found = Segmentation(labels, np.ones((2, 2), np.float32), words)
    with (
        pytest.raises(ValueError, match='must be 2D'),
        rerun_log.rerun_log(tmp_path / 'x.rrd', words, alpha=0.5) as log,
    ):
        log.add('a', np.zeros((2, 2, 3), np.uint8), found)

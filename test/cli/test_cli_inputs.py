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
"""Inputs of all kinds: patterns, folders below folders, addresses, standard input, animations."""

from base64 import b64encode
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import io
import json
from pathlib import Path
import shutil
import sys
import tempfile
from threading import Thread

from commands import Answer, answer_of, refused
import numpy as np
from PIL import Image
import pytest
from segment_stand_ins import ColorSegmenter, half_red, stand_in, write_video
from zegclip_core.images.media import read_picture

Run = Callable[..., Answer]


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Run:
    """Return a function that segments inputs into ``out``, from the folder of the test."""
    stand_in(monkeypatch, ColorSegmenter)
    monkeypatch.chdir(tmp_path)
    return partial(answer_of, capsys, 'segment', '--classes', 'red, blue', '--out', 'out')


def results(out: Path) -> dict[str, str]:
    """Return what the figures lie at, below ``out``, and the source that each names."""
    return {
        str(path.relative_to(out).with_suffix('')): json.loads(path.read_text())['source']
        for path in sorted(out.rglob('*.json'))
    }


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a folder of folders with pictures of the same names."""
    folder = tmp_path / 'in'
    for name in ('a.png', 'x/a.png', 'x/deep/er/B.PNG', 'y10/a.png', 'y9/a.png', '.git/a.png'):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        half_red(folder / name)
    (folder / 'x/notes.txt').write_text('notes')
    return folder


def test_folders_below_are_looked_into_if_asked_and_results_lie_alike(
    run: Run, tree: Path, tmp_path: Path
) -> None:
    code, out, err = run('--recursive', 'in')
    assert code == 0
    found = results(tmp_path / 'out')
    assert found == {
        name: f'in/{name}.{"PNG" if name.endswith("B") else "png"}'
        for name in ('a', 'x/a', 'x/deep/er/B', 'y10/a', 'y9/a')
    }
    lines = [line.partition(':')[0] for line in out.splitlines()]
    assert lines == [f'out/{n}_overlay.png' for n in ('a', 'x/a', 'x/deep/er/B', 'y9/a', 'y10/a')]
    assert 'zegclip: 1 file beside them not looked at: notes.txt' in err


def test_without_being_asked_they_are_told(run: Run, tree: Path, tmp_path: Path) -> None:
    _, _, err = run('in')
    assert results(tmp_path / 'out') == {'a': 'in/a.png'}
    assert '3 folders beside them not looked at: x, y9, y10' in err


def test_own_results_below_the_folder_are_no_inputs(run: Run, tree: Path) -> None:
    for _ in range(2):
        assert run('--recursive', 'in', '--out', 'in/x/results')[0] == 0
        assert len(results(tree / 'x/results')) == 5


def test_links_in_circles_end_and_each_file_is_done_once(
    run: Run, tree: Path, tmp_path: Path
) -> None:
    (tree / 'x/up').symlink_to(tree)
    (tree / 'z').symlink_to(tree / 'x')
    (tree / 'loop').symlink_to(tree / 'loop')
    half_red(tmp_path / 'far.png')
    (tmp_path / 'elsewhere').mkdir()
    shutil.move(tmp_path / 'far.png', tmp_path / 'elsewhere')
    (tree / 'far').symlink_to(tmp_path / 'elsewhere')
    assert run('--recursive', 'in')[0] == 0
    assert sorted(results(tmp_path / 'out')) == [
        *('a', 'far/far', 'x/a', 'x/deep/er/B', 'y10/a', 'y9/a'),
    ]


def test_a_folder_below_that_cannot_be_listed_is_left_out_and_named(
    run: Run, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = Path.iterdir

    def iterdir(path: Path) -> Iterator[Path]:
        if path.name == 'deep':
            raise PermissionError(13, 'Permission denied')  # Root may list any folder.
        return listed(path)

    monkeypatch.setattr(Path, 'iterdir', iterdir)
    code, _, err = run('--recursive', 'in')
    assert code == 2
    assert '1 folder left out: deep (they cannot be listed)' in err
    assert 'x/a' in results(tmp_path / 'out')


@pytest.mark.parametrize(
    ('pattern', 'stems'),
    [
        ('in/y*/*.png', ['a', 'a-2']),
        ('in/**/*.PNG', ['B']),
        ('in/x/[a-c].png', ['a']),
        ('in/?', ['a']),  # A folder that matches is one that is named.
        ('in/a[1].png', ['a[1]']),  # A file of that name is no pattern.
    ],
)
def test_patterns_that_a_shell_left_alone_are_followed(
    run: Run, tree: Path, tmp_path: Path, pattern: str, stems: list[str]
) -> None:
    half_red(tree / 'a[1].png')
    assert run(pattern)[0] == 0
    assert sorted(results(tmp_path / 'out')) == stems


def test_a_pattern_of_the_home_folder_is_one_too(
    run: Run, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('HOME', str(tree))
    assert run('~/x/*.png')[0] == 0
    assert list(results(tmp_path / 'out')) == ['a']


def test_a_pattern_without_a_match_is_refused(run: Run, tree: Path) -> None:
    assert 'matches the pattern in/*.gif' in refused(run('in/*.gif'))


class Piped(io.TextIOWrapper):
    """Stands for standard input."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content))


def test_a_picture_comes_from_standard_input(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = half_red(tmp_path / 'a.png').read_bytes()
    monkeypatch.setattr(sys, 'stdin', Piped(content))
    code, out, _ = run('-', '-')
    assert (code, out) == (0, 'out/stdin_overlay.png: red 50.0%\n')
    assert results(tmp_path / 'out') == {'stdin': '-'}


@pytest.mark.parametrize(
    ('content', 'says'),
    [
        (b'', 'Cannot read the picture -: it is empty'),
        (b'\x89PNG\r\n\x1a\n', 'Cannot read the picture -: it is not a picture or is damaged'),
        (b'\0\0\0\x18ftypisom' + bytes(40), 'Cannot read the picture -: it is a video'),
    ],
)
def test_what_is_no_picture_on_standard_input_is_refused(
    run: Run, monkeypatch: pytest.MonkeyPatch, content: bytes, says: str
) -> None:
    monkeypatch.setattr(sys, 'stdin', Piped(content))
    assert says in refused(run('-'))


@pytest.mark.parametrize('absent', [False, True])
def test_without_anything_on_standard_input_nobody_waits(
    run: Run, monkeypatch: pytest.MonkeyPatch, absent: bool
) -> None:
    terminal = Piped(b'')
    monkeypatch.setattr(terminal, 'isatty', lambda: True, raising=False)
    monkeypatch.setattr(sys, 'stdin', None if absent else terminal)
    assert 'Expected a picture on standard input for -' in refused(run('-'))


LOGIN = f'Basic {b64encode(b"me:se/cret").decode()}'


class Site(BaseHTTPRequestHandler):
    """Serves the files of a folder, and what goes wrong on the way."""

    root: Path

    def do_GET(self) -> None:
        name = self.path.partition('?')[0].lstrip('/')
        if name == 'moved.png':
            self.send_response(302)
            self.send_header('Location', '/sub/a%20b.png')
            self.end_headers()
        elif name == 'locked/a.png' and self.headers['Authorization'] == LOGIN:
            self.send_response(302)
            self.send_header('Location', '/a.png')
            self.end_headers()
        elif self.headers['Authorization'] == LOGIN:
            self.send_error(400)  # It is only for the address that has it.
        elif name == 'inward.png':
            self.send_response(302)
            self.send_header('Location', f'file://{self.root}/a.png')
            self.end_headers()
        elif name == 'live.mjpg':
            self.send_response(200)
            self.send_header('Content-Type', 'multipart/x-mixed-replace; boundary=x')
            self.end_headers()
        else:
            self._send(name)

    def _send(self, name: str) -> None:
        typed = {'clip': ('video/x-msvideo', 'walk.avi'), 'img': ('image/png', 'a.png')}
        name = 'a.png' if name.startswith('%E5') else name
        kind, name = typed.get(name, ('application/octet-stream', name))
        path = self.root / name.replace('%20', ' ').removeprefix('cut/')
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        self.send_response(200)
        self.send_header('Content-Type', kind)
        self.send_header('Content-Length', str(len(content)))
        self.end_headers()
        self.wfile.write(content[: -20 if name.startswith('cut/') else None])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """Serve some files, and return where."""
    root = tmp_path / 'site'
    (root / 'sub').mkdir(parents=True)
    half_red(root / 'a.png')
    half_red(root / 'sub/a b.png')
    write_video(root / 'walk.avi')
    (root / 'page.jpg').write_text('<!doctype html><html>please log in</html>')
    server = ThreadingHTTPServer(('127.0.0.1', 0), type('Own', (Site,), {'root': root}))
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f'http://127.0.0.1:{server.server_address[1]}'
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ('name', 'stem'),
    [
        ('a.png', 'a'),
        ('a.png?size=large&v=1.2', 'a'),
        ('sub/a%20b.png', 'a b'),
        ('sub/a b.png', 'a b'),
        ('moved.png', 'a b'),
        ('walk.avi', 'walk'),
        ('clip', 'clip'),
        ('img?id=3', 'img'),
        ('%E5%9B%BE' * 90 + '.png', '\u56fe' * 48),
    ],
)
def test_pictures_and_videos_are_downloaded(
    run: Run, site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, stem: str
) -> None:
    temporary = tmp_path / 'temporary'
    temporary.mkdir()
    monkeypatch.setattr(tempfile, 'tempdir', str(temporary))
    assert run(f'{site}/{name}')[0] == 0
    assert results(tmp_path / 'out') == {stem: f'{site}/{name}'}
    figures = json.loads((tmp_path / f'out/{stem}.json').read_text())
    assert ('frames' in figures) == (stem in {'walk', 'clip'})
    assert list(temporary.iterdir()) == []


def test_a_password_is_sent_to_its_server_alone_and_shown_nowhere(
    run: Run, site: str, tmp_path: Path
) -> None:
    address = f'{site}/locked/a.png'
    code, out, err = run(address.replace('//', '//me:se%2Fcret@'))
    assert (code, 'cret' in out + err) == (0, False)
    assert results(tmp_path / 'out') == {'a': address}
    line = refused(run('http://me:cret@127.0.0.1/a.png'))
    assert 'Cannot download http://127.0.0.1/a.png' in line
    assert 'cret' not in line


@pytest.mark.parametrize(
    ('name', 'says'),
    [
        ('gone.png', 'the server says 404'),
        ('cut/a.png', 'it broke off after'),
        ('inward.png', 'the server says 302'),
        ('live.mjpg', 'is a stream: record it first'),
        ('page.jpg', 'it is a page in HTML or XML'),
    ],
)
def test_what_cannot_be_downloaded_is_one_line_with_the_address(
    run: Run, site: str, name: str, says: str
) -> None:
    line = refused(run(f'{site}/{name}'))
    assert f'{site}/{name}' in line
    assert says in line


@pytest.mark.parametrize(
    ('address', 'says'),
    [
        ('http://127.0.0.1:9/a.png', 'Connection refused'),
        ('http://', 'no host given'),
        ('http://127.0.0.1:port/a.png', "nonnumeric port: 'port'"),
        ('https:/a.png', 'Cannot download https:/a.png'),
        ('http://[::1/a.png', 'Cannot download'),
        ('rtsp://me:secret@camera/1', 'the address rtsp://camera/1: record it first'),
        ('RTMP://host/live', 'record it first'),
        ('s3://bucket/a.png', 'download it first'),
        ('file:///a.png', 'download it first'),
    ],
)
def test_other_addresses_are_refused_with_what_to_do(run: Run, address: str, says: str) -> None:
    line = refused(run(address))
    assert says in line
    assert 'secret' not in line


FRAMES = [np.full((30, 40, 3), (255 * (k == 0), 0, 255 * (k > 0)), np.uint8) for k in range(3)]


@pytest.mark.parametrize('suffix', ['gif', 'png', 'webp', 'tiff', 'avif'])
def test_an_animation_is_its_first_frame_and_that_is_said(
    run: Run, tmp_path: Path, suffix: str
) -> None:
    first, *others = (Image.fromarray(frame) for frame in FRAMES)
    options = {'lossless': True} if suffix == 'webp' else {}
    path = tmp_path / f'moving.{suffix}'
    first.save(path, save_all=True, append_images=others, **options)
    code, out, err = run(path)
    assert (code, out) == (0, 'out/moving_overlay.png: red 100.0%\n')
    assert err == f'zegclip: {path}: holds several pictures, of which the first is labelled\n'


@pytest.mark.parametrize('suffix', ['gif', 'png', 'webp', 'tiff', 'avif', 'jpg'])
def test_of_a_single_picture_nothing_is_said(run: Run, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f'still.{suffix}'
    Image.fromarray(FRAMES[0]).save(path)
    code, _, err = run(path)
    assert (code, err) == (0, '')


def test_a_second_picture_of_a_phone_is_a_preview_and_not_spoken_of(
    run: Run, tmp_path: Path
) -> None:
    first, second, _ = (Image.fromarray(frame) for frame in FRAMES)
    first.save(tmp_path / 'a.mpo', save_all=True, append_images=[second])
    shutil.move(tmp_path / 'a.mpo', tmp_path / 'a.jpg')
    assert run(tmp_path / 'a.jpg')[::2] == (0, '')


def test_an_animation_with_a_damaged_second_frame_is_still_its_first(
    run: Run, tmp_path: Path
) -> None:
    first, *others = (Image.fromarray(frame) for frame in FRAMES)
    path = tmp_path / 'moving.gif'
    first.save(path, save_all=True, append_images=others)
    content = path.read_bytes()
    # Of a frame's head alone, too, on which the decoder raises an IndexError.
    for end in range(len(content) - 1, len(content) - 63, -1):
        path.write_bytes(content[:end])
        assert read_picture(path).pixels[0, 0].tolist() == [255, 0, 0]
    assert run(path)[0] == 0

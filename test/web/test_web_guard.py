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
"""What the page refuses: hostile files, paths of the machine, other hosts and origins."""

import json
from pathlib import Path
import socket
import tempfile
from urllib.parse import urlsplit
import zlib

import pytest
from skimage import data
from web_pages import asked, encoded, served, Talk
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from zegclip_core.errors import ConfigError
from zegclip_core.web.app import STATIC
from zegclip_core.web.limits import MAX_PIXELS, MAX_UPLOAD
from zegclip_core.web.model_desk import ModelDesk
from zegclip_core.web.serve import Place, Server

COFFEE = data.coffee()


def huge_png(width: int, height: int) -> bytes:
    """Return the head of a PNG that says it is so large, with hardly any pixels behind it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = zlib.crc32(kind + body).to_bytes(4, 'big')
        return len(body).to_bytes(4, 'big') + kind + body + crc

    head = width.to_bytes(4, 'big') + height.to_bytes(4, 'big') + b'\x08\x02\0\0\0'
    pixels = zlib.compress(bytes(1000))
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + chunk(b'IDAT', pixels)


@pytest.mark.parametrize(
    ('file', 'status', 'words'),
    [
        (b'', 422, 'it is empty'),
        (b'<script>alert(1)</script>', 422, 'HTML'),
        (encoded(COFFEE)[:2000], 422, 'damaged'),
        (huge_png(8000, 5001), 422, '40 megapixels'),
        (huge_png(2**31 - 1, 2**31 - 1), 422, 'this file'),
        (b'\0' * (MAX_UPLOAD + 1), 413, '20 MB'),
    ],
)
def test_hostile_files_are_refused_in_one_line_without_a_path(
    talk: Talk, file: bytes, status: int, words: str
) -> None:
    found, body = talk.photo(file)
    error = json.loads(body)['error']
    assert (found, words in error or '40 megapixels' in error) == (status, True), error
    assert '/tmp' not in error
    assert '\n' not in error
    assert MAX_PIXELS == 40_000_000


def test_a_body_without_its_length_is_cut_off(talk: Talk, address: str) -> None:
    where = urlsplit(address)
    with socket.create_connection((where.hostname, where.port)) as raw:
        head = (
            f'POST /photo?session={talk.session}&number=1 HTTP/1.1\r\nHost: {where.netloc}\r\n'
            f'Origin: http://{where.netloc}\r\nTransfer-Encoding: chunked\r\n\r\n'
        )
        raw.sendall(head.encode())
        part = f'{2**20:x}\r\n'.encode() + bytes(2**20) + b'\r\n'
        answer = b''
        try:
            for _ in range(MAX_UPLOAD // 2**20 + 2):
                raw.sendall(part)
            answer = raw.recv(4096)
        except OSError:
            answer = answer or raw.recv(4096)
    assert b' 413 ' in answer.split(b'\r\n')[0]


@pytest.mark.parametrize(
    'path',
    [
        '/static/../app.py',
        '/static/..%2fapp.py',
        '/static/%2e%2e/app.py',
        '/static//etc/passwd',
        '/static/%2fetc%2fpasswd',
        '/photos/../../../etc/passwd',
        '/photos/..%2f__init__.py',
        '/download/..%2f..%2fetc%2fpasswd',
        '//etc/passwd',
        '/static/index.html%00',
    ],
)
def test_no_path_of_the_machine_is_reachable(talk: Talk, address: str, path: str) -> None:
    status, body, _ = asked(address, f'{path}?session={talk.session}')
    assert status == 404
    assert b'root:' not in body


@pytest.mark.parametrize(
    'headers',
    [
        {'Host': 'evil.example'},
        {'Host': 'evil.example:80'},
        {'Host': '192.168.1.4'},
        {'Host': ''},
        {'Host': '127.0.0.1.evil.example'},
        {'Host': '[::1'},
    ],
)
def test_other_hosts_are_refused(address: str, headers: dict[str, str]) -> None:
    assert asked(address, '/', headers=headers)[0] == 421
    assert asked(address, '/about')[0] == 200


@pytest.mark.parametrize('origin', ['https://evil.example', 'null', 'http://127.0.0.1:1', ''])
def test_other_origins_are_refused(talk: Talk, address: str, origin: str) -> None:
    path = f'/photo?session={talk.session}&number=1'
    answer = asked(address, path, method='POST', body=encoded(COFFEE), headers={'Origin': origin})
    assert answer[0] == 403
    where = urlsplit(address).netloc
    with pytest.raises(InvalidStatus, match='403'):
        connect(f'ws://{where}/socket', origin=origin or None)  # type: ignore[arg-type]


def test_where_others_reach_it_nothing_is_there_without_the_token(desk: ModelDesk) -> None:
    with served(desk, '0.0.0.0') as address:
        query = urlsplit(address).query
        for path in ('/', '/about', '/static/app.js', '/photos/coffee.png', '/?token=x'):
            assert asked(address, path)[0] == 401
        with pytest.raises(InvalidStatus, match='403'):
            Talk(address)
        status, _, headers = asked(address, f'/?{query}')
        assert (status, headers['location']) == (303, '/')
        assert {'HttpOnly', 'SameSite=lax'} <= set(headers['set-cookie'].split('; '))
        cookie = headers['set-cookie'].split(';')[0]
        assert query.partition('=')[2] in cookie
        assert asked(address, '/', headers={'Cookie': cookie})[0] == 200
        assert asked(address, '/', headers={'Cookie': f'{cookie}x'})[0] == 401
        with Talk(address, cookie=cookie) as talk:
            assert talk.session
        assert asked(address, '/', headers={'Cookie': cookie, 'Host': 'evil.example'})[0] == 421
        elsewhere = f'10.1.2.3:{urlsplit(address).port}'
        assert asked(address, '/', headers={'Cookie': cookie, 'Host': elsewhere})[0] == 200


@pytest.mark.parametrize('token', ['a b&c=d#e+f', 'über 100 %', 'żółw;x, "y"'])
def test_a_token_of_any_letters_opens_the_page(desk: ModelDesk, token: str) -> None:
    with served(desk, token=token) as address:
        parts = urlsplit(address)
        status, _, headers = asked(address, f'/?{parts.query}')
        assert (status, parts.fragment) == (303, '')
        cookie = headers['set-cookie'].split(';')[0]
        assert asked(address, '/', headers={'Cookie': cookie})[0] == 200
        assert asked(address, '/', headers={'Cookie': f'{cookie}x'})[0] == 401


def test_pages_at_two_ports_of_a_machine_have_cookies_of_their_own(desk: ModelDesk) -> None:
    with served(desk, token='one') as one, served(desk, token='other') as other:
        cookies = [
            asked(address, f'/?{urlsplit(address).query}')[2]['set-cookie'].split(';')[0]
            for address in (one, other)
        ]
        # A browser sends all cookies of a host, of those of one name the last one.
        jar = dict(cookie.split('=', 1) for cookie in cookies)
        sent = {'Cookie': '; '.join(f'{name}={value}' for name, value in jar.items())}
        assert [asked(address, '/', headers=sent)[0] for address in (one, other)] == [200, 200]


def test_each_answer_keeps_the_page_to_itself(address: str) -> None:
    for path in ('/', '/about', '/static/nothing', '/photos/coffee.png'):
        headers = asked(address, path)[2]
        policy = headers['content-security-policy']
        assert "default-src 'none'" in policy
        assert 'unsafe' not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers['x-content-type-options'] == 'nosniff'
        assert headers['referrer-policy'] == 'no-referrer'
        assert 'server' not in headers


def test_the_page_names_no_other_machine() -> None:
    for path in STATIC.iterdir():
        text = path.read_text(encoding='utf-8').replace('http://www.w3.org/2000/svg', '')
        assert 'https://' not in text.replace('https only', '')
        assert 'http://' not in text
        assert 'import(' not in text


def test_a_place_that_cannot_be_listened_at_is_one_line(desk: ModelDesk) -> None:
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf'port {port}: '):
            Server(desk, Place(port=port))
    with pytest.raises(ConfigError, match=r'no\.such\.host\.invalid'):
        Server(desk, Place('no.such.host.invalid'))
    with pytest.raises(ConfigError, match='65535, but got 99999'):
        Server(desk, Place(port=99_999))


def test_uploads_leave_nothing_behind(
    talk: Talk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    talk.photo(encoded(COFFEE))
    talk.photo(b'no picture')
    assert list(tmp_path.iterdir()) == []

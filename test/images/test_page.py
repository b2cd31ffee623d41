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
"""A page as an HTML parser sees it: all in one file, and what it is given is text."""

import base64
from html.parser import HTMLParser
import io
from pathlib import Path

import numpy as np
from PIL import Image
import pytest
from zegclip_core.images.page import Page

HOSTILE = '<script>alert("x")</script> & \'"\udcff'


class Seen(HTMLParser):
    """Collects tags, their attributes, and the texts between them."""

    def __init__(self, page: Page) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.values: dict[str, list[str]] = {}
        self.texts: list[str] = []
        self.feed(page.html())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for key, value in attrs:
            self.values.setdefault(f'{tag}.{key}', []).append(value or '')

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_what_it_is_given_is_text_wherever_it_stands() -> None:
    page = Page(HOSTILE)
    page.heading(HOSTILE)
    page.text(HOSTILE)
    page.code(HOSTILE)
    page.table([{HOSTILE: HOSTILE}])
    page.picture(np.zeros((2, 2, 3), np.uint8), HOSTILE)
    seen = Seen(page)
    assert 'script' not in seen.tags
    shown = HOSTILE.replace('\udcff', '?')
    # Title, heading of the page, heading, paragraph, code, head and cell of the table, caption.
    assert seen.texts.count(shown) == 8
    assert seen.values['img.alt'] == [shown]
    page.html().encode('utf-8')


def test_nothing_is_fetched_and_no_script_may_run(tmp_path: Path) -> None:
    (tmp_path / 'a.mp4').write_bytes(b'video')
    page = Page('a')
    page.picture(np.zeros((2, 2, 3), np.uint8))
    page.video(tmp_path / 'a.mp4')
    seen = Seen(page)
    (policy,) = [each for each in seen.values['meta.content'] if 'default-src' in each]
    assert "default-src 'none'" in policy
    assert 'script' not in policy
    links = [each for key, values in seen.values.items() if 'src' in key for each in values]
    assert len(links) == 2
    assert all(each.startswith('data:') for each in links)
    assert base64.b64decode(seen.values['video.src'][0].split(',')[1]) == b'video'


@pytest.mark.parametrize(('photo', 'kind'), [(True, 'jpeg'), (False, 'png')])
def test_pictures_are_kept(photo: bool, kind: str) -> None:
    pixels = np.full((8, 16, 3), (200, 40, 90), np.uint8)
    page = Page('a')
    page.picture(pixels, photo=photo)
    (source,) = Seen(page).values['img.src']
    head, content = source.split(',')
    assert head == f'data:image/{kind};base64'
    with Image.open(io.BytesIO(base64.b64decode(content))) as found:
        assert np.abs(np.asarray(found).astype(int) - pixels).max() < 6


def test_a_file_is_kept_byte_for_byte(tmp_path: Path) -> None:
    Image.new('RGB', (3, 2)).save(tmp_path / 'a.png')
    page = Page('a')
    page.picture(tmp_path / 'a.png')
    content = Seen(page).values['img.src'][0].split(',')[1]
    assert base64.b64decode(content) == (tmp_path / 'a.png').read_bytes()


def test_numbers_have_bars_and_what_is_missing_a_dash() -> None:
    page = Page('a')
    page.table([{'n': 'x', 'iou': 0.25}, {'n': 'y', 'iou': float('nan')}], bars=['iou'])
    page.table([{'n': None, 'ms': 1234.5}])
    page.table([])
    seen = Seen(page)
    assert seen.values['td.style'] == ['--share: 25.0%']
    cells = [text for text in seen.texts if text.strip()]
    assert cells[-10:] == ['n', 'iou', 'x', '0.250', 'y', '-', 'n', 'ms', '-', '1,234']
    assert seen.tags.count('table') == 2

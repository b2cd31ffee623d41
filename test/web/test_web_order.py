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
"""What the page shows when answers are fast, slow, late or missing, in a real browser."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from playwright.sync_api import Browser, expect, Page, sync_playwright
import pytest
from skimage import data
from web_pages import chromium, encoded, PATIENCE, served
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_ros.web_desk import NodeDesk

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason='needs Chromium: apt install chromium'),
]
SIZE = (16, 24)
STEP = 0.05
"""Seconds between two looks."""
# A source of frames whose video stands still, and what it sends and shows.
SOURCES = """async () => {
  const { Sources } = await import('/static/sources.js');
  window.sent = [];
  window.shown = 0;
  const made = new Sources({ upload: 1e6 }, { failed() {}, playing() {}, session: () => '',
    shown: () => { window.shown += 1; }, frame: (number) => { window.sent.push(number); } });
  made.video = Object.assign(document.createElement('canvas'), { videoWidth: 4, videoHeight: 4,
    paused: true, currentTime: 0, pause() {}, load() {} });
  made.live = true;
  await made.grab();
  window.made = made;
}"""
# Each picture is decoded only when two later ones have come.
SLOW = """(() => {
  const real = window.createImageBitmap.bind(window);
  const waiting = [];
  window.createImageBitmap = async (...given) => {
    const image = await real(...given);
    await new Promise((done) => {
      waiting.push(done);
      if (waiting.length > 2) waiting.shift()();
    });
    return image;
  };
})()"""
# The answer to an upload is held back until `release` is called.
HELD = """() => {
  const real = window.fetch.bind(window);
  const held = new Promise((done) => { window.release = done; });
  window.fetch = async (where, how) => {
    const answer = await real(where, how);
    if (how?.method === 'POST') await held;
    return answer;
  };
}"""


@pytest.fixture(scope='module')
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=1000 * PATIENCE)
    with sync_playwright() as tools:
        made = tools.chromium.launch(executable_path=chromium(), args=['--no-sandbox'])
        yield made
        made.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    made = browser.new_context().new_page()
    made.set_default_timeout(1000 * PATIENCE)
    yield made
    made.context.close()


def begin(page: Page, address: str) -> list[Any]:
    """Open a photo with words; return what comes over the socket, as it comes."""
    heard: list[Any] = []
    page.on('websocket', lambda one: one.on('framereceived', lambda frame: heard.append(frame)))
    page.goto(f'{address}#words=cup&photo=coffee.png')
    expect(page.locator('#legend .word')).to_have_count(1)
    return heard


def wait(page: Page, holds: Callable[[], Any]) -> None:
    """Wait until something holds; the page goes on meanwhile."""
    for _ in range(int(PATIENCE / STEP)):
        if holds():
            return
        page.wait_for_timeout(1000 * STEP)
    pytest.fail('It never came to hold.')


def becomes(page: Page, expression: str) -> None:
    """Wait until an expression is true; the page's policy keeps the browser from polling it."""
    wait(page, lambda: page.evaluate(expression))


def test_labels_that_come_before_the_copy_of_a_photo_are_shown(page: Page, address: str) -> None:
    heard = begin(page, address)
    before = page.locator('body').get_attribute('data-image')
    page.evaluate(HELD)
    del heard[:]
    page.locator('#photos [data-name="chelsea.png"]').click()
    wait(page, lambda: any(isinstance(one, bytes) for one in heard))
    page.evaluate('release()')
    expect(page.locator('#view')).to_have_attribute('width', str(data.chelsea().shape[1]))
    expect(page.locator('body')).not_to_have_attribute('data-image', before or '')


def test_a_kept_score_map_ends_with_its_word(page: Page, address: str) -> None:
    begin(page, address)
    page.locator('#legend [data-row="0"]').press('Enter')
    expect(page.locator('#scale')).to_be_visible()
    page.locator('#words').fill('table, spoon')
    expect(page.locator('#legend .word')).to_have_count(2)
    expect(page.locator('#scale')).to_be_hidden()


def test_the_file_that_was_opened_last_can_be_opened_again(page: Page, address: str) -> None:
    begin(page, address)
    file = {'name': 'a.png', 'mimeType': 'image/png', 'buffer': encoded(data.coffee()[:50, :70])}
    page.locator('#open').set_input_files(files=[file])  # type: ignore[list-item]
    expect(page.locator('#view')).to_have_attribute('width', '70')
    # Browsers tell of a choice only if it differs from what is there.
    assert page.locator('#open').evaluate('one => one.files.length') == 0


def test_a_video_that_stands_still_is_shown_where_it_was_put_last(
    page: Page, address: str
) -> None:
    begin(page, address)
    page.evaluate(SOURCES)
    page.evaluate('made.grab()')  # One is on its way still.
    assert page.evaluate('sent.length') == 1
    page.evaluate('made.back(sent[0])')
    becomes(page, 'sent.length === 2')


def test_the_last_frame_of_a_video_that_was_closed_is_shown(page: Page, address: str) -> None:
    begin(page, address)
    page.evaluate(SOURCES)
    page.evaluate('made.stop()')
    assert page.evaluate('made.back(sent[0])')
    assert page.evaluate('shown') == 1


def test_a_video_goes_on_after_a_frame_that_failed(page: Page, address: str) -> None:
    begin(page, address)
    page.evaluate(SOURCES)
    page.evaluate('made.video.paused = false; made.retry()')
    becomes(page, 'sent.length === 2')


def test_frames_of_a_node_are_shown_however_slowly_they_are_decoded(page: Page) -> None:
    desk = NodeDesk('zegclip', lambda words: None, lambda *values: None)
    words = Vocabulary.from_names(['cat'])
    desk.announced({'version': 1, 'stamp': {'sec': 0, 'nanosec': 0}}, words)
    parts = {
        'image': np.full((*SIZE, 3), 90, np.uint8),
        'labels': np.zeros(SIZE, np.uint8),
        'scores': np.ones(SIZE, np.float32),
    }
    with served(desk) as address:
        page.add_init_script(SLOW)
        page.goto(address)
        expect(page.locator('#status')).to_have_text('connected')
        for number in range(1, 5):
            for part, array in parts.items():
                desk.received(part, number, array)
            expect(page.locator('body')).to_have_attribute('data-image', str(number))
        expect(page.locator('#view')).to_have_attribute('width', str(SIZE[1]))

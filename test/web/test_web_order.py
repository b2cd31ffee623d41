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
from functools import partial
import json
import re
from typing import Any

import numpy as np
from playwright.sync_api import Browser, expect, Page, sync_playwright
import pytest
from skimage import data
from web_pages import chromium, encoded, PATIENCE, served
from zegclip_core.messages.outputs import announcement
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_ros.listening import Announcement
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
# Each picture is decoded only when `decode` is called.
SLOW = """(() => {
  const real = window.createImageBitmap.bind(window);
  window.begun = 0;
  window.createImageBitmap = async (...given) => {
    window.begun += 1;
    await new Promise((done) => { window.decode = done; });
    return real(...given);
  };
})()"""
# What object URLs stand for still, by `kept`.
COUNTED = """() => {
  window.kept = new Set();
  const make = URL.createObjectURL.bind(URL);
  const revoke = URL.revokeObjectURL.bind(URL);
  URL.createObjectURL = (file) => { const made = make(file); kept.add(made); return made; };
  URL.revokeObjectURL = (address) => { kept.delete(address); revoke(address); };
}"""
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


def test_files_of_a_folder_are_let_go_of(page: Page, address: str) -> None:
    begin(page, address)
    page.evaluate(COUNTED)
    content = encoded(data.coffee()[:50, :70])
    files = [
        {'name': name, 'mimeType': 'image/png', 'buffer': buffer}
        for name, buffer in (('a.png', content), ('b.png', content), ('c.png', b'damaged'))
    ]
    page.locator('#open').set_input_files(files=files)  # type: ignore[arg-type]
    expect(page.locator('#photos button')).to_have_count(3)
    becomes(page, 'kept.size === 0')
    assert page.locator('#photos img').evaluate_all('all => all.map(x => x.naturalWidth)') == [
        70,
        70,
        0,
    ]


@pytest.fixture
def robot(page: Page) -> Iterator[NodeDesk]:
    """Yield the desk of a node that looks for cats, whose page is open."""
    desk = NodeDesk('zegclip', lambda words: None, lambda *values: None)
    announce(desk, 1, 'cat')
    page.add_init_script(SLOW)
    with served(desk) as address:
        page.goto(address)
        expect(page.locator('#status')).to_have_text('connected')
        yield desk


def announce(desk: NodeDesk, version: int, *names: str) -> None:
    """Have a node announce that it looks for other words from now on."""
    words = Vocabulary.from_names(names)
    fields = announcement(words, [None] * len(names), version=version, stamp=None, requested=1)
    desk.announced(Announcement.read(json.dumps(fields)), 0)


def arrived(heard: list[Any], count: int) -> bool:
    """Return whether so many results came over the socket."""
    return sum(isinstance(one, bytes) for one in heard) == count


def test_a_slow_browser_shows_the_newest_frame_of_a_node_and_drops_older_ones(
    page: Page, robot: NodeDesk
) -> None:
    heard: list[Any] = []
    page.on('websocket', lambda one: one.on('framereceived', lambda frame: heard.append(frame)))
    page.reload()
    # The link holds words, too: only over the new socket they say that frames will come.
    wait(page, lambda: any('"words"' in one for one in heard if isinstance(one, str)))
    expect(page.locator('#words')).to_have_value('cat')
    for number in range(1, 6):
        for part, array in (
            ('image', np.full((*SIZE, 3), 90, np.uint8)),
            ('labels', np.zeros(SIZE, np.uint8)),
            ('scores', np.ones(SIZE, np.float32)),
        ):
            robot.received(part, number, array)
        # All of them arrive while the first one is decoded.
        wait(page, partial(arrived, heard, number))
        becomes(page, 'begun === 1')
    page.evaluate('decode()')
    expect(page.locator('body')).to_have_attribute('data-image', '1')
    becomes(page, 'begun === 2')
    page.evaluate('decode()')
    expect(page.locator('body')).to_have_attribute('data-image', '5')
    expect(page.locator('#view')).to_have_attribute('width', str(SIZE[1]))


def test_the_box_of_a_node_s_page_follows_the_words_of_others(page: Page, robot: NodeDesk) -> None:
    box = page.locator('#words')
    expect(box).to_have_value('cat')
    announce(robot, 2, 'dog')
    expect(box).to_have_value('dog')
    box.fill('couch | sofa')
    expect(page.locator('#status')).to_have_text('looking')
    announce(robot, 2, 'dog')  # The node has not come to them yet.
    announce(robot, 3, 'couch')
    expect(page.locator('#answer')).to_have_text('In use: couch')
    expect(box).to_have_value('couch | sofa')
    announce(robot, 4, 'tree', 'sky')
    expect(box).to_have_value('tree, sky')
    expect(page).to_have_url(re.compile('words=tree'))
    page.locator('#undo').click()
    expect(box).to_have_value('couch | sofa')

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
"""The page in a real browser: Debian's Chromium without a screen.

Screenshots lie in ``runs/web/`` afterwards, to be looked at.
"""

import base64
from collections.abc import Iterator
import io
import json
from pathlib import Path
import re
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, expect, Page, sync_playwright
import pytest
from skimage import data
from web_pages import chromium, encoded, PATIENCE
from zegclip_core.images.video import VideoWriter

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason='needs Chromium: apt install chromium'),
]
SHOTS = Path(__file__).resolve().parents[2] / 'runs' / 'web'
LOCATION = '#words={words}&photo={photo}'
FLAGS = [
    '--no-sandbox',  # Containers of tests run as root.
    '--use-fake-device-for-media-stream',
    '--use-fake-ui-for-media-stream',
]
# Relative luminance and contrast as WCAG 2 defines them.
CONTRAST = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (color) => color.slice(0, 3).map((value) => value / 255)
    .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const color = rgb(getComputedStyle(one).backgroundColor);
      if (color.length === 3 || color[3] > 0.5) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || element.disabled || !element.checkVisibility()) continue;
    const [a, b] = [light(rgb(getComputedStyle(element).color)), light(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(`${element.tagName} ${element.textContent.trim()} ${ratio}`);
  }
  return found;
}"""


@pytest.fixture(scope='module')
def browser() -> Iterator[Browser]:
    SHOTS.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=1000 * PATIENCE)
    with sync_playwright() as tools:
        made = tools.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield made
        made.close()


def opened(browser: Browser, address: str, words: str = 'cup', photo: str = 'coffee.png') -> Page:
    """Open a page of its own with words and a photo, and wait for its labels."""
    page = browser.new_context(viewport={'width': 1280, 'height': 860}).new_page()
    page.set_default_timeout(1000 * PATIENCE)
    page.goto(address + LOCATION.format(words=words, photo=photo))
    shows(page, *(word.strip() for word in words.split(',')))
    return page


def shows(page: Page, *words: str) -> None:
    """Wait until the legend has these words and the labels are those of them."""
    expect(page.locator('#legend .word:not(.rival) span:first-of-type')).to_have_text(list(words))


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    made = opened(browser, address)
    faults: list[str] = []
    made.on('pageerror', lambda error: faults.append(str(error)))
    yield made
    made.context.close()
    assert faults == []


def shot(page: Page, name: str) -> None:
    page.screenshot(path=SHOTS / f'{name}.png')


def pixels(page: Page) -> Any:  # noqa: ANN401 - an array
    """Return what the canvas shows, RGB."""
    address = page.evaluate("document.getElementById('view').toDataURL('image/png').split(',')[1]")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address))))[..., :3]


def share(page: Page, row: int = 0) -> float:
    return float(page.locator(f'#legend [data-row="{row}"] meter').evaluate('one => one.value'))


def test_words_are_typed_and_labels_change(page: Page) -> None:
    before = pixels(page)
    page.keyboard.press('/')
    expect(page.locator('#words')).to_be_focused()
    page.keyboard.type('cup, spoon, table', delay=20)
    shows(page, 'cup', 'spoon', 'table')
    assert share(page, 0) + share(page, 1) + share(page, 2) <= 1.0 + 1e-6
    assert share(page, 2) > 0.1
    assert (pixels(page) != before).any(axis=2).mean() > 0.1
    expect(page.locator('#taken')).to_contain_text('table took')
    shot(page, 'typed')


def test_a_hovered_word_shows_its_scores(page: Page) -> None:
    labels = pixels(page)
    page.locator('#legend [data-row="0"]').hover()
    expect(page.locator('#scale')).to_contain_text('cup')
    expect(page.locator('#scale')).to_be_visible()
    heat = pixels(page)
    assert (heat != labels).any(axis=2).mean() > 0.9
    shot(page, 'hovered')
    page.locator('h1').hover()
    expect(page.locator('#scale')).to_be_hidden()
    assert np.array_equal(pixels(page), labels)


def test_keys_do_what_the_mouse_does(page: Page) -> None:
    page.locator('#legend [data-row="0"]').press('Enter')
    expect(page.locator('#scale')).to_be_visible()
    page.locator('#legend [data-row="0"]').press('Escape')
    expect(page.locator('#scale')).to_be_hidden()
    page.locator('#view').press('ArrowUp')
    expect(page.locator('#value')).to_contain_text(re.compile(r'cup\s*0\.\d\d'))
    page.locator('#threshold').press('End')
    expect(page.locator('#threshold-value')).to_have_text('1.00')
    expect(page.locator('#legend [data-row="0"] b')).to_have_text('0.0 %')
    page.locator('#threshold-reset').press('Enter')
    expect(page.locator('#legend [data-row="0"] b')).not_to_have_text('0.0 %')


def test_the_value_under_the_cursor_is_told(page: Page) -> None:
    box = page.locator('#view').bounding_box()
    assert box is not None
    page.mouse.move(box['x'] + 0.5 * box['width'], box['y'] + 0.4 * box['height'])
    expect(page.locator('#value')).to_have_attribute('data-label', 'cup')
    expect(page.locator('#value')).to_contain_text(re.compile(r'0\.\d\d'))
    shot(page, 'value')
    page.locator('h1').hover()
    expect(page.locator('#value')).to_be_hidden()


def test_opacity_needs_no_new_labels(page: Page) -> None:
    asked = page.locator('body').get_attribute('data-asked')
    before = pixels(page)
    page.locator('#opacity').fill('0')
    photo = pixels(page)
    assert np.abs(photo.astype(int) - data.coffee()).mean() < 4
    assert (photo != before).any()
    assert page.locator('body').get_attribute('data-asked') == asked


def test_an_error_stands_beside_its_box_and_the_labels_stay(page: Page) -> None:
    page.locator('#words').fill('cat, cat')
    expect(page.locator('#error-words')).to_contain_text('twice')
    shows(page, 'cup')
    page.locator('#words').fill('cup, cat')
    shows(page, 'cup', 'cat')
    expect(page.locator('#error-words')).to_be_empty()
    page.locator('#negatives').fill('not a dog')
    expect(page.locator('#error-negatives')).to_contain_text('negative word')
    shot(page, 'error')


@pytest.mark.parametrize(
    ('name', 'content', 'told'),
    [
        ('evil.png', b'<script>alert(1)</script>', 'HTML'),
        ('<img src=x onerror=alert(1)>.png', b'', 'empty'),
        ('cut.jpg', encoded(data.coffee(), 'JPEG')[:3000], 'damaged'),
        ('large.png', bytes(20 * 2**20 + 1), '20 MB'),
    ],
)
def test_a_hostile_file_is_refused_and_the_photo_stays(
    page: Page, name: str, content: bytes, told: str
) -> None:
    before = pixels(page)
    file = {'name': name, 'mimeType': 'image/png', 'buffer': content}
    page.locator('#open').set_input_files(files=[file])  # type: ignore[list-item]
    expect(page.locator('#error-image')).to_contain_text(told)
    assert np.array_equal(pixels(page), before)
    shot(page, f'refused-{told}')


def test_words_are_text_whatever_they_hold(page: Page) -> None:
    page.on('dialog', lambda dialog: pytest.fail(dialog.message))
    page.locator('#words').fill('<img src=x onerror=alert(1)>, <b>cup</b>')
    shows(page, '<img src=x onerror=alert(1)>', '<b>cup</b>')
    assert page.locator('#legend img, #legend b b').count() == 0


def test_two_pages_do_not_mix(browser: Browser, address: str, page: Page) -> None:
    other = opened(browser, address, 'cat, sofa', 'chelsea.png')
    page.locator('#words').fill('spoon')
    shows(page, 'spoon')
    shows(other, 'cat', 'sofa')
    assert pixels(other).shape[:2] == data.chelsea().shape[:2]
    assert pixels(page).shape[:2] == data.coffee().shape[:2]
    other.context.close()


def test_a_reload_keeps_words_settings_and_photo(page: Page) -> None:
    photo = data.chelsea()[:200, :240]
    file = {'name': 'own.png', 'mimeType': 'image/png', 'buffer': encoded(photo)}
    page.locator('#open').set_input_files(files=[file])  # type: ignore[list-item]
    page.locator('#words').fill('cat, tree')
    shows(page, 'cat', 'tree')
    page.locator('#opacity').fill('0.3')
    expect(page).to_have_url(re.compile('opacity=0.3'))
    page.reload()
    shows(page, 'cat', 'tree')
    expect(page.locator('#opacity-value')).to_have_text('0.30')
    assert pixels(page).shape[:2] == photo.shape[:2]


def test_a_tab_that_goes_on_with_another_link_shows_nothing_of_the_first(
    page: Page, address: str
) -> None:
    page.goto('about:blank')
    page.goto(address + LOCATION.format(words='cat, sofa', photo='chelsea.png'))
    shows(page, 'cat', 'sofa')
    page.locator('#legend [data-row="0"]').hover()
    expect(page.locator('#scale')).to_contain_text('cat')
    assert pixels(page).shape[:2] == data.chelsea().shape[:2]
    assert share(page) > 0.3


def test_a_link_holds_words_and_settings(browser: Browser, page: Page) -> None:
    page.locator('#words').fill('cup, red plate')
    page.locator('#threshold').fill('0.3')
    shows(page, 'cup', 'red plate')
    expect(page).to_have_url(re.compile('threshold=0.3'))
    page.locator('#link').click()
    other = browser.new_page()
    other.goto(page.url)
    shows(other, 'cup', 'red plate')
    expect(other.locator('#threshold-value')).to_have_text('0.30')
    expect(other.locator('#photos [data-name="coffee.png"]')).to_have_attribute(
        'aria-pressed', 'true'
    )
    other.close()


def test_a_change_is_taken_back(page: Page) -> None:
    expect(page.locator('#undo')).to_be_disabled()
    page.locator('#words').fill('spoon')
    shows(page, 'spoon')
    page.locator('#threshold').fill('0.9')
    expect(page).to_have_url(re.compile('threshold=0.9'))
    page.locator('#undo').click()
    expect(page.locator('#threshold-value')).not_to_have_text('0.90')
    page.locator('#view').press('Control+z')
    shows(page, 'cup')
    expect(page.locator('#words')).to_have_value('cup')
    page.locator('#view').press('Control+Shift+z')
    shows(page, 'spoon')


def test_results_are_downloaded(page: Page) -> None:
    names = {'label.png': 'coffee_label.png', 'overlay.png': 'coffee_overlay.png'}
    for file, name in {**names, 'result.json': 'coffee.json'}.items():
        with page.expect_download() as waiting:
            page.locator(f'#downloads [data-file="{file}"]').click()
        assert waiting.value.suggested_filename == name
        path = Path(waiting.value.path())
        if name.endswith('.json'):
            assert json.loads(path.read_text())['classes'][0]['name'] == 'cup'
        else:
            assert Image.open(path).width >= data.coffee().shape[1]


@pytest.mark.parametrize('way', ['paste', 'drop'])
def test_a_picture_is_pasted_and_dropped(page: Page, way: str) -> None:
    page.evaluate(
        """async (way) => {
          const canvas = Object.assign(document.createElement('canvas'), {width: 90, height: 60});
          canvas.getContext('2d').fillRect(0, 0, 45, 60);
          const blob = await new Promise((done) => canvas.toBlob(done));
          const transfer = new DataTransfer();
          transfer.items.add(new File([blob], 'a.png', {type: 'image/png'}));
          document.dispatchEvent(way === 'paste'
            ? new ClipboardEvent('paste', {clipboardData: transfer})
            : new DragEvent('drop', {dataTransfer: transfer, cancelable: true}));
        }""",
        way,
    )
    expect(page.locator('#view')).to_have_attribute('width', '90')


def test_a_folder_becomes_a_row_of_pictures(page: Page, tmp_path: Path) -> None:
    for name, photo in (('b2.png', data.chelsea()), ('b10.png', data.coffee()[:100, :150])):
        (tmp_path / name).write_bytes(encoded(photo))
    (tmp_path / 'notes.txt').write_text('no picture')
    page.locator('#folder').set_input_files(tmp_path)
    expect(page.locator('#photos button')).to_have_count(2)
    expect(page.locator('#view')).to_have_attribute('width', '451')
    page.locator('#photos button').nth(1).click()
    expect(page.locator('#view')).to_have_attribute('width', '150')


def test_a_video_is_labelled_while_it_plays(page: Page, tmp_path: Path) -> None:
    with VideoWriter(tmp_path / 'walk.mp4', 5.0) as writer:
        for shift in range(20):
            writer.write(np.ascontiguousarray(np.roll(data.coffee()[:240, :320], 8 * shift, 1)))
    page.locator('#open').set_input_files(tmp_path / 'walk.mp4')
    expect(page.locator('#player')).to_be_visible()
    expect(page.locator('#rate')).to_contain_text('frames/s')
    expect(page.locator('#view')).to_have_attribute('width', '320')
    page.locator('#smoothing').fill('0.8')
    page.locator('#words').fill('cup, table')
    shows(page, 'cup', 'table')
    shot(page, 'video')
    page.locator('#stop').click()
    expect(page.locator('#player')).to_be_hidden()


def test_a_file_that_is_no_video_is_refused(page: Page) -> None:
    file = {'name': 'a.mp4', 'mimeType': 'video/mp4', 'buffer': b'no video' * 100}
    page.locator('#open').set_input_files(files=[file])  # type: ignore[list-item]
    expect(page.locator('#error-image')).to_contain_text('convert it to MP4')


def test_the_camera_of_the_browser_is_labelled(page: Page) -> None:
    page.locator('#camera').click()
    expect(page.locator('#rate')).to_contain_text('frames/s')
    page.locator('#legend [data-row="0"]').hover()
    expect(page.locator('#scale')).to_be_visible()
    shot(page, 'camera')
    page.locator('#camera').click()
    expect(page.locator('#player')).to_be_hidden()


@pytest.mark.parametrize('width', [320, 390, 768])
def test_it_fits_a_phone(browser: Browser, address: str, width: int) -> None:
    context = browser.new_context(
        viewport={'width': width, 'height': 800}, has_touch=True, is_mobile=True
    )
    page = context.new_page()
    page.goto(address + LOCATION.format(words='cat, cushion', photo='chelsea.png'))
    shows(page, 'cat', 'cushion')
    assert page.evaluate('document.documentElement.scrollWidth') <= width
    page.locator('#legend [data-row="0"]').tap()
    expect(page.locator('#scale')).to_be_visible()
    page.locator('#legend [data-row="0"]').tap()
    page.locator('#view').tap()
    expect(page.locator('#value')).to_contain_text('cat')
    heights = page.locator('button:visible').evaluate_all('all => all.map(x => x.offsetHeight)')
    assert min(heights) >= 28
    page.screenshot(path=SHOTS / f'phone-{width}.png', full_page=True)
    context.close()


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_texts_stand_out_from_their_ground(page: Page, scheme: Any) -> None:  # noqa: ANN401
    page.emulate_media(color_scheme=scheme)
    page.locator('#words').fill('cup, cup')
    expect(page.locator('#error-words')).to_contain_text('twice')
    assert page.evaluate(CONTRAST) == []
    shot(page, scheme)


def test_nothing_is_asked_of_other_machines(browser: Browser, address: str) -> None:
    page = browser.new_page()
    hosts: set[str] = set()
    page.on('request', lambda one: hosts.add(urlsplit(one.url).netloc))
    page.goto(address)
    expect(page.locator('#legend .word')).to_have_count(3)
    assert hosts - {''} == {urlsplit(address).netloc}
    page.close()

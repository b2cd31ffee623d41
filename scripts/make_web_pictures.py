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
"""Make the pictures of the page in docs: Chromium's screenshots, with public-domain photos."""

from pathlib import Path
import shutil
import threading

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright, ViewportSize
from zegclip_core.segmenter import Segmenter
from zegclip_core.web.model_desk import ModelDesk
from zegclip_core.web.serve import Place, Server

TARGET = Path(__file__).resolve().parents[1] / 'docs' / 'images'
SIZE: ViewportSize = {'width': 1200, 'height': 760}
PATIENCE = 120_000
"""Longest wait for labels [ms]."""


def save(page: Page, name: str) -> None:
    """Write what is seen as a JPEG."""
    # How long it took is this machine's affair.
    page.evaluate("document.getElementById('status').textContent = ''")
    path = TARGET / f'{name}.png'
    page.screenshot(path=path)
    Image.open(path).convert('RGB').save(path.with_suffix('.jpg'), quality=88)
    path.unlink()


def opened(browser: Browser, address: str, words: str, photo: str) -> Page:
    """Open the page with words and a photo, and wait for all that it says of them."""
    page = browser.new_page(viewport=SIZE, color_scheme='dark')
    page.set_default_timeout(PATIENCE)
    page.goto(f'{address}#words={words}&photo={photo}')
    page.wait_for_selector('#taken li')
    return page


def main() -> None:
    """Serve the page, look at it in two ways, and write both pictures."""
    desk = ModelDesk(Segmenter.load('everyday-s'))
    server = Server(desk, Place(port=0))
    threading.Thread(target=server.run, daemon=True).start()
    address = server.addresses[0]
    program = shutil.which('chromium') or shutil.which('google-chrome')
    with sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=program, args=['--no-sandbox'])
        save(opened(browser, address, 'person, helmet, flag', 'astronaut.png'), 'web-labels')
        page = opened(browser, address, 'cup, spoon, table', 'coffee.png')
        page.click('#legend [data-row="0"]')
        page.wait_for_selector('#scale:not([hidden])')
        page.hover('#view', position={'x': 330, 'y': 250})
        page.wait_for_selector('#value:not([hidden])')
        save(page, 'web-scores')
        browser.close()
    server.stop()
    desk.close()


if __name__ == '__main__':
    main()

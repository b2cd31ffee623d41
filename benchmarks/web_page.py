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
"""What the page of ``zegclip web`` costs: from the last key to labels, frames, bytes, memory.

``python -m benchmarks.web_page`` serves the page in a process of its own, types into it in
Chromium, has clients send frames of 640 x 480, and watches the memory of the process. It takes
eleven minutes; ``--quick`` one.
"""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, ExitStack
from dataclasses import dataclass
import json
import math
from pathlib import Path
import shutil
import statistics
import struct
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

from benchmarks.reports import report, setting
import cv2
import numpy as np
import numpy.typing as npt
import psutil
from skimage import data
from tabulate import tabulate
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

PAGE = Path(__file__).resolve().parents[1] / 'docs' / 'web.md'
_TYPED = ('cup', 'spoon', 'table', 'saucer', 'plate', 'coffee', 'wood', 'shadow')
_SIZE = (640, 480)
_MIB = 2**20
_FRAMES = 30
"""Different frames that are sent in turn."""
_SETTLED = 20.0
"""Seconds after which memory is first read: the model and the codecs are loaded by then."""
_PROGRAMS = ('chromium', 'chromium-browser', 'google-chrome')
_WATCH = """() => {
  window.took = null;
  const words = document.getElementById('words');
  words.addEventListener('input', () => { window.typed = performance.now(); });
  new MutationObserver(() => { window.took = performance.now() - window.typed; })
    .observe(document.body, {attributes: true, attributeFilter: ['data-asked']});
}"""


@dataclass(frozen=True)
class Figures:
    """What was measured.

    Attributes:
        seconds: From the last key to the labels, in Chromium, one each time [s]; empty without it.
        rates: Frames a second of each client.
        sent: Bytes of a frame on its way to the server.
        received: Bytes of its labels on their way back.
        memory: Of the server, with the time since the first reading [s] and [MiB].
    """

    seconds: list[float]
    rates: list[float]
    sent: float
    received: float
    memory: list[tuple[float, float]]

    def table(self) -> str:
        """Return the figures as a table of Markdown."""
        grown = self.memory[-1][1] - self.memory[0][1]
        rows = [
            (
                'frames a second, each of the clients',
                ', '.join(f'{one:.1f}' for one in self.rates),
            ),
            ('bytes of a frame to the server', f'{self.sent:,.0f}'),
            ('bytes of its labels back', f'{self.received:,.0f}'),
            ('memory of the server at first', f'{self.memory[0][1]:.0f} MiB'),
            (f'growth in {self.memory[-1][0] / 60.0:.1f} minutes', f'{grown:+.1f} MiB'),
            (
                'most above the first',
                f'{max(m for _, m in self.memory) - self.memory[0][1]:+.1f} MiB',
            ),
        ]
        if self.seconds:
            worst, median = max(self.seconds), statistics.median(self.seconds)
            rows.insert(0, ('last key to labels', f'{median:.2f} s (at most {worst:.2f} s)'))
        return tabulate(rows, ('what', 'figure'), tablefmt='github')


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, prog='benchmarks.web_page')
    parser.add_argument('--short-side', type=int, default=252)
    parser.add_argument('--clients', type=int, default=4)
    parser.add_argument('--minutes', type=float, default=10.0, help='of frames')
    parser.add_argument('--quick', action='store_true', help='half a minute of frames')
    parser.add_argument('--write-docs', action='store_true', help='put the table into docs/web.md')
    args = parser.parse_args(argv)
    seconds = 30.0 if args.quick else 60.0 * args.minutes

    def measured() -> str:
        with serving(args.short_side) as (address, process):
            typed = typing_seconds(address)
            found = streamed(address, process, args.clients, seconds, typed)
        return f'{found.table()}\n\n{args.clients} clients. {setting()}'

    return report('web', measured, PAGE, write=args.write_docs)


@contextmanager
def serving(short_side: int) -> Iterator[tuple[str, psutil.Process]]:
    """Run ``zegclip web``; yield its address and its process."""
    command = [sys.executable, '-m', 'zegclip_core.cli.main', 'web', '--port', '0']
    command += ['--short-side', str(short_side)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            yield child.stdout.readline().strip(), psutil.Process(child.pid)
        finally:
            child.terminate()


def typing_seconds(address: str) -> list[float]:
    """Return the seconds from the last key of each word to its labels; none without Chromium."""
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        print('There is no Chromium: what typing takes is left out.')
        return []
    from playwright.sync_api import sync_playwright

    found: list[float] = []
    with sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=program, args=['--no-sandbox'])
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.goto(address)
        page.wait_for_selector('body[data-asked]')
        page.evaluate(_WATCH)
        for end in range(2, len(_TYPED) + 1):
            before = page.get_attribute('body', 'data-asked')
            page.fill('#words', ', '.join(_TYPED[:end]))
            page.wait_for_selector(f'body:not([data-asked="{before}"])')
            found.append(float(page.evaluate('window.took')) / 1000.0)
        browser.close()
    return found


def frames() -> list[bytes]:
    """Return the files of frames in which a photo moves."""
    photo = cv2.cvtColor(cv2.resize(data.coffee(), _SIZE), cv2.COLOR_RGB2BGR)
    moved: list[npt.NDArray[np.uint8]] = [
        np.roll(photo, 6 * step, axis=1) for step in range(_FRAMES)
    ]
    return [
        cv2.imencode('.jpg', one, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes() for one in moved
    ]


def connected(address: str) -> ClientConnection:
    """Return a connection like a page's; it closes at the end of its context."""
    where = urlsplit(address).netloc
    return connect(f'ws://{where}/socket', origin=Origin(f'http://{where}'), max_size=None)


class Client(threading.Thread):
    """Sends a frame when the labels of the one before have come, as the page does."""

    def __init__(
        self,
        socket: ClientConnection,
        files: list[bytes],
        seconds: float,
        *,
        words: str = 'cup, spoon, table',
        smoothing: float = 0.5,
    ) -> None:
        super().__init__(daemon=True)
        self.socket, self.files, self.seconds = socket, files, seconds
        self.asked = {'type': 'settings', 'number': 1, 'words': words, 'smoothing': smoothing}
        self.count = self.sent = self.received = 0
        self.rate = math.nan

    def run(self) -> None:
        """Send and receive for so many seconds."""
        self.socket.send(json.dumps(self.asked))
        begun = time.monotonic()
        while (now := time.monotonic() - begun) < self.seconds:
            file = self.files[self.count % len(self.files)]
            self.socket.send(struct.pack('<Id', self.count, now) + file)
            while isinstance(answer := self.socket.recv(), str):
                if json.loads(answer)['type'] == 'idle':
                    break
            else:
                self.received += len(answer)
                self.sent += len(file)
                self.count += 1
        self.rate = self.count / (time.monotonic() - begun)


def streamed(
    address: str, process: psutil.Process, clients: int, seconds: float, typed: list[float]
) -> Figures:
    """Have clients send frames at once, and watch the memory of the server meanwhile."""
    files = frames()
    with ExitStack() as stack:
        working = [
            Client(stack.enter_context(connected(address)), files, seconds) for _ in range(clients)
        ]
        for one in working:
            one.start()
        memory = list(_memory(process, working, min(_SETTLED, seconds / 3.0)))
    count = max(sum(one.count for one in working), 1)
    return Figures(
        typed,
        [one.rate for one in working],
        sum(one.sent for one in working) / count,
        sum(one.received for one in working) / count,
        memory,
    )


def _memory(
    process: psutil.Process, working: Sequence[threading.Thread], settled: float
) -> Iterator[tuple[float, float]]:
    """Yield the time and the resident memory [MiB] until all clients are done."""
    time.sleep(settled)
    begun = time.monotonic()
    while True:
        yield time.monotonic() - begun, process.memory_info().rss / _MIB
        if not any(one.is_alive() for one in working):
            return
        time.sleep(1.0)


if __name__ == '__main__':
    sys.exit(main())

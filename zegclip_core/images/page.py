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
"""One HTML file that holds its pictures and videos: a browser shows it without a network."""

import base64
from collections.abc import Mapping, Sequence
import html
import io
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Cell = str | float | None
"""Text, a number, or nothing, which is shown as a dash."""
_STYLE = """\
:root { color-scheme: light dark; --line: #8884; --bar: #4e98e255; }
body { font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .8rem; text-align: left; border-bottom: 1px solid var(--line); }
td.n, th.n { text-align: right; }
td.bar { background: linear-gradient(90deg, var(--bar) var(--share), transparent 0); }
figure { margin: 1rem 0; } figcaption { opacity: .75; font-size: .9rem; }
img, video { max-width: 100%; height: auto; background: #fff; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #8882; padding: .8rem; }
"""
# Nothing of a page can be fetched, and no script can run, whatever a file or class is called.
_HEAD = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'">
"""


class Page:
    """A page that is written from top to bottom.

    All that it is given is shown as text: nothing of it is read as HTML.

    Args:
        title: What stands at the top, and in the tab of the browser.
    """

    def __init__(self, title: str) -> None:
        head = f'{_HEAD}<title>{_text(title)}</title>\n<style>\n{_STYLE}</style>\n</head>\n<body>'
        self._parts = [head, f'<h1>{_text(title)}</h1>']

    def heading(self, text: str) -> None:
        """Begin a part of the page."""
        self._parts.append(f'<h2>{_text(text)}</h2>')

    def text(self, text: str) -> None:
        """Write a paragraph."""
        self._parts.append(f'<p>{_text(text)}</p>')

    def code(self, text: str) -> None:
        """Write lines as they are, such as a command."""
        self._parts.append(f'<pre>{_text(text)}</pre>')

    def table(self, rows: Sequence[Mapping[str, Cell]], *, bars: Sequence[str] = ()) -> None:
        """Write a table; nothing, if it has no row.

        Args:
            rows: Cells by the title of their column; all rows have the columns of the first.
            bars: Columns of numbers in [0, 1] that are shown as bars as well.
        """
        if not rows:
            return
        titles = list(rows[0])
        numbers = {title for title in titles if any(_is_number(row[title]) for row in rows)}
        head = ''.join(
            f'<th{" class=n" if title in numbers else ""}>{_text(title)}</th>' for title in titles
        )
        body = [
            ''.join(_cell(row[title], title in numbers, title in bars) for title in titles)
            for row in rows
        ]
        lines = '\n'.join(f'<tr>{line}</tr>' for line in [head, *body])
        self._parts.append(f'<div class="wide"><table>\n{lines}\n</table></div>')

    def picture(
        self,
        source: Path | bytes | npt.NDArray[np.uint8],
        caption: str = '',
        *,
        photo: bool = True,
    ) -> None:
        """Show a picture.

        Args:
            source: An image file or its content, kept as it is, or RGB uint8 ``(H, W, 3)``.
            caption: What stands below it.
            photo: Whether an array is kept as JPEG; else as PNG, for lines and text.
        """
        if isinstance(source, np.ndarray):
            source = _encoded(source, 'JPEG' if photo else 'PNG')
        content = source.read_bytes() if isinstance(source, Path) else source
        kind = 'png' if content.startswith(b'\x89PNG') else 'jpeg'
        shown = f'<img alt="{_text(caption)}" src="{_data(f"image/{kind}", content)}">'
        self._figure(shown, caption)

    def video(self, path: Path, caption: str = '') -> None:
        """Show an mp4 file, which the page then holds."""
        source = _data('video/mp4', path.read_bytes())
        self._figure(f'<video controls loop muted src="{source}"></video>', caption)

    def html(self) -> str:
        """Return the page."""
        return '\n'.join([*self._parts, '</body>', '</html>', ''])

    def _figure(self, shown: str, caption: str) -> None:
        below = f'<figcaption>{_text(caption)}</figcaption>' if caption else ''
        self._parts.append(f'<figure>{shown}{below}</figure>')


def _text(text: str) -> str:
    """Return a text for HTML; bytes of names that are no text are shown as question marks."""
    return html.escape(text.encode('utf-8', 'replace').decode('utf-8'))


def _is_number(value: Cell) -> bool:
    return isinstance(value, int | float)


def _cell(value: Cell, number: bool, bar: bool) -> str:
    """Return a cell of a table."""
    style = ''
    if value is None or (isinstance(value, float) and math.isnan(value)):
        shown = '-'
    elif isinstance(value, str):
        shown = _text(value)
    else:
        shown = f'{value:.3f}' if bar else f'{value:,.6g}' if value < 1000 else f'{value:,.0f}'
        if bar:
            style = f' class="n bar" style="--share: {100 * min(max(value, 0.0), 1.0):.1f}%"'
    return f'<td{style or (" class=n" if number else "")}>{shown}</td>'


def _encoded(pixels: npt.NDArray[np.uint8], kind: str) -> bytes:
    """Return RGB pixels as an image file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format=kind, quality=88)
    return stream.getvalue()


def _data(kind: str, content: bytes) -> str:
    """Return content as a URL that holds it."""
    return f'data:{kind};base64,{base64.b64encode(content).decode("ascii")}'

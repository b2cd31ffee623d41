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
"""The demo's figures as a table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_LINE = '-'


def table(summary: Mapping[str, Any], folder: Path) -> str:
    """Return a run's summary as text: figures, one block a vocabulary, the files to look at."""
    latency = summary['latency_ms']
    figures = [
        ('frames in', f'{summary["frames_in"]} at {summary["camera_rate_hz"]} Hz'),
        ('frames out', f'{summary["frames_out"]} at {summary["frame_rate_hz"]} Hz'),
        ('latency', f'p50 {latency["p50"]} ms, p95 {latency["p95"]} ms'),
    ]
    blocks = [_rows(figures)]
    blocks += [_vocabulary(entry) for entry in summary['vocabularies']]
    versions = [(name, str(version)) for name, version in summary['versions'].items()]
    blocks.append(_rows(versions))
    pictures = [entry['picture'] for entry in summary['vocabularies'] if entry['picture']]
    files = [str(folder / name) for name in ('overlay.mp4', *pictures, 'summary.json')]
    blocks.append('\n'.join(['Look at:', *(f'  {name}' for name in files)]))
    return f'\n{_LINE * 60}\n'.join(['', *blocks])


def _vocabulary(entry: Mapping[str, Any]) -> str:
    """Return the block of one vocabulary."""
    switch = entry['switch_seconds']
    since = 'from the start' if switch is None else f'first overlay {switch:.2f} s after the words'
    head = f'vocabulary {entry["version"]}: {entry["frames"]} frames, {since}'
    shares = [(f'  {name}', f'{share:7.1%}') for name, share in entry['pixel_share'].items()]
    shares.append(('  none of these', f'{entry["unlabelled_share"]:7.1%}'))
    return f'{head}\n{_rows(shares)}'


def _rows(rows: Sequence[tuple[str, str]]) -> str:
    """Return two aligned columns."""
    width = max(len(name) for name, _ in rows) + 2
    return '\n'.join(f'{name:<{width}}{value}' for name, value in rows)

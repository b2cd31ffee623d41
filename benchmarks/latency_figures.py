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
"""What the latency benchmark makes of its events: figures, tables and a picture."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.latency_processes import CLASSES, words
import numpy as np
from scipy import stats
from tabulate import tabulate

TRANSPORTS = {'default': 'default', 'large_data': 'LARGE_DATA + malloc'}
NODE_STAGES = ('wait', 'pre-process', 'post-process', 'publish')
"""Stages that the node's diagnostics measure, beside the model."""
SLACK = 50_000_000
"""Nanoseconds before a change of words within which a frame may still be in work."""
PERCENTILES = ('p50', 'p95', 'max')
Event = dict[str, Any]
Result = dict[str, Any]


def spread(nanoseconds: Sequence[float]) -> dict[str, float] | None:
    """Return median, 95th percentile and maximum in milliseconds, ``None`` of nothing."""
    if not len(nanoseconds):
        return None
    values = np.percentile(np.array(nanoseconds) / 1e6, (50, 95, 100)).round(3)
    return dict(zip(('p50', 'p95', 'max'), values.tolist(), strict=True))


def figures(model_name: str, seconds: float, events: dict[str, list[Event]]) -> dict[str, Any]:
    """Return all figures of a case, for JSON.

    The added latency of a frame is the arrival of its labels, minus its stamp, minus the time of
    the model.

    Args:
        model_name: Name of a real model, empty for the stand-in, whose labels are known.
        seconds: Time that was measured.
        events: Of all processes, by kind; ``sent`` are the frames of the time measured.
    """
    arrived = {event['stamp']: event for event in events['arrived']}
    worked = {event['number']: event for event in events['segmented']}
    labels = {event['stamp']: event for event in events['label']}
    sent = events['sent']
    # Frames of which everything is known.
    frames = [
        (frame, arrived[frame['stamp']], worked[frame['number']], labels[frame['stamp']])
        for frame in sent
        if frame['stamp'] in arrived and frame['number'] in worked and frame['stamp'] in labels
    ]
    model = [work['ended'] - work['began'] for _, _, work, _ in frames]
    added = [
        (frame['stamp'], label['time'] - frame['stamp'] - (work['ended'] - work['began']))
        for frame, _, work, label in frames
    ]
    node = events['diagnostics'][-1] if events['diagnostics'] else {}
    inside = {f'node: {one}': float(node.get(f'{one} p50 [ms]', 0.0)) for one in NODE_STAGES}
    to_node = spread([came['time'] - frame['stamp'] for frame, came, _, _ in frames])
    leaving = spread([label['time'] - work['ended'] for _, _, work, label in frames])
    stages = {}
    if to_node is not None and leaving is not None:
        after = inside['node: post-process'] + inside['node: publish']
        stages['camera to node'] = to_node['p50']
        stages |= {**inside, 'node to receiver': leaving['p50'] - after}
    wrong = [
        frame for frame, _, _, label in frames if label['label'] != frame['number'] % 256 % CLASSES
    ]
    return {
        'sent': len(sent),
        'arrived': sum(frame['stamp'] in arrived for frame in sent),
        'processed': sum(frame['number'] in worked for frame in sent),
        'received': sum(frame['stamp'] in labels for frame in sent),
        'wrong labels': None if model_name else len(wrong),
        'added [ms]': spread([latency for _, latency in added]),
        'model [ms]': spread(model),
        'stages [ms]': stages,
        'stale': len(stale(sent, events)),
        'over time [ms]': over_time(added, 60.0 if seconds >= 240.0 else seconds / 10),
        'changes of words': changes(sent, events),
    }


def stale(sent: Sequence[Event], events: dict[str, list[Event]]) -> list[int]:
    """Return the numbers of frames that were worked on although a newer one had arrived.

    A newer one had arrived if the node's callback was done with it before the worker was free.
    """
    numbers = {frame['stamp']: frame['number'] for frame in sent}
    handed = {numbers.get(event['stamp'], 0): event['handed'] for event in events['arrived']}
    counted, found, free = set(numbers.values()), [], 0
    for work in sorted(events['segmented'], key=lambda event: event['began']):
        number = work['number']
        newer = [handed[other] for other in range(number + 1, number + 100) if other in handed]
        if number in counted and any(moment <= free for moment in newer):
            found.append(number)
        free = work['ended']
    return found


def over_time(added: Sequence[tuple[int, float]], window: float) -> list[dict[str, float]]:
    """Return the added latency of each full window of time.

    Args:
        added: Stamp and latency of each frame, in nanoseconds.
        window: Its length in seconds.
    """
    if not added:
        return []
    places = [int((stamp - added[0][0]) / 1e9 // window) for stamp, _ in added]
    rows = []
    for place in range(round((added[-1][0] - added[0][0]) / 1e9 / window)):
        picked = [latency for at, (_, latency) in zip(places, added, strict=True) if at == place]
        if (values := spread(picked)) is not None:
            rows.append({'minute': (place + 0.5) * window / 60, 'frames': len(picked), **values})
    return rows


def changes(sent: Sequence[Event], events: dict[str, list[Event]]) -> dict[str, Any] | None:
    """Return what changes of the words cost, ``None`` if there were fewer than two.

    A frame is lost to a change if it was sent after the change was asked for and before the next
    one, or was in work then, and came to the node, which published no labels of it.
    """
    if not sent:
        return None
    first, last = sent[0]['stamp'] + SLACK, sent[-1]['stamp']
    asked = [event for event in events['asked'] if first <= event['time'] <= last]
    if len(asked) < 2:
        return None
    arrived = {event['stamp'] for event in events['arrived']}
    labels = {event['stamp']: event['time'] for event in events['label']}
    stamps = [frame['stamp'] for frame in sent]
    dropped = [stamp for stamp in stamps if stamp in arrived and stamp not in labels]
    lost = [
        sum(begin['time'] <= stamp + SLACK < end['time'] for stamp in dropped)
        for begin, end in pairwise(asked)
    ]
    taken = {name for event in events['words'] for name in event['names']}
    came = sorted(labels[stamp] for stamp in stamps if stamp in labels)
    return {
        'changes': len(lost),
        'lost': lost,
        'not taken over': [e['turn'] for e in asked if words(e['turn'])[0] not in taken],
        'gap [ms]': spread([later - earlier for earlier, later in pairwise(came)]),
    }


def target(case: dict[str, Any]) -> float | None:
    """Return the median added latency in milliseconds that a case is meant to keep to."""
    if case['transport'] != 'large_data' or case['cost'] > 1.0 / case['rate']:
        return None
    return {(640, 480): 4.0, (1920, 1080): 12.0}.get((case['width'], case['height']))


def cells(values: dict[str, float] | None) -> list[str]:
    """Return percentiles in milliseconds, or dashes if there are none."""
    return ['-' if values is None else f'{values[name]:.1f}' for name in PERCENTILES]


def title(result: Result) -> str:
    """Return size and, of a real one, model of a case."""
    case = result['case']
    return f'{case["width"]}x{case["height"]} {case["model"]}'.strip()


def rows_of(results: Iterable[Result]) -> list[list[object]]:
    """Return the rows of the table of added latencies."""
    rows: list[list[object]] = []
    for result in results:
        case, aim = result['case'], target(result['case'])
        rows.append(
            [
                *(title(result), TRANSPORTS[case['transport']]),
                case['reliability'].replace('_', ' '),
                f'{result["received"]} / {result["sent"]}',
                *cells(result['added [ms]']),
                '-' if aim is None else f'{aim:g}',
                cells(result['model [ms]'])[0],
                f'{result["stale"]} of {result["processed"]}',
            ]
        )
    return rows


def tables(found: dict[str, list[Result]]) -> dict[str, str]:
    """Return the tables in Markdown, by the name of their place on the page."""
    percentiles = [f'{name} [ms]' for name in PERCENTILES]
    head = ['frames', 'transport', 'camera', 'received / sent', *percentiles, 'target p50 [ms]']
    head += ['model p50 [ms]', 'stale']
    made: dict[str, tuple[list[list[Any]], list[str]]] = {}
    if 'latency' in found:
        made['latency'] = rows_of(found['latency']), head
        kept = [one for one in found['latency'] if one['case']['reliability'] == 'reliable']
        kept = kept or found['latency']
        names = list(dict.fromkeys(name for one in kept for name in one['stages [ms]']))
        rows = [
            [name, *(f'{one["stages [ms]"].get(name, np.nan):.1f}' for one in kept)]
            for name in names
        ]
        rows.append(['**all**', *(f'**{cells(one["added [ms]"])[0]}**' for one in kept)])
        titles = [f'{title(one)} {TRANSPORTS[one["case"]["transport"]]}' for one in kept]
        made['stages'] = rows, ['median of each stage [ms]', *titles]
    if changed := [*found.get('words', []), *found.get('model words', [])]:
        made['words'] = (
            [words_row(one) for one in changed],
            [
                *('frames', 'changes', 'most frames lost to one', 'lost to all', 'not taken over'),
                *('between two labels: p50 [ms]', 'max [ms]', 'added p50 [ms]', 'received / sent'),
            ],
        )
    if 'model' in found:
        made['model'] = rows_of(found['model']), head
    if 'slow' in found:
        rows = [
            [f'{row["minute"]:.2f}', row['frames'], *cells(row)]
            for row in found['slow'][0]['over time [ms]']
        ]
        made['slow'] = rows, ['minute', 'frames', *percentiles]
    texts = {
        name: tabulate(rows, head, tablefmt='github', disable_numparse=True)
        for name, (rows, head) in made.items()
    }
    if 'slow' in texts:
        slow = found['slow'][0]
        if (line := slope(slow['over time [ms]'])) is not None:
            texts['slow'] += (
                f'\n\nThe medians change by {line[0]:+.2f} ± {line[1]:.2f} ms a minute (95 %).'
            )
        texts['slow'] += (
            f'\n\nFrames worked on although a newer one had arrived: {slow["stale"]} of '
            f'{slow["processed"]}. Received / sent: {slow["received"]} / {slow["sent"]}.'
        )
    return texts


def words_row(result: Result) -> list[Any]:
    """Return the row of a case in the table of what changes of the words cost."""
    cost = result['changes of words']
    ends = [cells(result['added [ms]'])[0], f'{result["received"]} / {result["sent"]}']
    if cost is None:
        return [title(result), *['-'] * 6, *ends]
    # A model slower than the camera drops frames anyway: there the pause says what was lost.
    lost = ['-', '-'] if result['case']['model'] else [max(cost['lost']), sum(cost['lost'])]
    median, _, most = cells(cost['gap [ms]'])
    return [
        title(result),
        cost['changes'],
        *lost,
        len(cost['not taken over']),
        median,
        most,
        *ends,
    ]


def slope(rows: Sequence[dict[str, float]]) -> tuple[float, float] | None:
    """Return how the medians grow, in ms per minute, and the half width of its 95 % interval.

    Returns:
        ``None`` if there are fewer than four.
    """
    if len(rows) < 4:
        return None
    fit = stats.linregress([row['minute'] for row in rows], [row['p50'] for row in rows])
    return float(fit.slope), float(stats.t.ppf(0.975, len(rows) - 2) * fit.stderr)


def draw_slow(result: Result, path: Path) -> None:
    """Draw the added latency over time, with a model that is slower than the camera."""
    from matplotlib.figure import Figure  # takes a second

    rows, case = result['over time [ms]'], result['case']
    figure = Figure(figsize=(9, 4.6), layout='constrained')
    axes = figure.subplots()
    for name in ('p50', 'p95'):
        axes.plot([row['minute'] for row in rows], [row[name] for row in rows], label=name)
    axes.set(xlabel='minutes', ylabel='ms', ylim=(0, None))
    axes.set_title(f'Added latency, model of {1000 * case["cost"]:.0f} ms at {case["rate"]:g} Hz')
    axes.grid(color='0.85')
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)

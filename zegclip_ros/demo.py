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
"""The demo: camera, segmentation node and recorder as three processes that talk over DDS.

Run it by ``make demo`` or ``python -m zegclip_ros.demo``; it needs neither a screen nor a network.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
import json
import os
from pathlib import Path
import shutil
import sys
import time
from typing import Any

from tabulate import tabulate
from zegclip_core.files import user_path
from zegclip_core.images.page import Page
from zegclip_ros.runtime.child_processes import interruptible, Processes, reserved_domain

FIRST_WORDS = ('person', 'cat', 'cup', 'table', 'flag', 'car')
"""What the node begins with; there is no car in the photos."""
NEXT_WORDS = (
    '[{"name": "human", "phrases": ["woman", "face"], "color": "#ff8800"}, '
    '{"name": "kitten", "phrases": ["tabby cat"]}, "mug", "spoon", "wooden table"]',
    'astronaut, furry pet, espresso, breakfast table',
)
"""What the recorder publishes; no mask was trained under a phrase of the last list."""
PAGE = 'index.html'
"""What shows all that the demo leaves, in the folder of the rest."""
SHOWN = ('segmentation', 'recorder')
"""Processes whose log lines show the progress."""
_POLL = 0.2
_TAIL = 30
_GIVEN_UP = 'Cannot configure'
"""How the segmentation node begins to say that it waits for somebody to mend something."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return its exit code."""
    parser = argparse.ArgumentParser(
        prog='python -m zegclip_ros.demo',
        description='Run camera, segmentation node and recorder, and write what came of it.',
    )
    parser.add_argument('--out', type=user_path, default=Path('demo_output'), help='output folder')
    parser.add_argument('--seconds', type=float, default=36.0, help='time to record [s]')
    parser.add_argument('--model', default='everyday-s', help='bundled model or checkpoint')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:<number>')
    parser.add_argument('--source', default='', help='picture, video or folder to play instead')
    parser.add_argument(
        '--depth', action='store_true', help='show a made room with its depth, and draw points'
    )
    parser.add_argument(
        '--patience', type=float, default=180.0, help='longest wait for the first frame [s]'
    )
    options = parser.parse_args(arguments)
    try:
        with interruptible(), reserved_domain() as domain:
            return run(options, domain)
    except KeyboardInterrupt:
        print('Interrupted; all processes have ended.', file=sys.stderr)
        return 130


def run(options: argparse.Namespace, domain: int) -> int:
    """Run the three processes in a DDS domain of their own; return the exit code."""
    out: Path = options.out
    names = ('overlay.mp4', 'summary.json', 'points.png', 'regions.json', PAGE)
    for stale in (*out.glob('vocabulary_*.png'), *(out / name for name in names)):
        stale.unlink(missing_ok=True)
    logs = out / 'logs'
    shutil.rmtree(logs, ignore_errors=True)
    print(f'Starting camera, segmentation node and recorder in DDS domain {domain}.', flush=True)
    environment = {
        **os.environ,
        'ROS_DOMAIN_ID': str(domain),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
        'ROS_LOG_DIR': str((logs / 'ros').absolute()),
        'PYTHONUNBUFFERED': '1',
        'QT_QPA_PLATFORM': 'offscreen',
    }
    with Processes(logs, environment) as processes:
        for name, command in commands(options).items():
            processes.start(name, command)
        shown = (*SHOWN, 'points') if options.depth else SHOWN
        failed = watch(processes, {name: follow(processes.log_of(name)) for name in shown})
    if failed is not None:
        return explain(failed, processes.log_of(failed))
    summary = json.loads((out / 'summary.json').read_text(encoding='utf-8'))
    if not summary['frames_out']:
        return explain('segmentation', processes.log_of('segmentation'))
    (out / PAGE).write_text(page(summary, out).html(), encoding='utf-8')
    print(report(summary, out))
    return 0


def report(summary: Mapping[str, Any], folder: Path) -> str:
    """Return a run's summary as text: figures, a block for each vocabulary, the files to see."""
    blocks = [tabulate(figures(summary).items(), tablefmt='plain')]
    for entry in summary['vocabularies']:
        rows = [(name, f'{share:.1%}') for name, share in shares(entry).items()]
        table = tabulate(rows, tablefmt='plain', colalign=('left', 'right'), disable_numparse=True)
        blocks.append(f'{in_short(entry)}\n{table}')
    blocks.append(tabulate(summary['versions'].items(), tablefmt='plain', disable_numparse=True))
    images = [entry['picture'] for entry in summary['vocabularies'] if entry['picture']]
    points = [name for name in ('points.png', 'regions.json') if (folder / name).exists()]
    names = (PAGE, 'overlay.mp4', *images, *points, 'summary.json')
    files = [folder / name for name in names]
    blocks.append('\n'.join(['Look at:', *(f'  {path}' for path in files)]))
    return f'\n{"-" * 60}\n'.join(['', *blocks])


def figures(summary: Mapping[str, Any]) -> dict[str, str]:
    """Return what the recorder counted and timed, in words."""
    latency = summary['latency_ms']
    return {
        'frames in': f'{summary["frames_in"]} at {summary["camera_rate_hz"]} Hz',
        'frames out': f'{summary["frames_out"]} at {summary["frame_rate_hz"]} Hz',
        'latency': f'p50 {latency["p50"]} ms, p95 {latency["p95"]} ms',
    }


def shares(entry: Mapping[str, Any]) -> dict[str, float]:
    """Return each class's share of the pixels, that of none of them last."""
    return {**entry['pixel_share'], 'none of these': entry['unlabelled_share']}


def in_short(entry: Mapping[str, Any]) -> str:
    """Return which words these are, for how many frames, and how soon they were heard."""
    switch = entry['switch_seconds']
    since = 'from the start' if switch is None else f'first overlay {switch:.2f} s after the words'
    return f'vocabulary {entry["version"]}: {entry["frames"]} frames, {since}'


def page(summary: Mapping[str, Any], folder: Path) -> Page:
    """Return all that a run left as one page, with the video and the pictures in it."""
    made = Page('ZegCLIP-ROS: what the demo saw')
    made.text(
        'A camera played photos, the segmentation node labelled them, and a recorder changed the '
        'words twice; all three spoke over DDS.'
    )
    made.video(folder / 'overlay.mp4', 'What the node published as ~/overlay, frame by frame.')
    made.table([{'': name, 'this run': value} for name, value in figures(summary).items()])
    for entry in summary['vocabularies']:
        made.heading(', '.join(entry['classes']))
        made.text(in_short(entry))
        if entry['picture']:
            made.picture(folder / entry['picture'])
        share = 'share of all pixels'
        made.table([{'class': k, share: v} for k, v in shares(entry).items()], bars=[share])
    if (folder / 'points.png').exists():
        made.heading('Points in space')
        made.picture(folder / 'points.png')
    made.heading('Versions')
    made.table([{'what': key, 'version': text} for key, text in summary['versions'].items()])
    return made


def commands(options: argparse.Namespace) -> dict[str, list[str]]:
    """Return the command of each process by name."""
    hold = options.seconds / (3 * (1 + len(NEXT_WORDS)))
    made = {'depth': True} if options.depth else {}
    colored = {'points_color': 'overlay'} if options.depth else {}
    found = {
        'camera': node('camera', source=options.source, seconds_per_photo=float(hold), **made),
        'segmentation': node(
            'segmentation',
            model=options.model,
            device=options.device,
            class_names=FIRST_WORDS,
            **colored,
        ),
        'recorder': node(
            'recorder',
            output=str(options.out),
            seconds=float(options.seconds),
            patience=float(options.patience),
            vocabularies=NEXT_WORDS,
        ),
    }
    if options.depth:
        found['points'] = node('points_picture', output=str(options.out))
    return found


def node(module: str, **parameters: object) -> list[str]:
    """Return the command that runs a node of this package beside the camera of the demo."""
    command = [sys.executable, '-m', f'zegclip_ros.nodes.{module}', '--ros-args']
    if module != 'camera':
        command += ['-r', 'image:=/camera/image', '-r', 'depth:=/camera/depth']
        command += ['-r', 'depth/camera_info:=/camera/depth/camera_info']
    for name, value in parameters.items():
        # ROS reads values as YAML, of which JSON is a part; bare words might look like numbers.
        command += ['-p', f'{name}:={json.dumps(value, ensure_ascii=False)}']
    return command


def follow(log: Path) -> Iterator[list[str]]:
    """Yield, each time, the messages that were added to a log, without level and time."""
    with log.open('rb') as stream:
        rest = b''
        while True:
            whole, _, rest = (rest + stream.read()).rpartition(b'\n')
            lines = whole.decode('utf-8', 'replace').splitlines()
            yield [
                line.split(']: ', 1)[1] for line in lines if line.startswith('[') and ']: ' in line
            ]


def watch(processes: Processes, logs: Mapping[str, Iterator[list[str]]]) -> str | None:
    """Show progress until the recorder has ended; return the process that failed, if one did."""
    while True:
        codes = processes.exit_codes()
        for name, messages in logs.items():
            for line in next(messages):
                if line.startswith(_GIVEN_UP):
                    return name
                print(f'  {line}', flush=True)
        # A node that ends by itself before the recorder is at fault, not the recorder.
        for name in ('segmentation', 'camera'):
            if name in codes and codes.get('recorder') != 0:
                return name
        if 'recorder' in codes:
            return None if codes['recorder'] == 0 else 'recorder'
        time.sleep(_POLL)


def explain(name: str, log: Path) -> int:
    """Show the end of a failed process's log; return the exit code."""
    lines = log.read_text(encoding='utf-8', errors='replace').splitlines()
    print(f'The demo failed: {name} did not do its part. End of {log}:', file=sys.stderr)
    for line in lines[-_TAIL:]:
        print(f'  {line}', file=sys.stderr)
    return 1


if __name__ == '__main__':
    sys.exit(main())

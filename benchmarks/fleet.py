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
"""Measures ``zegclip label-bags`` against a plain loop, and the memory of a large bag.

Run it with ``python -m benchmarks.fleet``, and with ``--bag-gb 5`` for the memory: the bag is made
on the fly. The ways take turns; ``docs/fleet.md`` says which there are.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
import multiprocessing
from multiprocessing.sharedctypes import Synchronized
import os
from pathlib import Path
import statistics
import sys
from tempfile import TemporaryDirectory
import time
from typing import Final

from benchmarks.reports import peak_of, setting, write_docs, write_json
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from tabulate import tabulate
from zegclip_core.bags.message_types import TYPES
from zegclip_core.cli.main import main as zegclip
from zegclip_core.messages.image_encodings import IMAGE

PAGE: Final = Path(__file__).resolve().parents[1] / 'docs' / 'fleet.md'
SIZE: Final = (480, 640)
WORDS: Final = ('--classes', 'person, car, road')
_START: Final = 1_700_000_000_000_000_000
_STEP: Final = 100_000_000


def make_bag(path: Path, frames: int) -> None:
    """Write an MCAP with a camera of raw images, a few of which come again and again."""
    noise = np.random.default_rng(1).integers(0, 256, (4, *SIZE, 3), np.uint8)
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection('/camera/image', IMAGE, typestore=TYPES)
        for place in range(frames):
            time_ns = _START + place * _STEP
            stamp = TYPES.types['builtin_interfaces/msg/Time'](*divmod(time_ns, 10**9))
            message = TYPES.types[IMAGE](
                header=TYPES.types['std_msgs/msg/Header'](stamp=stamp, frame_id='camera'),
                height=SIZE[0],
                width=SIZE[1],
                encoding='rgb8',
                is_bigendian=0,
                step=SIZE[1] * 3,
                data=noise[place % len(noise)].reshape(-1),
            )
            writer.write(connection, time_ns, TYPES.serialize_cdr(message, IMAGE))


def loop(bags: Path, out: Path, options: Sequence[str]) -> None:
    """Label bag after bag in one process with one model, without any of the fleet's code."""
    from zegclip_core.bags.added import AddedTopics
    from zegclip_core.bags.job import LabelJob
    from zegclip_core.bags.labelling import label_bag
    from zegclip_core.cli._bags import label_settings
    from zegclip_core.cli._model import load_segmenter
    from zegclip_core.cli.main import build_parser
    from zegclip_core.text.vocabulary import Vocabulary

    args = build_parser().parse_args(['label-bag', 'a', 'b', *WORDS, *options])
    segmenter = load_segmenter(args)
    vocabulary = Vocabulary.parse(WORDS[1])
    for bag in sorted(bags.iterdir()):
        job = LabelJob(
            source=bag,
            target=out / bag.name,
            topics=(),
            added=AddedTopics(vocabulary),
            load=lambda: segmenter,
            settings=label_settings(args, vocabulary),
            quiet=True,
        )
        label_bag(job, print)


def fleet(bags: Path, out: Path, options: Sequence[str]) -> None:
    """Label them by ``zegclip label-bags``."""
    if zegclip(['label-bags', str(bags), '--out', str(out), *WORDS, *options]):
        raise RuntimeError('Expected every bag to be labelled.')


def seconds_of(way: Callable[[Path, Path], None], bags: Path) -> float:
    """Return how long a way takes in a process of its own, from its start to its end."""
    with TemporaryDirectory() as folder:
        context = multiprocessing.get_context('spawn')
        process = context.Process(target=way, args=(bags, Path(folder, 'out')))
        began = time.perf_counter()
        process.start()
        process.join()
        if process.exitcode:
            raise RuntimeError(f'Expected {way} to end well, but got {process.exitcode}.')
        return time.perf_counter() - began


def compare(args: argparse.Namespace, folder: Path) -> list[dict[str, float | str]]:
    """Return a row for each way: time, frames a second, and time a bag beside the loop."""
    for number in range(args.bags):
        make_bag(folder / 'bags' / f'drive{number:03}', args.frames)
    ways: dict[str, Callable[[Path, Path], None]] = {
        'plain loop': partial(loop, options=args.option),
    }
    for engine in args.engines:
        for count in (1, 2):
            chosen = ('--engine', engine, '--workers', str(count))
            name = f'{engine}, {count} worker{"s" * (count > 1)}'
            ways[name] = partial(fleet, options=(*chosen, *args.option))
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(args.rounds):
        for name, way in ways.items():
            times[name].append(seconds_of(way, folder / 'bags'))
    plain = statistics.median(times['plain loop'])
    middle = {name: statistics.median(found) for name, found in times.items()}
    return [
        {
            'way': name,
            'seconds': round(taken, 2),
            'frames/s': round(args.bags * args.frames / taken, 2),
            'seconds a bag beside the loop': round((taken - plain) / args.bags, 2),
        }
        for name, taken in middle.items()
    ]


def memory(args: argparse.Namespace, folder: Path) -> list[dict[str, float | str]]:
    """Return the peak of the memory in which a large bag is labelled."""
    frames = int(args.bag_gb * 1e9 / (SIZE[0] * SIZE[1] * 3))
    make_bag(folder / 'large', frames)
    options = [*WORDS, '--every', str(args.every), *args.option]
    command = ['label-bag', str(folder / 'large'), str(folder / 'out'), *options]
    context = multiprocessing.get_context('spawn')
    held = context.Value('d')
    process = context.Process(target=_labelled, args=(command, held))
    process.start()
    process.join()
    peak = held.value * 2**20 / 1e9
    return [{'bag [GB]': args.bag_gb, 'frames': frames, 'peak resident [GB]': round(peak, 2)}]


def _labelled(command: list[str], held: 'Synchronized[float]') -> None:
    """Run a command, and say how much memory this process has held at most [MiB]."""
    code = zegclip(command)
    held.value = peak_of(os.getpid())
    sys.exit(code)


def main() -> None:
    """Measure what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--bags', type=int, default=8)
    parser.add_argument('--frames', type=int, default=40, help='of each bag')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--engines', nargs='*', default=['processes', 'ray'])
    parser.add_argument('--bag-gb', type=float, help='measure the memory of such a bag instead')
    parser.add_argument('--every', type=int, default=20, help='of the large bag')
    parser.add_argument('--option', action='append', default=[], help='of zegclip label-bag')
    parser.add_argument('--folder', type=Path, help='where there is room (default: of the system)')
    parser.add_argument('--json', type=Path)
    parser.add_argument('--write-docs', action='store_true', help=f'put it into {PAGE.name}')
    args = parser.parse_args()
    with TemporaryDirectory(dir=args.folder) as folder:
        found = (memory if args.bag_gb else compare)(args, Path(folder))
    table = tabulate(found, headers='keys', tablefmt='github')
    print(table)
    if args.json:
        write_json(args.json, found)
    if args.write_docs and not args.bag_gb:
        where = setting().rpartition(', ')[0]  # Without the middleware, which has no part in it.
        what = (
            f'{args.bags} bags with {args.frames} images of 640x480 each, the median of '
            f'{args.rounds} rounds in which the ways take turns, loading included; {where}:'
        )
        write_docs('fleet', f'{what}\n\n{table}', PAGE)


if __name__ == '__main__':
    main()

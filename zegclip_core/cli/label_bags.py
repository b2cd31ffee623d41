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
"""``zegclip label-bags``: labels for a fleet's recordings, on one machine or a cluster."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
import sys
from typing import Any, TYPE_CHECKING

from zegclip_core.cli._bags import add_bag_options, added_topics, label_settings
from zegclip_core.cli._model import between, load_segmenter, natural, positive, read_words
from zegclip_core.cli.main import show_line, USER_ERROR
from zegclip_core.files import user_path
from zegclip_core.options import processor_count

if TYPE_CHECKING:
    from zegclip_core.fleet.engines import Engine
    from zegclip_core.fleet.run import Fleet
    from zegclip_core.segmenter import Segmenter

_DESCRIPTION = """\
Label many recorded ROS 2 bags as zegclip label-bag does each of them: in processes of this
machine, or by Ray on a cluster. Bags that are labelled already are skipped, so that the same
command goes on after an interruption; those that fail are tried again at the end.
"""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add this command to the parser of ``zegclip``."""
    parser = subparsers.add_parser(
        'label-bags', help='label the recorded bags of a fleet', description=_DESCRIPTION
    )
    parser.add_argument(
        'sources',
        nargs='+',
        metavar='SOURCE',
        help='a bag, or a folder with any number of them: a path, or a URL such as s3://...',
    )
    parser.add_argument(
        '--out', required=True, metavar='DIR', help='folder for the new bags, or a URL'
    )
    add_bag_options(parser)
    parser.add_argument(
        '--engine',
        dest='fleet_engine',  # The model's options have an engine, too.
        choices=('processes', 'ray'),
        default='processes',
        help='what runs the workers; RAY_ADDRESS names a running cluster (default: %(default)s)',
    )
    parser.add_argument(
        '--workers',
        type=positive,
        default=1,
        metavar='N',
        help='bags at a time, each with a model of its own (default: %(default)s)',
    )
    parser.add_argument(
        '--gpus-per-worker',
        type=between(0.0, 64.0),
        default=0.0,
        metavar='X',
        help='share of the GPUs that Ray gives each worker, such as 1 or 0.5 (default: none)',
    )
    parser.add_argument(
        '--part',
        type=_part,
        default=(1, 1),
        metavar='I/N',
        help='label the I-th of N parts of the bags, as the jobs of a batch system do (default: '
        'all)',
    )
    parser.add_argument(
        '--retries',
        type=natural,
        default=1,
        metavar='N',
        help='how often bags that failed are tried again (default: %(default)s)',
    )
    parser.add_argument(
        '--manifest',
        metavar='FILE',
        help='.csv or .parquet file that lists bags, topics, frames and classes (default: '
        'manifest.csv in DIR, or here if that is a URL; manifest-I-of-N.csv for a part)',
    )
    parser.add_argument(
        '--cache',
        default='~/.cache/zegclip/bags',
        metavar='DIR',
        help='for what comes from URLs and goes to them (default: %(default)s)',
    )
    parser.set_defaults(run=run)


def _part(text: str) -> tuple[int, int]:
    """Return which of how many parts a text means."""
    number, _, count = text.partition('/')
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f'expected a part such as 1/4 to 4/4, but got {text}')
    return int(number), int(count)


def run(args: argparse.Namespace) -> int:
    """Label bags.

    Returns:
        0, or 2 if a bag failed or was done in part.

    Raises:
        ZegCLIPError: If the sources, the words or the engine cannot be used.
    """
    fleet = _fleet(args)
    fleet.run(lambda: _engine(args))
    counts = {state: fleet.count(state) for state in ('done', 'partly', 'failed')}
    earlier = sum(one.earlier for one in fleet.outcomes.values())
    parts = [f'{counts["done"]} of {len(fleet.tasks)} bags labelled']
    parts += [f'{counts["partly"]} in part'] * bool(counts['partly'])
    parts += [f'{counts["failed"]} failed'] * bool(counts['failed'])
    parts += [f'{earlier} of them before this run'] * bool(earlier)
    sys.stdout.write(f'{args.out}: {", ".join(parts)}; listed in {fleet.manifest}\n')
    return 0 if counts['done'] == len(fleet.tasks) else USER_ERROR


def _fleet(args: argparse.Namespace) -> Fleet:
    """Return what the options ask for."""
    from zegclip_core.fleet.finding import find_tasks
    from zegclip_core.fleet.manifest import check_manifest
    from zegclip_core.fleet.places import absolute, is_url
    from zegclip_core.fleet.run import Fleet
    from zegclip_core.fleet.work import Work

    vocabulary = read_words(args)
    out = absolute(args.out)
    number, count = args.part
    # Each part has its own, since parts run at the same time.
    name = 'manifest.csv' if count == 1 else f'manifest-{number}-of-{count}.csv'
    manifest = args.manifest or (name if is_url(out) else f'{out}/{name}')
    check_manifest(user_path(manifest))
    settings = label_settings(args, vocabulary)
    work = Work(
        topics=tuple(args.topic),
        added=added_topics(args, vocabulary),
        load=partial(_load, load_segmenter, args),
        settings=settings,
        cache=user_path(args.cache),
        storage=args.storage,
        compress=args.compress,
        every=args.every,
    )
    first = number - 1
    tasks = find_tasks(args.sources, out)[first::count]
    return Fleet(tasks, work, user_path(manifest), args.retries, show_line)


def _load(
    load: Callable[[argparse.Namespace], Segmenter], args: argparse.Namespace, sharing: int
) -> Segmenter:
    """Load the model in a worker, whose share of the threads is that of its own machine."""
    options = argparse.Namespace(**vars(args))
    if options.threads is None:
        options.threads = max(processor_count() // sharing, 1)
    return load(options)


def _engine(args: argparse.Namespace) -> Engine:
    """Return what runs the workers."""
    if args.fleet_engine == 'ray':
        from zegclip_core.fleet.ray_engine import RayEngine

        return RayEngine(args.workers, args.gpus_per_worker)
    from zegclip_core.fleet.engines import Processes

    return Processes(args.workers)

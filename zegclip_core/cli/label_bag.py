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
"""``zegclip label-bag``: labels beside the images of a recorded bag, without ROS."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from zegclip_core.cli._bags import add_bag_options, added_topics, label_settings
from zegclip_core.cli._model import load_segmenter, read_words
from zegclip_core.files import user_path

_DESCRIPTION = """\
Label the images of a recorded ROS 2 bag (MCAP or SQLite) at full speed, without ROS. The new bag
OUT holds everything that IN holds, and the label image of every image beside it. IN is only read.
A run that is interrupted keeps its labels in OUT.partial: the same command goes on there.
"""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add this command to the parser of ``zegclip``."""
    parser = subparsers.add_parser(
        'label-bag', help='label the images of a recorded bag', description=_DESCRIPTION
    )
    parser.add_argument(
        'source', metavar='IN', help='the bag: its folder, .mcap or .db3 file, also .zstd or .lz4'
    )
    parser.add_argument('target', metavar='OUT', help='folder for the new bag')
    add_bag_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Label a bag.

    Returns:
        0, or 2 if some images or messages could not be read, or the recording has no end.

    Raises:
        ZegCLIPError: If the bag, the words or the model cannot be used.
    """
    from zegclip_core.bags.job import LabelJob
    from zegclip_core.bags.labelling import label_bag
    from zegclip_core.cli.main import USER_ERROR

    vocabulary = read_words(args)
    job = LabelJob(
        source=user_path(args.source),
        target=user_path(args.target),
        topics=tuple(args.topic),
        added=added_topics(args, vocabulary),
        load=lambda: load_segmenter(args),
        settings=label_settings(args, vocabulary),
        storage=args.storage,
        compress=args.compress,
        every=args.every,
    )
    report = label_bag(job, _warn)
    for line in report.faults(job.source):
        _warn(line)
    sys.stdout.write(f'{job.target}: {report.summary()}\n')
    return 0 if report.whole else USER_ERROR


def _warn(text: str) -> None:
    """Write a line that is no error, beside a progress bar if there is one."""
    from tqdm import tqdm

    with tqdm.external_write_mode(file=sys.stderr):
        sys.stderr.write(f'zegclip: {" ".join(text.split())}\n')
        sys.stderr.flush()

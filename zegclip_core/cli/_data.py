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
"""The options of every command that scores a model on pictures with masks."""

from __future__ import annotations

import argparse

from zegclip_core.cli._model import positive


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a dataset and a part of it."""
    parser.add_argument('--data', required=True, metavar='DIR', help='folder of the dataset')
    parser.add_argument('--split', default='val', help='part of it (default: %(default)s)')
    parser.add_argument(
        '--dataset',
        default='folder',
        metavar='NAME',
        help='what lies there: voc12, coco_stuff164k, context59, context60, a YAML file like '
        'theirs, or folder: images/, labels/ and classes.txt (default: %(default)s); shapes is '
        'made on the fly',
    )
    parser.add_argument(
        '--hold-out',
        type=positive,
        default=0,
        metavar='N',
        help='only every N-th picture (default: all)',
    )

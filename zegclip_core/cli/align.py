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
"""``zegclip align`` and ``zegclip adapt``."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from zegclip_core.cli._runs import add_run_parser, say_written

_ALIGN = """\
Bring an image tower and a text tower that were not trained together into one space, where patches
of an image can be compared with words. Both towers stay as they are: what learns is a projection
of what each puts out. It learns from any of these: images with masks, with sentences or with a
name, another model's similarities of words, and synonyms. The file that is written,
OUTPUT/NAME/NAME.safetensors, is a model for --model of other commands, and zegclip train can start
from it (model.alignment).
"""
_ADAPT = """\
Do what zegclip align does, and adapt the image tower to words as well: updates of low rank for its
last blocks learn beside the projections. They lie in the same file, and an image costs no more
with them. It starts afresh, or with initialize_from=FILE from what zegclip align has written.
"""
_MORE = """\
The configuration is a YAML file; any setting can be changed on the command line, as in
schedule.steps=100 or sentences.root=/data/captions. Checkpoints and logs lie in OUTPUT/NAME, what
frozen towers put out in OUTPUT/features (output and name are settings).
"""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add these commands to the parser of ``zegclip``."""
    for name, what, text in (
        ('align', 'bring an image tower and a text tower into one space', _ALIGN),
        ('adapt', 'the same, and adapt the image tower to words', _ADAPT),
    ):
        example = 'everyday-s' if name == 'align' else 'everyday-s-adapt'
        done = partial(run, adapt=name == 'adapt')
        add_run_parser(subparsers, name, done, what=what, text=text + _MORE, example=example)


def run(args: argparse.Namespace, *, adapt: bool) -> int:
    """Align or adapt; returns 0."""
    from zegclip_core.alignment.config import AlignConfig
    from zegclip_core.settings import read_settings
    from zegclip_core.training.config import ALIGN, find_recipe

    config = read_settings(AlignConfig, find_recipe(args.config, ALIGN), args.settings)
    from zegclip_core.alignment.run import AlignmentRun  # takes seconds; a wrong key should not

    say_written(AlignmentRun(config, adapt=adapt).train(resume=args.resume))
    return 0

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
"""``zegclip train``: train a model from a configuration."""

from __future__ import annotations

import argparse
from typing import Any

from zegclip_core.cli._reports import write_report
from zegclip_core.cli._runs import add_run_parser, is_main_process, say_written

_DESCRIPTION = """\
Train a model. The configuration is a YAML file; any setting can be changed on the command line,
as in schedule.steps=100 or train.0.root=/data/camvid. Checkpoints, logs, sample pictures, a report
(report.html) and the exported model lie in OUTPUT/NAME, the frozen tower's features in
OUTPUT/features.
"""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add this command to the parser of ``zegclip``."""
    add_run_parser(
        subparsers,
        'train',
        run,
        what='train a model',
        text=_DESCRIPTION,
        example='folder or voc12-inductive',
    )


def run(args: argparse.Namespace) -> int:
    """Train; returns 0."""
    from zegclip_core.training.config import find_recipe, load_config

    config = load_config(find_recipe(args.config), args.settings)
    from zegclip_core.training.run import Run  # takes seconds; a wrong key should not

    run = Run(config)
    say_written(run.train(resume=args.resume))
    if is_main_process():
        from zegclip_core.training.report import training_page

        write_report(run.folder / 'report.html', training_page(run.folder, config))
    return 0

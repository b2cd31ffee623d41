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
"""Several processes align as one does."""

import os
from pathlib import Path
import subprocess
import sys

import pytest
from teacher_folders import Alignments
import torch

SCRIPT = """
import open_clip, os, sys
open_clip.add_model_config(os.environ['TINY_CLIP'])
from zegclip_core.cli.main import main
sys.exit(main())
"""


def run_apart(alignments: Alignments, *arguments: str) -> None:
    """Run ``zegclip`` in a process of its own, which may start others."""
    script = alignments.out / 'run.py'
    script.write_text(SCRIPT)
    tiny = Path(alignments.clip.partition('file:')[2]).with_name('training-clip.json')
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        env={**os.environ, 'TINY_CLIP': str(tiny)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count('Wrote') == 1


@pytest.mark.slow
def test_two_processes_learn_names_as_one_with_batches_of_twice_the_size(
    alignments: Alignments,
) -> None:
    """Names alone, whose loss is a mean over the photos of a step, whoever has them."""
    only = ('masks.weight=0', 'sentences.root=""', 'geometry.root=""', 'synonyms.root=""')
    settings = (*only, 'schedule.steps=3', 'schedule.validate_every=2')
    assert alignments.run('adapt', *settings, 'name=one', 'names.batch_size=4') == 0
    config = str(alignments.out / 'align.yaml')
    two = ('name=two', 'names.batch_size=2', 'devices=2')
    run_apart(alignments, 'adapt', '--config', config, *settings, *two)
    one, other = alignments.weights('one'), alignments.weights('two')
    assert one.keys() == other.keys()
    for name, value in one.items():
        # The files have 16 bits; a step is a hundredth.
        torch.testing.assert_close(other[name], value, rtol=1e-2, atol=2e-3, msg=name)

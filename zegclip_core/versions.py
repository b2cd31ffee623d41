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
"""Which sources these are."""

from pathlib import Path
import subprocess


def git_commit() -> str:
    """Return the commit of the sources, with ``-dirty`` if they differ; empty outside of git."""
    source = Path(__file__).resolve()
    commands = (
        # An installed package may lie in a repository that is not its own.
        ('ls-files', source.name),
        ('describe', '--always', '--dirty', '--abbrev=40', '--exclude=*'),
    )
    try:
        answers = [
            subprocess.check_output(
                ('git', '-C', str(source.parent), *command), text=True, stderr=subprocess.DEVNULL
            ).strip()
            for command in commands
        ]
    except (OSError, subprocess.CalledProcessError):
        return ''  # git is not installed, or this is no repository
    return answers[-1] if all(answers) else ''

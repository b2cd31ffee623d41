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
"""Where a model comes from: configuration, commit of the sources, versions."""

from dataclasses import asdict
from importlib import metadata
from pathlib import Path
import platform
import subprocess
from typing import Any

from zegclip_core import __version__
from zegclip_core.training.config import TrainConfig

_PACKAGES = ('torch', 'torchvision', 'lightning', 'open_clip_torch', 'timm', 'numpy')


def provenance(config: TrainConfig) -> dict[str, Any]:
    """Return what is stored beside weights, as JSON can hold it."""
    return {
        'config': asdict(config),
        'git_commit': git_commit(),
        'versions': {
            'zegclip': __version__,
            'python': platform.python_version(),
            **{name: metadata.version(name) for name in _PACKAGES},
        },
    }


def git_commit() -> str:
    """Return the commit of the sources, with ``-dirty`` if they differ; empty outside of git."""
    # An installed package may lie in a repository that is not its own.
    if not _git('ls-files', Path(__file__).name):
        return ''
    return _git('describe', '--always', '--dirty', '--abbrev=40', '--exclude=*')


def _git(*arguments: str) -> str:
    """Return what git says of this folder; empty if it fails or is not installed."""
    command = ['git', '-C', str(Path(__file__).resolve().parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ''
    return done.stdout.strip() if done.returncode == 0 else ''

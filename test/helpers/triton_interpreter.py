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
"""Kernels of Triton without a GPU."""

import os
import subprocess
import sys


def interpreted(script: str) -> None:
    """Run a script in which Triton interprets its kernels on a CPU.

    In a process of its own, as Triton reads its environment when it is imported.
    """
    done = subprocess.run(
        [sys.executable, '-c', script],
        env={
            **os.environ,
            'TRITON_INTERPRET': '1',
            'PYTHONPATH': os.pathsep.join(path for path in sys.path if path),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr

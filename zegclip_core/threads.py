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
"""PyTorch's threads: how many there are, and how they wait for each other."""

import os

from zegclip_core.options import OPTIONS


def wait_without_spinning() -> None:
    """Let idle threads sleep instead of spinning, unless the user has said otherwise.

    To be called before PyTorch is imported.

    OpenMP's threads spin while they wait. Beside other busy processes, as on a robot, the one that
    they wait for then gets no core, and everything takes many times longer.
    """
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')


def use_threads(threads: int | None) -> None:
    """Set how many threads compute on a CPU, in the whole process.

    Args:
        threads: In [1, ``options.MAX_THREADS``]; ``None`` leaves it as it is.

    Raises:
        ModelError: If it is outside of that.
    """
    if threads is None:
        return
    OPTIONS['threads'].check(threads)
    import torch  # Here, since how threads wait is to be said before.

    torch.set_num_threads(threads)

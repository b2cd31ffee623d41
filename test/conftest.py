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
"""Leave out the tests that need ROS where there is none, as on a machine for training."""

from importlib.util import find_spec
from pathlib import Path

from zegclip_core.threads import wait_without_spinning

# The nodes that tests start share the cores with the tests.
wait_without_spinning()

HERE = Path(__file__).parent

collect_ignore: list[str] = []
if find_spec('rclpy') is None:
    collect_ignore = [
        path.name
        for path in HERE.glob('test_*.py')
        if 'pytest.mark.ros' in path.read_text(encoding='utf-8')
    ]

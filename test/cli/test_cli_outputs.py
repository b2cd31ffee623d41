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
"""Files that the commands write: whole or not at all."""

from pathlib import Path

import pytest
from zegclip_core.cli import _outputs


def break_off(target: Path) -> None:
    with _outputs.replacing(target) as partial:
        partial.write_text('half')
        raise RuntimeError


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / 'result.json'
    target.write_text('old')
    with pytest.raises(TypeError):
        _outputs.write_json(target, {'not JSON': object()})
    with pytest.raises(RuntimeError):
        break_off(target)
    assert target.read_text() == 'old'
    assert [path.name for path in tmp_path.iterdir()] == ['result.json']

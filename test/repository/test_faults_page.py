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
"""The page says what fails and which test shows it; these tests exist."""

from pathlib import Path
import re

ROOT = Path(__file__).resolve().parents[2]


def test_each_fault_names_test_files_that_exist() -> None:
    page = (ROOT / 'docs' / 'reliability.md').read_text('utf-8')
    table = page.partition('\n## Faults\n')[2].partition('\n### ')[0]
    _, _, *rows = [line for line in table.splitlines() if line.startswith('|')]
    assert len(rows) > 10
    known = {path.name for path in (ROOT / 'test').rglob('test_*.py')}
    for row in rows:
        shown = row.split('|')[3]
        named = re.findall(r'`(test_\w+\.py)`', shown)
        assert named or '`make ' in shown, row
        assert set(named) <= known, row


def test_each_fault_on_a_gpu_names_tests_that_exist() -> None:
    page = (ROOT / 'docs' / 'reliability.md').read_text('utf-8')
    table = page.partition('<!-- gpu-faults:begin -->')[2].partition('<!-- gpu-faults:end -->')[0]
    _, _, *rows = table.strip().splitlines()
    assert len(rows) > 10
    text = '\n'.join(path.read_text('utf-8') for path in (ROOT / 'test').rglob('test_*.py'))
    known = set(re.findall(r'^def (test_\w+)\(', text, flags=re.MULTILINE))
    for row in rows:
        named = re.findall(r'`(test_\w+)`', row.split('|')[3])
        assert named, row
        assert set(named) <= known, row

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
"""The page on models says what the code does: its references parse and its example runs."""

from pathlib import Path
import re

import pytest
import yaml
from zegclip_core import templates
from zegclip_core.references import GRAMMAR, parse_reference
from zegclip_core.templates import resolve_templates, template_names

PAGE = (Path(__file__).parents[1] / 'docs' / 'models.md').read_text('utf-8')


def code_block(language: str) -> str:
    block = re.search(rf'```{language}\n(.*?)```', PAGE, flags=re.DOTALL)
    assert block is not None
    return block[1]


def test_every_reference_on_the_page_parses() -> None:
    found = re.findall(r'`((?:open_clip|timm|package):[^`]+)`', PAGE)
    assert len(found) > 8
    for reference in found:
        parse_reference(reference)


def test_every_form_of_a_reference_is_on_the_page() -> None:
    for form in re.findall(r'\w+:[A-Z]\S*?(?=,|\s|$)', GRAMMAR):
        assert f'`{form}`' in PAGE


def test_every_template_set_is_on_the_page_with_its_size() -> None:
    rows = dict(re.findall(r'^\| `(\w+)` \| (\d+) \|', PAGE, flags=re.MULTILINE))
    assert rows == {name: str(len(resolve_templates(name))) for name in template_names()}


def test_templates_of_the_yaml_example_can_be_used() -> None:
    texts = yaml.safe_load(code_block('yaml'))['towers']['templates']
    assert resolve_templates(texts) == ('a photo of a {}.', 'a {} on a factory floor.')


def test_python_example_prints_what_it_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(templates, '_named', dict(templates._named))
    source = code_block('python')
    exec(compile(source, 'docs/models.md', 'exec'), {})
    assert capsys.readouterr().out.strip() == source.rpartition('# ')[2].strip()

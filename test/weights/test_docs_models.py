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
"""The page on models says what the code does: names and references parse, examples run."""

from pathlib import Path
import re

import huggingface_hub
import pytest
from tiny_clips import NAME, write_tiny_clip
import yaml
from zegclip_core.cli.main import main
from zegclip_core.loading import NEGATIVES, SHORT_SIDE, TEMPLATES
from zegclip_core.options import ATTENTIONS
from zegclip_core.segmenter import Segmenter
from zegclip_core.text import templates
from zegclip_core.text.templates import resolve_templates, template_names
from zegclip_core.weights import clip as clip_weights
from zegclip_core.weights.names import GRAMMAR, parse_model, parse_reference

PAGE = (Path(__file__).parents[2] / 'docs' / 'models.md').read_text('utf-8')


def code_blocks(language: str) -> list[str]:
    return re.findall(rf'```{language}\n(.*?)```', PAGE, flags=re.DOTALL)


def table_after(heading: str) -> dict[str, list[str]]:
    """Return the rows of the first table below a heading, by their first cell."""
    section = PAGE.partition(f'## {heading}\n')[2]
    table = section.partition('\n\n| ')[2].partition('\n\n')[0]
    rows = [line.strip('| ').split(' | ') for line in table.splitlines()[2:]]
    return {first.strip('`'): others for first, *others in rows}


def test_every_example_of_a_model_name_is_of_its_form() -> None:
    kinds = {
        form: parse_model(example.strip('`'))
        for form, (example, _) in table_after('Naming a model').items()
    }
    assert [name.file is not None for name in kinds.values()] == [True, True, False, False, True]
    assert [name.clip is not None for name in kinds.values()] == [False, False, True, True, True]


def test_every_reference_on_the_page_parses() -> None:
    found = re.findall(r'`((?:open_clip|tips|timm|package):[^`]+)`', PAGE)
    assert len(found) > 8
    for reference in found:
        parse_reference(reference)


def test_every_form_of_a_reference_is_on_the_page() -> None:
    for form in re.findall(r'\w+:[A-Z]\S*?(?=,|\s|$)', GRAMMAR):
        assert f'`{form}`' in PAGE


def test_every_attention_is_on_the_page() -> None:
    rows = table_after('CLIP without training')
    assert sorted(row.partition('`')[0] for row in rows) == sorted(ATTENTIONS)


def test_settings_of_clip_without_training_are_on_the_page() -> None:
    section = PAGE.partition('| setting |')[2].partition('\n\n')[0]
    rows = dict(re.findall(r'^\| ([a-z ]+) \| (.*?) \|', section, flags=re.MULTILINE))
    assert rows['short side'] == str(SHORT_SIDE)
    assert rows['templates'] == f'`{TEMPLATES}` ({len(resolve_templates(TEMPLATES))})'
    assert rows['negative words'] == ', '.join(NEGATIVES)


def test_list_of_models_is_as_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_CACHE', str(tmp_path))
    assert main(['models']) == 0
    shown = capsys.readouterr().out.replace(str(tmp_path), '~/.cache/huggingface/hub')
    assert shown == code_blocks('text')[0]


def test_error_without_a_network_is_as_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_CACHE', str(tmp_path))
    monkeypatch.setattr(clip_weights, 'hub_is_reachable', lambda: False)
    arguments = ['--model', 'ViT-B-16/openai', '--classes', 'cat', '--out', str(tmp_path / 'out')]
    photo = tmp_path / 'photo.png'
    photo.touch()
    assert main(['segment', str(photo), *arguments]) == 2
    error = capsys.readouterr().err.replace(str(tmp_path), '~/.cache/huggingface/hub')
    error = re.sub(r'https://[^/]+/', 'https://.../', error)
    assert error.split() == code_blocks('text')[1].split()


def test_every_template_set_is_on_the_page_with_its_size() -> None:
    rows = dict(re.findall(r'^\| `(\w+)` \| (\d+) \|', PAGE, flags=re.MULTILINE))
    assert rows == {name: str(len(resolve_templates(name))) for name in template_names()}


def test_templates_of_the_yaml_example_can_be_used() -> None:
    texts = yaml.safe_load(code_blocks('yaml')[0])['towers']['templates']
    assert resolve_templates(texts) == ('a photo of a {}.', 'a {} on a factory floor.')


def test_python_example_with_clip_runs(tmp_path: Path) -> None:
    file = write_tiny_clip(tmp_path / 'clip.safetensors')
    source = code_blocks('python')[0].replace('ViT-B-16/openai', f'{NAME}@{file}')
    names: dict[str, Segmenter] = {}
    exec(compile(source, 'docs/models.md', 'exec'), {}, names)
    segmenter = names['segmenter']
    assert len(segmenter.text_encoder.templates) == 80
    assert segmenter.network.config.attention == 'sclip'


def test_python_example_with_templates_prints_what_it_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(templates, '_named', dict(templates._named))
    source = code_blocks('python')[1]
    exec(compile(source, 'docs/models.md', 'exec'), {})
    assert capsys.readouterr().out.strip() == source.rpartition('# ')[2].strip()

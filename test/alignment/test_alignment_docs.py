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
"""The page on aligning towers and the shipped configurations say what the code takes."""

import json
from pathlib import Path
import re

import pytest
import torch
import yaml
from zegclip_core.alignment.config import AlignConfig, SentencesConfig
from zegclip_core.alignment.figures import Naming, Retrieval
from zegclip_core.model.alignment import AlignedTowers, AlignmentConfig
from zegclip_core.model.vit import VisionConfig
from zegclip_core.settings import read_settings, validated
from zegclip_core.text.withheld import Withheld
from zegclip_core.training.config import ALIGN, find_recipe, recipe_names
from zegclip_core.weights.names import parse_reference

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / 'docs' / 'alignment.md').read_text(encoding='utf-8')
EXAMPLES = re.findall(r'^```yaml\n(.*?)^```', PAGE, flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r'^#+ (.*)$', page.read_text(encoding='utf-8'), flags=re.MULTILINE)
    plain = (re.sub(r'[^\w\- ]', '', heading.lower()) for heading in headings)
    return {heading.replace(' ', '-') for heading in plain}


@pytest.mark.parametrize('name', recipe_names(ALIGN))
def test_a_shipped_configuration_is_valid_and_stays_itself_when_recorded(name: str) -> None:
    config = read_settings(AlignConfig, find_recipe(name, ALIGN))
    record = json.loads(json.dumps(config.model_dump(by_alias=True)))
    assert validated(AlignConfig, record) == config


@pytest.mark.parametrize('name', recipe_names(ALIGN))
def test_the_page_names_each_folder_and_words_file_that_a_shipped_one_reads(name: str) -> None:
    config = read_settings(AlignConfig, find_recipe(name, ALIGN))
    parts = (config.sentences, config.names, config.geometry, config.synonyms)
    folders = {part.root for part in (*parts, *config.masks.sources, *config.validation)}
    table = PAGE.partition('| below `data/` |')[2].partition('\n\n')[0]
    assert {f'`{folder.removeprefix("data/")}`' for folder in folders} <= set(
        re.findall(r'`\w+`', table)
    )
    assert all((ROOT / source.words).is_file() for source in config.masks.sources)


@pytest.mark.parametrize('text', [text for text in EXAMPLES if 'towers:' in text])
def test_a_whole_configuration_on_the_page_is_valid(text: str, tmp_path: Path) -> None:
    path = tmp_path / 'mine.yaml'
    path.write_text(text, encoding='utf-8')
    config = read_settings(AlignConfig, path)
    assert config.teachers == ('masks',)
    for reference in (config.towers.image, config.towers.text):
        parse_reference(reference)


def test_the_example_of_withheld_words_is_valid_and_withholds() -> None:
    (text,) = (text for text in EXAMPLES if text.startswith('withheld:'))
    values = yaml.safe_load(text)
    assert validated(SentencesConfig, values['sentences']).of_withheld == 'remove'
    withheld = Withheld(values['withheld'])
    assert withheld.is_withheld('couches')
    assert not withheld.is_withheld('cat')


def test_every_teacher_is_in_the_table() -> None:
    table = PAGE.partition('| teacher |')[2].partition('\n\n')[0]
    shown = re.findall(r'^\| `(\w+)`', table, flags=re.MULTILINE)
    everything = ['masks.sources=[{root: DATA, split: train}]']
    roots = ('sentences', 'names', 'geometry', 'synonyms')
    everything += [f'{name}.root=DATA' for name in roots]
    config = read_settings(AlignConfig, find_recipe('everyday-s', ALIGN), everything)
    assert tuple(shown) == config.teachers


def test_every_figure_is_in_the_table() -> None:
    table = PAGE.partition('| figure |')[2].partition('\n\n')[0]
    shown = re.findall(r'`(\w+)`(?=[^|]*\|[^|]*\|$)', table, flags=re.MULTILINE)
    text = torch.eye(2, 16)
    tokens = text.reshape(2, 16, 1).movedim(0, -1)[None]  # (1, 16, 1, 2): what is left and right
    retrieval = Retrieval(text)
    retrieval.update(tokens, text[:1], 0)
    towers = AlignedTowers(AlignmentConfig(VisionConfig(8, 32, 1, 4, 16, (4, 4)), 48, 16))
    naming = Naming([0, 1], text, frozenset({1}), ['cat', 'sofa'])
    naming.update(towers, tokens, torch.tensor([[[0, 1]]], dtype=torch.uint8))
    assert shown == [*retrieval.figures(), *naming.figures()]


def test_keys_on_the_page_are_settings() -> None:
    schema = AlignConfig.model_json_schema()
    for part, key in re.findall(r'`(space|masks|sentences|names)\.(\w+)', PAGE):
        (definition,) = (
            entry
            for name, entry in schema['$defs'].items()
            if name == f'{part.capitalize()}Config'
        )
        assert key in definition['properties'], f'{part}.{key}'


def test_links_to_sections_lead_somewhere() -> None:
    for page, anchor in re.findall(r'\]\((\w+\.md)#([\w-]+)\)', PAGE):
        assert anchor in anchors(ROOT / 'docs' / page), f'{page}#{anchor}'


def test_places_for_measured_figures_are_marked() -> None:
    for name in ('adaptation', 'figures'):
        assert PAGE.index(f'<!-- {name}:begin -->') < PAGE.index(f'<!-- {name}:end -->')

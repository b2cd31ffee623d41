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
"""``zegclip models`` lists what can be used: at once, with true sizes, and nothing else."""

import json
from pathlib import Path
import subprocess
import sys

import huggingface_hub
import open_clip
import pytest
import timm
import torch
from zegclip_core.cli.main import main
from zegclip_core.text.towers import check_text_tower
from zegclip_core.weights.about import TIMM_ENTRIES
from zegclip_core.weights.catalogue import (
    cache_folder,
    clip_entries,
    tips_entries,
    TOKENIZER_FILES,
    unusable,
)
from zegclip_core.weights.image_towers import check_image_tower
from zegclip_core.weights.names import bundled_models, parse_model
from zegclip_core.weights.tips import FILE, TOKENIZER_FILE

CLIPS = list(clip_entries())
ENTRIES = [*CLIPS, *tips_entries()]


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_CACHE', str(tmp_path))


def listed(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(['models', *options]) == 0
    return capsys.readouterr().out


def test_list_does_not_import_torch() -> None:
    source = (
        'import sys\n'
        'from zegclip_core.cli.main import main\n'
        "main(['models'])\n"
        "print('slow' if 'torch' in sys.modules else 'quick')\n"
    )
    done = subprocess.run([sys.executable, '-c', source], capture_output=True, text=True)
    assert done.stdout.endswith('quick\n'), done.stderr


def test_every_listed_clip_passes_the_checks_of_loading() -> None:
    for entry in ENTRIES:
        reference = parse_model(entry.name).without_training
        assert reference is not None
        check_image_tower(reference)
        check_text_tower(reference)
        known = open_clip.is_pretrained_cfg(reference.name, reference.tag)
        assert known == (entry in CLIPS)


def test_list_has_every_plain_clip_of_open_clip() -> None:
    names = {entry.name for entry in CLIPS}
    for name, tag in open_clip.list_pretrained():
        is_vit = name.startswith(('ViT-', 'EVA02-')) and not name.endswith('-quickgelu')
        special = any(part in name for part in ('CLIPA', 'worldwide', 'EVA02-E'))
        assert (f'{name}/{tag}' in names) == (is_vit and not special)


def test_every_published_clip_that_is_not_listed_says_why() -> None:
    listed_models = {entry.name.partition('/')[0] for entry in ENTRIES}
    refused = {}
    for name, _ in open_clip.list_pretrained():
        config = open_clip.get_model_config(name)
        if name not in listed_models and (reason := unusable(config)):
            refused[name] = reason
            assert '; ' in reason or 'no ViT' in reason, (name, reason)
    for name, why in {
        'MobileCLIP2-S0': 'made of convolutions',
        'MobileCLIP2-B': 'several convolutions in a row',
        'ViT-L-14-CLIPA': 'mean of the patches before its last norm',
        'EVA02-E-14': 'norms stand behind',
        'ViT-H-14-worldwide': 'tokenizer that is not read here',
        'nllb-clip-base-siglip': 'model of transformers',
    }.items():
        assert why in refused[name]


def test_sizes_are_those_of_open_clips_models() -> None:
    found = {entry.name.partition('/')[0]: entry for entry in CLIPS}
    assert len(found) >= 10
    for name, entry in found.items():
        config = open_clip.get_model_config(name)
        kind = open_clip.CustomTextCLIP if config.pop('custom_text', False) else open_clip.CLIP
        with torch.device('meta'):
            model = kind(**config)
        assert entry.parameters == sum(part.numel() for part in model.parameters())
        assert entry.size == 4 * entry.parameters


def test_json_names_what_is_bundled_local_and_downloadable(
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = cache_folder('timm/vit_base_patch32_clip_224.openai')
    folder.mkdir(parents=True)
    (folder / 'open_clip_pytorch_model.bin').write_bytes(b'x' * 123)
    rows = json.loads(listed(capsys, '--json'))
    assert {row['name']: Path(row['path']) for row in rows['bundled']} == bundled_models()
    (local,) = rows['local']
    assert (local['name'], local['bytes']) == ('ViT-B-32/openai', 123)
    assert local['url'].endswith('open_clip_pytorch_model.bin')
    assert len(rows['downloadable']) == len(ENTRIES) - 1
    assert folder.is_relative_to(rows['cache'])
    assert local['folder'] == str(folder)


def test_json_says_of_every_family_what_is_to_be_known(
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = json.loads(listed(capsys, '--json'))
    clips, towers = content['downloadable'], content['image_towers']
    assert {row['family'] for row in clips} == {
        *('CLIP', 'DFN', 'MetaCLIP', 'SigLIP', 'SigLIP 2', 'EVA-02', 'TIPSv2'),
    }
    assert {row['family'] for row in towers} == {'DINOv2', 'DINOv2, registers', 'DINOv3'}
    for row in (*clips, *towers):
        assert row['licence'], row
        assert row['image_size'] >= row['patch_size'] > 0
        assert Path(row['folder']).is_relative_to(content['cache'])
        assert row['gated'] is False
    by_name = {row['name']: row for row in clips}
    second = by_name['ViT-B-16-SigLIP2/webli']
    assert (second['languages'], second['patch_size'], second['image_size']) == ('many', 16, 224)
    assert [url.rpartition('/')[2] for url in second['urls'][1:]] == [*TOKENIZER_FILES]
    assert by_name['ViT-B-16-SigLIP/webli']['languages'] == 'English'
    tips = by_name['TIPSv2-B-14/webli']
    assert [url.rpartition('/')[2] for url in tips['urls']] == [FILE, TOKENIZER_FILE]
    assert (tips['patch_size'], tips['image_size'], tips['languages']) == (14, 448, 'English')
    licence = timm.get_pretrained_cfg('vit_base_patch14_reg1_tipsv2.webli').license
    assert tips['licence'].lower() == licence


def test_licences_and_sizes_are_those_that_timm_says() -> None:
    published, compared = set(timm.list_pretrained()), 0
    for entry in CLIPS:
        copy = entry.urls[0].split('/')[4]
        # timm's table has another licence for OpenAI's weights than OpenAI's own, MIT.
        if copy in published and not entry.name.endswith('/openai'):
            licence = timm.get_pretrained_cfg(copy).license
            assert entry.licence.lower().replace(' ', '-') == licence, entry.name
            compared += 1
    assert compared >= 5
    for tower in TIMM_ENTRIES:
        known = timm.get_pretrained_cfg(tower.name)
        assert tower.licence.lower() == known.license.removesuffix('-license')
        with torch.device('meta'):
            model = timm.create_model(tower.name, num_classes=0)
        assert tower.parameters == sum(part.numel() for part in model.parameters())
        assert model.patch_embed.img_size == (tower.image_size,) * 2
        assert model.patch_embed.patch_size == (tower.patch_size,) * 2


def test_text_shows_one_tag_of_each_clip_or_all(capsys: pytest.CaptureFixture[str]) -> None:
    short, long = listed(capsys), listed(capsys, '--all')
    assert '  everyday-s' in short
    line = f'  {"ViT-B-16/openai":44}  598 MB  16/224   MIT           English'
    assert line in short.splitlines()
    for family in ('ViT-B-16-SigLIP/webli', 'ViT-B-16-SigLIP2/webli', 'EVA02-B-16/merged2b'):
        assert family in short
    assert 'TIPSv2-L-14/webli' in short
    for tower in TIMM_ENTRIES:
        assert f'  timm:{tower.name} ' in short
    assert 'ViT-B-16/dfn2b' not in short
    for entry in ENTRIES:
        assert f'  {entry.name} ' in long
    missing = len(ENTRIES) - sum(
        line.endswith(('English', 'many')) and '/' in line for line in short.splitlines()
    )
    assert f'and {missing} further tags' in short

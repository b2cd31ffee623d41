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
"""The table of families: towers are of the published sizes, and every family has a row."""

import argparse
from dataclasses import replace

from benchmarks.families import base_families, PAGE, table
import pytest
import timm
import torch
from transformers import Tipsv2VisionConfig, Tipsv2VisionModel
from zegclip_core.errors import ModelError
from zegclip_core.model.vit import VisionTransformer

FAMILIES = {family.title: family for family in base_families()}
SOURCES = {
    'CLIP, DFN, MetaCLIP': 'vit_base_patch16_clip_quickgelu_224',
    'SigLIP, SigLIP 2': 'vit_base_patch16_siglip_224',
    'EVA-02 CLIP': 'eva02_base_patch16_clip_224',
    'DINOv2': 'vit_base_patch14_dinov2',
    'DINOv2 with registers': 'vit_base_patch14_reg4_dinov2',
    'DINOv3': 'vit_base_patch16_dinov3',
}
OPTIONS = argparse.Namespace(device='cpu', precision='fp32', rounds=2)


@pytest.mark.parametrize('title', FAMILIES)
def test_towers_are_of_the_published_sizes(title: str) -> None:
    vision = FAMILIES[title].vision
    with torch.device('meta'):
        own = VisionTransformer(vision)
        if title == 'TIPSv2':
            source = Tipsv2VisionModel(Tipsv2VisionConfig())
        else:
            has_head = {'num_classes': vision.embed_dim} if vision.embed_dim else {}
            source = timm.create_model(SOURCES[title], **{'num_classes': 0, **has_head})
    ours = sum(part.numel() for part in own.parameters())
    theirs = sum(part.numel() for part in source.parameters())
    # Biases that are 0 and rows of prefix tokens without a place are left out by the sources,
    # a mask token and a head's bias by ours.
    assert abs(ours - theirs) <= 40_000


def test_every_family_has_a_row_on_its_patch_grid() -> None:
    small = [
        replace(family, vision=replace(family.vision, width=64, heads=2, mlp_width=96, layers=2))
        for family in FAMILIES.values()
    ]
    rows = table(small, OPTIONS).splitlines()
    assert [row.split('|')[1].strip() for row in rows[2:9]] == [*FAMILIES]
    sides = {row.split('|')[1].strip(): int(row.split('|')[2]) for row in rows[2:9]}
    assert sides == {title: 518 if 'v2' in title else 512 for title in FAMILIES}
    for row in rows[2:9]:
        *_, ratio, same, _ = row.split('|')
        assert float(ratio) > 0
        assert 50 < float(same.strip().rstrip('%')) <= 100
    assert '20 words' in rows[-1]


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ModelError):
        table([], argparse.Namespace(**{**vars(OPTIONS), 'device': 'abacus'}))


def test_the_page_has_its_place() -> None:
    assert PAGE.read_text('utf-8').count('<!-- families:begin -->') == 1

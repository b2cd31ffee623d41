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
"""The words that are shipped: they fit their datasets, and some are left to be measured with."""

from itertools import chain
from pathlib import Path

import pytest
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights
from zegclip_core.data.datasets import load_spec
from zegclip_core.evaluation.choices import chosen_distractors, chosen_words
from zegclip_core.settings import read_yaml
from zegclip_core.text.phrases import standard_form
from zegclip_core.training.queries import ClassWords, read_words

WORDS = Path(__file__).resolve().parents[2] / 'config' / 'words'
VOC = tuple(load_spec('voc12').classes)
COCO = tuple(
    name
    for name in FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta['categories']
    if name not in {'__background__', 'N/A'}
)
CAMVID = (
    'sky', 'building', 'pole', 'road', 'pavement', 'tree', 'traffic sign', 'fence', 'car',
    'pedestrian', 'bicyclist',
)  # fmt: skip
PHOTOS = tuple(read_yaml(WORDS / 'photos.yaml'))
CLASSES = {'everyday': COCO, 'street': CAMVID, 'voc': VOC, 'photos': PHOTOS}
RARE = (
    'firmament', 'edifice', 'mast', 'carriageway', 'promenade', 'woodland', 'signboard',
    'palisade', 'coupe', 'bicycle rider',
)  # fmt: skip
"""Words for CamVid's classes that the model card measures with."""
UNHEARD = ('little bird', 'glass bottle', 'seat')
"""Words of voc-other.txt that no mask is trained under."""


def words_of(name: str) -> tuple[ClassWords, ...]:
    return read_words(str(WORDS / f'{name}.yaml'), CLASSES[name])


def test_every_words_file_is_known_here() -> None:
    assert len(COCO) == 80
    assert {path.stem for path in WORDS.glob('*.yaml')} == set(CLASSES)


@pytest.mark.parametrize('name', CLASSES)
def test_every_class_has_phrases_of_its_own(name: str) -> None:
    words = words_of(name)
    assert [entry.name for entry in words if len(entry.phrases) < 2] == []
    owners: dict[str, str] = {}
    for entry in words:
        assert len(set(entry.phrases)) == len(entry.phrases), entry
        for phrase in (entry.name, *entry.phrases):
            # What one class is called must not be another one's negative.
            assert owners.setdefault(standard_form(phrase), entry.name) == entry.name, phrase


def test_each_class_of_voc_has_four_to_eight_phrases() -> None:
    assert all(4 <= len(entry.phrases) <= 8 for entry in words_of('voc'))


@pytest.mark.parametrize('name', CLASSES)
def test_what_overlaps_is_a_class_of_another_dataset(name: str) -> None:
    others = set(chain.from_iterable(names for key, names in CLASSES.items() if key != name))
    for entry in words_of(name):
        assert set(entry.overlaps) <= others, entry.name


def test_a_thing_of_two_datasets_is_never_a_negative_of_itself() -> None:
    known = {entry.name: entry.overlaps for entry in words_of('voc')}
    for voc, other in (
        ('aeroplane', 'airplane'), ('motorbike', 'motorcycle'), ('sofa', 'couch'),
        ('pottedplant', 'potted plant'), ('diningtable', 'dining table'), ('tvmonitor', 'tv'),
        ('person', 'pedestrian'), ('bicycle', 'bicyclist'),
    ):  # fmt: skip
        assert other in known[voc]


def test_words_that_are_measured_with_are_in_no_training() -> None:
    entries = chain.from_iterable(words_of(name) for name in CLASSES)
    trained = {standard_form(text) for entry in entries for text in (entry.name, *entry.phrases)}
    assert [word for word in (*RARE, *UNHEARD) if standard_form(word) in trained] == []
    comment = (WORDS / 'voc.yaml').read_text(encoding='utf-8').partition('aeroplane:')[0]
    comment = comment.replace('\n# ', ' ')
    assert ', '.join(UNHEARD) in comment


def test_the_other_words_for_voc_can_be_asked_for() -> None:
    other = chosen_words(VOC, file=WORDS / 'voc-other.txt')
    assert set(UNHEARD) < set(other.names)
    assert not set(other.names) & set(VOC)
    known = words_of('voc')
    for word, entry in zip(other.names, known, strict=True):
        # In VOC's order: what is trained at all is trained as the same class.
        phrases = {standard_form(text) for text in entry.phrases}
        assert word in UNHEARD or standard_form(word) in phrases


def test_the_absent_words_are_none_of_vocs() -> None:
    words = chosen_words(VOC, file=WORDS / 'voc-other.txt')
    absent = chosen_distractors(VOC, words, file=WORDS / 'absent.txt')
    trained = {
        standard_form(text) for entry in words_of('voc') for text in (entry.name, *entry.phrases)
    }
    assert len(absent) == 5
    assert not trained & {standard_form(entry.name) for entry in absent}

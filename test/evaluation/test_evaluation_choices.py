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
"""What a user may say about classes: which are seen, and words for them."""

from pathlib import Path

import pytest
from zegclip_core.errors import DataError, VocabularyError
from zegclip_core.evaluation.choices import choose_seen, chosen_words

CLASSES = ('road', 'car', 'tree', 'sky')


@pytest.mark.parametrize(
    ('seen', 'unseen', 'expected'),
    [
        ('', '', 'road tree'),
        ('sky, road', '', 'road sky'),
        ('', 'sky,car', 'road tree'),
        ('road, tree', 'sky, car', 'road tree'),
        ('all', '', 'road car tree sky'),
        ('', 'all', ''),
    ],
)
def test_seen_classes_are_chosen(seen: str, unseen: str, expected: str) -> None:
    chosen = choose_seen('folder', CLASSES, seen=seen, unseen=unseen, known=('tree', 'road', 'x'))
    assert chosen == tuple(expected.split())


def test_all_classes_are_seen_if_the_model_knows_none_of_them() -> None:
    assert choose_seen('folder', CLASSES, known=('cat',)) == CLASSES
    assert choose_seen('folder', CLASSES) == CLASSES


def test_a_split_of_the_dataset_names_classes() -> None:
    classes = ('bird', 'sheep', 'sofa', 'person')
    assert choose_seen('voc12', classes, unseen='zegclip') == ('bird', 'person')
    assert choose_seen('voc12', classes, unseen='zegclip, bird') == ('person',)
    assert choose_seen('voc12', classes, seen='zegclip') == ('bird', 'person')
    assert choose_seen('voc12', classes, seen='zegclip', unseen='zegclip') == ('bird', 'person')


@pytest.mark.parametrize(
    ('seen', 'unseen', 'message'),
    [
        ('road, boat', '', "--seen to name classes of road, car, .* got 'boat'"),
        ('', 'zegclip', "--unseen to name classes .* got 'zegclip'"),
        ('road, car', 'sky', "each of the 4 classes once, but 'tree' is in neither"),
        ('road, car, tree', 'sky, car', "'car' is in both"),
    ],
)
def test_classes_that_do_not_fit_are_refused(seen: str, unseen: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        choose_seen('folder', CLASSES, seen=seen, unseen=unseen)


def test_renames_are_read_and_checked() -> None:
    renamed = chosen_words(CLASSES, 'car = automobile,tree=bush')
    assert renamed.names == ('road', 'automobile', 'bush', 'sky')
    assert chosen_words(CLASSES).names == CLASSES
    for text in ('boat=ship', 'car', 'car='):
        with pytest.raises(DataError, match='class=word'):
            chosen_words(CLASSES, text)
    with pytest.raises(VocabularyError, match='twice'):
        chosen_words(CLASSES, 'car=road')


def test_a_words_file_of_another_length_is_refused(tmp_path: Path) -> None:
    file = tmp_path / 'words.txt'
    file.write_text('street\nautomobile, bus\nbush\nclouds\n')
    with pytest.raises(DataError, match=r'words for 4 classes, .* but got 5 \(a comma begins'):
        chosen_words(CLASSES, file=file)
    file.write_text('street\nautomobile\nbush\nclouds\n')
    assert chosen_words(CLASSES, file=file).names == ('street', 'automobile', 'bush', 'clouds')


def test_a_dataset_s_own_names_in_a_file_are_encoded_as_published(tmp_path: Path) -> None:
    file = tmp_path / 'words.txt'
    file.write_text('clouds\nautomobiles\n')
    words = chosen_words(('clouds', 'cars'), file=file)
    assert words.encoded_phrases() == (('clouds',), ('automobile',))

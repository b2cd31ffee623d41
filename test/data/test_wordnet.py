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
"""WordNet, read from a few lines in its own format."""

from pathlib import Path

import pytest
from teacher_folders import write_wordnet
from zegclip_core.data.wordnet import read_synsets, Synset
from zegclip_core.errors import DataError


@pytest.fixture
def wordnet(tmp_path: Path) -> Path:
    return write_wordnet(tmp_path / 'wordnet')


def test_what_can_be_seen_is_read_by_its_first_meaning(wordnet: Path) -> None:
    """No name of one place, no idea, and no mug among faces; counts of words are hexadecimal."""
    assert read_synsets(wordnet) == (
        Synset(('sofa', 'couch', 'lounge'), 'an upholstered seat'),
        Synset(('cup', 'mug'), 'a container'),
        Synset(('telly', 'goggle box'), 'a device with a screen'),
        Synset(('cat', 'true cat'), 'a feline mammal'),
        Synset(('screen door', 'wire door'), 'a door of wire'),
        Synset(('trainer', 'coach'), 'someone who teaches others'),
        Synset(('countenance', 'a8'), 'the face'),
    )


@pytest.mark.parametrize('name', ['data.noun', 'index.noun'])
def test_a_file_that_is_missing_or_another_is_named(wordnet: Path, name: str) -> None:
    path = wordnet / name
    for line in ('cup x\n', 'cup n none of these fields\n', '00000002 06 n zz cup 0 000 | a\n'):
        path.write_text(line)
        with pytest.raises(DataError, match=f'{name}.* to be WordNet, but: ') as caught:
            read_synsets(wordnet)
        assert '\n' not in str(caught.value)
    path.unlink()
    with pytest.raises(DataError, match=f'{name}, but there is no such file'):
        read_synsets(wordnet)


def test_a_synset_without_a_definition_is_refused(wordnet: Path) -> None:
    (wordnet / 'data.noun').write_text('00000002 06 n 02 cup 0 mug 0 000\n')
    with pytest.raises(DataError, match='to be WordNet'):
        read_synsets(wordnet)

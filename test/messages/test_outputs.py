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
"""Fields of what is published, against the vocabulary's ids and closed forms."""

import json

import numpy as np
from zegclip_core.images.regions import find_regions
from zegclip_core.messages.outputs import announcement, class_map, region_list, score_fields
from zegclip_core.segmentation import Segmentation
from zegclip_core.text.vocabulary import Vocabulary

WORDS = Vocabulary.parse('[{"name": "cat", "id": 9}, {"name": "dog", "id": 0}]')


def test_scores_of_8_bits_are_rounded_and_keep_both_ends() -> None:
    scores = np.array([[0.0, 1.0, 0.5, 1 / 255, 0.75]], np.float32)
    fields = score_fields(scores, 'mono8')
    assert (fields.encoding, fields.step, fields.height, fields.width) == ('mono8', 5, 1, 5)
    assert fields.data.tolist() == [0, 255, 128, 1, 191]
    assert score_fields(scores).encoding == '32FC1'


def test_names_go_with_the_ids_of_the_words() -> None:
    assert class_map(WORDS) == [
        {'class_id': 9, 'class_name': 'cat'},
        {'class_id': 0, 'class_name': 'dog'},
    ]
    state = announcement(WORDS, ['/a', '/b'], version=1, stamp=None, requested=1)
    rows = [(one['id'], one['name'], one['topic']) for one in state['classes']]
    assert rows == [(9, 'cat', '/a'), (0, 'dog', '/b')]


def test_regions_are_told_with_the_ids_of_the_words() -> None:
    labels = np.array([[1, 1, 255], [1, 255, 0]], np.uint8)
    found = Segmentation(labels, np.full((2, 3), 0.5, np.float32), WORDS)
    told = json.loads(json.dumps(region_list(find_regions(found), found)))
    assert (told['width'], told['height']) == (3, 2)
    cat, dog = told['regions']
    assert cat == {
        **{'id': 9, 'name': 'cat', 'box': [2, 1, 1, 1], 'center': [2.0, 1.0]},
        **{'area': 1, 'score': 0.5},
    }
    assert (dog['id'], dog['box'], dog['area']) == (0, [0, 0, 2, 2], 3)
    assert dog['center'] == [0.33, 0.33]

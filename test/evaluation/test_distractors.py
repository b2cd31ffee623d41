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
"""Words that no picture shows: they compete with the classes, and what they paint is told."""

import math
from pathlib import Path

import numpy as np
import pytest
from test_evaluation import Answers, Made
import torch
from zegclip_core.errors import DataError, VocabularyError
from zegclip_core.evaluation.choices import chosen_distractors, chosen_words
from zegclip_core.evaluation.evaluate import evaluate, find_symptoms
from zegclip_core.segmentation import Segmentation
from zegclip_core.segmenter import EncodedVocabulary
from zegclip_core.text.vocabulary import Vocabulary, VocabularyClass

CLASSES = ('road', 'car', 'tree', 'sky')
SOFA, PIZZA = (VocabularyClass(name) for name in ('sofa', 'pizza'))


def test_shares_are_of_all_pixels_and_a_painted_pixel_is_wrong() -> None:
    # Asked for are road, car, tree, sky, sofa (4), pizza (5): 3 of 8 pixels are painted.
    answers = Answers([0, 4, 4, 255], [1, 1, 5, 3])
    dataset = Made([0, 0, 255, 255], [1, 255, 1, 3])
    result = evaluate(answers, dataset, [0, 1], distractors=(SOFA, PIZZA))
    assert answers.asked == [(*CLASSES, 'sofa', 'pizza')] * 2
    assert result.painted == {'sofa': 2 / 8, 'pizza': 1 / 8}
    assert result.painted_together == 3 / 8
    # Five pixels are labelled in the masks; of each two of road and car, one was painted over.
    assert result.metrics.pixel_accuracy == 3 / 5
    assert result.confusion.matrix[:, -1].tolist() == [1, 1, 0, 0]
    assert result.to_dict()['painted_by_absent_words'] == {
        'together': 3 / 8,
        'words': {'sofa': 2 / 8, 'pizza': 1 / 8},
    }


def test_distractors_stand_behind_the_classes_that_a_picture_is_asked_for() -> None:
    answers = Answers([0, 1, 2, 2], [0, 0, 1, 2])
    dataset = Made([1, 3, 3, 255], [2, 2, 2, 2])
    result = evaluate(answers, dataset, [0, 1], absent=0, distractors=(SOFA, PIZZA), worst=2)
    assert answers.asked == [('car', 'sky', 'sofa', 'pizza'), ('tree', 'sofa', 'pizza')]
    assert result.painted == {'sofa': 3 / 8, 'pizza': 1 / 8}
    assert {score.index: score.labels.tolist() for score in result.worst} == {
        0: [[1, 3, 255, 255]],
        1: [[2, 2, 255, 255]],
    }


def test_only_the_chosen_pictures_count() -> None:
    answers = Answers([4, 4], [0, 4], [4, 4])
    result = evaluate(answers, Made([0, 0], [0, 0], [0, 0]), [1], distractors=(SOFA,))
    assert result.painted == {'sofa': 1 / 2}
    nothing = evaluate(answers, Made([0, 0]), [], distractors=(SOFA,))
    assert math.isnan(nothing.painted['sofa'])


def test_without_distractors_nothing_is_told_of_them() -> None:
    result = evaluate(Answers([0, 1]), Made([0, 1]), [0])
    assert result.painted == {}
    assert 'painted_by_absent_words' not in result.to_dict()


class Wide(Answers):
    """Answers in 16 bits, as the labels of more than 254 words are."""

    def segment(self, image: np.ndarray, encoded: EncodedVocabulary) -> Segmentation:
        labels = np.array([self.labels[image.flat[0]]], np.uint16)
        return Segmentation(labels, np.ones(labels.shape, np.float32), encoded.vocabulary)


def test_words_may_be_more_than_fit_into_8_bits() -> None:
    many = tuple(VocabularyClass(f'thing {number}') for number in range(400))
    result = evaluate(Wide([1, 403, 255, 65535]), Made([1, 1, 1, 1]), [0], distractors=many)
    painted = {name: share for name, share in result.painted.items() if share}
    assert painted == {'thing 399': 1 / 4, 'thing 251': 1 / 4}
    assert result.confusion.matrix[1].tolist() == [0, 1, 0, 0, 3]


class Biases(Answers):
    """Answers that remember the bias of what was asked for; a negative word stands behind."""

    def encode(self, vocabulary: Vocabulary) -> EncodedVocabulary:
        rows = torch.zeros(len(vocabulary) + 1)
        rows[-1] = 0.5
        return EncodedVocabulary(vocabulary, rows[:, None], rows, rows, negatives=('wall',))

    def segment(self, image: np.ndarray, encoded: EncodedVocabulary) -> Segmentation:
        self.bias = encoded.bias.tolist()
        return super().segment(image, encoded)


def test_a_distractor_that_training_saw_loses_the_bias_of_seen_classes() -> None:
    answers = Biases([0, 1])
    words = Vocabulary.from_words(['the Sofas', 'pizza']).classes
    evaluate(
        answers, Made([0, 1]), [0], absent=0, distractors=words, bias={'car': 0.25, 'sofa': 0.125}
    )
    assert answers.bias == [0.0, 0.25, 0.125, 0.0, 0.5]


def test_words_that_take_nearly_all_pixels_are_named_as_a_cause() -> None:
    result = evaluate(Answers([4, 4, 4, 4]), Made([0, 1, 2, 3]), [0], distractors=(SOFA,))
    assert '100.0% of the pixels got no class: check --distractors' in find_symptoms(result)[0]


def test_distractors_are_read_as_vocabularies_are() -> None:
    words = chosen_words(CLASSES)
    assert chosen_distractors(CLASSES, words, None) == ()
    text = '["sofa", {"name": "pizza", "phrases": ["pie"], "threshold": 0.5}]'
    sofa, pizza = chosen_distractors(CLASSES, words, text)
    assert (sofa.name, pizza.phrases, pizza.threshold) == ('sofa', ('pie',), 0.5)
    # Words that a user typed, whose number does not count.
    assert not sofa.exact


def test_distractors_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / 'absent.txt'
    file.write_text('sofa\npizza\n', encoding='utf-8')
    words = chosen_words(CLASSES)
    assert [entry.name for entry in chosen_distractors(CLASSES, words, file=file)] == [
        'sofa',
        'pizza',
    ]
    with pytest.raises(VocabularyError, match=r'none\.txt'):
        chosen_distractors(CLASSES, words, file=tmp_path / 'none.txt')


@pytest.mark.parametrize(
    ('text', 'error', 'message'),
    [
        ('sofa, car', DataError, "got 'car', and 'car' is among the classes"),
        ('sofa, The Automobiles', DataError, "'The Automobiles', and 'automobile' is among"),
        ('[{"name": "sofa", "phrases": ["trees"]}]', DataError, "'trees', and 'tree' is among"),
        ('sofa, sofa', VocabularyError, "got 'sofa' twice"),
        ('', VocabularyError, 'at least one class name'),
        (', '.join(f'thing {n}' for n in range(1021)), VocabularyError, '1 to 1024 classes'),
    ],
)
def test_distractors_that_cannot_be_are_refused(
    text: str, error: type[Exception], message: str
) -> None:
    words = chosen_words(CLASSES, 'car=automobile')
    with pytest.raises(error, match=message):
        chosen_distractors(CLASSES, words, text)

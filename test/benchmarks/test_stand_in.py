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
"""The stand-in for the model in soak, fuzz and latency: all that the node asks of a segmenter."""

import inspect

from benchmarks.stand_in import StandInSegmenter
import numpy as np
import pytest
from zegclip_core.segmentation import Moment
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_ros.segmenter_like import SegmenterLike

pytestmark = pytest.mark.ros


def test_it_has_every_method_of_a_segmenter_with_the_same_arguments() -> None:
    for name, method in inspect.getmembers(SegmenterLike, inspect.isfunction):
        if name.startswith('_'):
            continue
        wanted = inspect.signature(method).parameters
        found = inspect.signature(getattr(StandInSegmenter, name)).parameters
        assert list(found) == list(wanted), name
        kinds = [one.kind for one in wanted.values()]
        assert [one.kind for one in found.values()] == kinds, name
    assert isinstance(StandInSegmenter.negatives, tuple)


@pytest.mark.parametrize('size', [(4, 6), (48, 64)])
@pytest.mark.parametrize('smoothing', [0.0, 0.5])
def test_labels_are_red_values_with_smoothing_or_without(
    smoothing: float, size: tuple[int, int]
) -> None:
    segmenter = StandInSegmenter(0.0, smoothing)
    words = segmenter.encode(Vocabulary.from_names(['cat', 'dog', 'cow']))
    images = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
    for seconds in range(3):
        moments = [Moment(camera, float(seconds)) for camera in ('front', 'rear')]
        found = segmenter.segment_batch(list(images), words, moments=moments)
        for image, one in zip(images, found, strict=True):
            np.testing.assert_array_equal(one.labels, image[:, :, 0] % 3)
            assert one.scores.shape == size
    single = segmenter.segment(images[0], words, moment=Moment('front', 3.0))
    np.testing.assert_array_equal(single.labels, found[0].labels)
    segmenter.release_memory()

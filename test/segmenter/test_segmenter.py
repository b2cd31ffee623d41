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
"""The segmenter: sizes, thresholds, calibration, caching, sliding windows, errors."""

from pathlib import Path
import weakref

import numpy as np
import pytest
from tiny_models import noise
import torch
from zegclip_core.errors import DeviceMemoryError, ImageError, ModelError
from zegclip_core.images.checks import working_size
from zegclip_core.options import UNLABELLED
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary, VocabularyClass

WORDS = Vocabulary.from_names(['cat', 'traffic light', 'tree'])


@pytest.fixture(scope='module')
def segmenter(tiny: str) -> Segmenter:
    return Segmenter.load(tiny, device='cpu', precision='fp32')


@pytest.mark.parametrize('size', [(1, 1), (1, 7), (2, 3000), (33, 47), (480, 640)])
def test_labels_have_the_size_of_the_image(segmenter: Segmenter, size: tuple[int, int]) -> None:
    result = segmenter.segment(noise(*size), WORDS)
    assert result.labels.shape == result.scores.shape == size
    assert result.labels.dtype == np.uint8
    assert result.scores.dtype == np.float32
    assert set(np.unique(result.labels)) <= {0, 1, 2}
    assert result.vocabulary is WORDS
    assert sum(result.shares().values()) == pytest.approx(1.0)


def test_scores_that_nobody_wants_are_left_out(segmenter: Segmenter) -> None:
    image = noise(20, 30)
    whole = segmenter.segment(image, WORDS)
    without = segmenter.segment(image, WORDS, scores=False)
    assert np.array_equal(without.labels, whole.labels)
    assert without.scores.shape == (0, 0)
    assert without.scores.dtype == np.float32
    batch = segmenter.segment_batch([image, image], WORDS, scores=False, mask_logits=True)
    assert [each.scores.shape for each in batch] == [(0, 0)] * 2
    assert all(each.mask_logits is not None for each in batch)


def test_a_view_into_another_array_is_taken(segmenter: Segmenter) -> None:
    image = noise(20, 30)
    turned = image[::-1, ::-1, ::-1]
    expected = segmenter.segment(np.ascontiguousarray(turned), WORDS)
    assert np.array_equal(segmenter.segment(turned, WORDS).labels, expected.labels)


def test_the_working_size_keeps_the_aspect_and_is_capped() -> None:
    def size(height: int, width: int) -> tuple[int, int]:
        return working_size(height, width, short_side=364, patch_size=14)

    assert size(480, 640) == (364, 476)
    assert size(640, 480) == (476, 364)
    assert size(1080, 1920) == (364, 644)
    assert size(1, 1) == (364, 364)
    for height, width in ((2, 3000), (3000, 2), (1, 100_000)):
        rows, columns = size(height, width)
        assert rows % 14 == columns % 14 == 0
        assert min(rows, columns) >= 14
        assert max(rows, columns) <= 8 * 364
        assert rows * columns <= 4 * 364**2


def test_chosen_is_the_best_score_of_each_class_alone(segmenter: Segmenter) -> None:
    image = noise(24, 40)
    alone = np.stack(
        [segmenter.segment(image, Vocabulary((entry,))).scores for entry in WORDS.classes]
    )
    result = segmenter.segment(image, WORDS)
    assert np.array_equal(result.labels, alone.argmax(axis=0))
    np.testing.assert_allclose(result.scores, alone.max(axis=0), rtol=1e-5, atol=1e-6)


def test_thresholds_leave_pixels_unlabelled(segmenter: Segmenter) -> None:
    image = noise(24, 40)
    plain = segmenter.segment(image, WORDS)
    best = int(np.bincount(plain.labels.ravel()).argmax())
    cut = float(np.median(plain.scores[plain.labels == best]))
    classes = list(WORDS.classes)
    classes[best] = VocabularyClass(classes[best].name, threshold=cut)
    result = segmenter.segment(image, Vocabulary(tuple(classes)))
    below = (plain.labels == best) & (plain.scores < np.float32(cut))
    assert below.any()
    assert (result.labels[below] == UNLABELLED).all()
    assert np.array_equal(result.labels[~below], plain.labels[~below])
    assert result.unlabelled_share == pytest.approx(below.mean())


def test_the_models_threshold_can_be_overruled(tiny: str) -> None:
    strict = Segmenter.load(tiny, device='cpu', precision='fp32', threshold=1.0)
    assert strict.segment(noise(9, 9), WORDS).unlabelled_share == 1.0


def test_a_known_phrase_is_not_encoded_again(tiny: str) -> None:
    segmenter = Segmenter.load(tiny, device='cpu', precision='fp32')
    segmenter.encode(WORDS)
    assert segmenter.text_encoder.encoded_phrases == 3
    segmenter.segment(noise(8, 8), Vocabulary.from_names(['tree', 'cat']))
    assert segmenter.text_encoder.encoded_phrases == 3
    segmenter.encode(Vocabulary((VocabularyClass('cat', phrases=('kitten', 'tree')),)))
    assert segmenter.text_encoder.encoded_phrases == 4


def test_further_phrases_change_the_embedding(segmenter: Segmenter) -> None:
    both = segmenter.encode(Vocabulary((VocabularyClass('cat', phrases=('tree',)),)))
    single = segmenter.encode(WORDS)
    mean = single.embeddings[0] + single.embeddings[2]
    torch.testing.assert_close(both.embeddings[0], mean / mean.norm())


def test_sliding_a_window_as_large_as_the_image_is_whole(tiny: str) -> None:
    image = noise(32, 32)
    whole, slide = (
        Segmenter.load(tiny, device='cpu', precision='fp32', mode=mode)
        for mode in ('whole', 'slide')
    )
    assert slide.settings.crop == 32
    assert np.array_equal(whole.segment(image, WORDS).labels, slide.segment(image, WORDS).labels)
    wide = noise(32, 90)
    assert slide.segment(wide, WORDS).labels.shape == (32, 90)


def test_memory_that_runs_out_costs_one_image(
    segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **more: object) -> None:
        raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB. GPU 0 ...')

    released: list[bool] = []
    image = noise(64, 64)
    expected = segmenter.segment(image, WORDS).labels
    with monkeypatch.context() as patch:
        patch.setattr(segmenter, 'release_memory', lambda: released.append(True))
        patch.setattr(segmenter.engine, 'run', fail)
        with pytest.raises(DeviceMemoryError, match=r'64x64 .* got: CUDA out of memory\.$'):
            segmenter.segment(image, WORDS)
    assert released == [True]
    assert (segmenter.segment(image, WORDS).labels == expected).all()


def test_a_cpu_has_no_memory_of_its_own_to_tell(segmenter: Segmenter) -> None:
    segmenter.release_memory()
    assert segmenter.memory_bytes() is None


def test_a_segmenter_that_is_closed_leaves_nothing_of_its_model(tiny: str) -> None:
    loaded = Segmenter.load(tiny, device='cpu', precision='fp32')
    loaded.segment(noise(64, 64), WORDS)
    network = weakref.ref(loaded.network)
    for _ in range(2):
        loaded.close()
        assert network() is None


def test_images_of_one_size_are_labelled_together(segmenter: Segmenter) -> None:
    images = [noise(40, 52, seed) for seed in range(3)]
    together = segmenter.segment_batch(images, WORDS)
    for image, found in zip(images, together, strict=True):
        alone = segmenter.segment(image, WORDS)
        assert (found.labels == alone.labels).mean() > 0.999
        np.testing.assert_allclose(found.scores, alone.scores, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('sizes', [[], [(8, 8), (8, 9)]])
def test_images_of_several_sizes_are_no_batch(
    segmenter: Segmenter, sizes: list[tuple[int, int]]
) -> None:
    with pytest.raises(ImageError, match='images of one size'):
        segmenter.segment_batch([noise(*size) for size in sizes], WORDS)


def test_the_plain_path_agrees(tiny: str, segmenter: Segmenter) -> None:
    assert segmenter.options.engine == 'lean'
    plain = Segmenter.load(tiny, device='cpu', precision='fp32', engine='plain')
    image = noise(64, 90)
    found, exact = segmenter.segment(image, WORDS), plain.segment(image, WORDS)
    assert (found.labels == exact.labels).mean() > 0.999
    np.testing.assert_allclose(found.scores, exact.scores, rtol=1e-4, atol=1e-4)


def test_as_many_candidates_as_words_change_nothing(tiny: str, segmenter: Segmenter) -> None:
    image = noise(64, 90)
    expected = segmenter.segment(image, WORDS)
    pruned = Segmenter.load(tiny, device='cpu', precision='fp32', candidates=1)
    enough = Segmenter.load(tiny, device='cpu', precision='fp32', candidates=len(WORDS))
    assert np.array_equal(enough.segment(image, WORDS).labels, expected.labels)
    # One candidate draws one word over the whole picture.
    assert len(np.unique(pruned.segment(image, WORDS).labels)) == 1


def test_words_are_put_into_the_templates_that_are_chosen(tiny: str, segmenter: Segmenter) -> None:
    plain = Segmenter.load(tiny, device='cpu', precision='fp32', templates='plain')
    assert plain.text_encoder.templates == ('{}',)
    assert not torch.allclose(plain.encode(WORDS).embeddings, segmenter.encode(WORDS).embeddings)


def test_threads_are_as_many_as_asked_for(tiny: str) -> None:
    before = torch.get_num_threads()
    try:
        for threads in (2, 1):
            Segmenter.load(tiny, device='cpu', threads=threads)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_cuda_agrees(tiny: str, segmenter: Segmenter) -> None:
    cuda = Segmenter.load(tiny, device='cuda', precision='fp32')
    image = noise(64, 64)
    found, exact = cuda.segment(image, WORDS), segmenter.segment(image, WORDS)
    np.testing.assert_allclose(found.scores, exact.scores, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    'image',
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        None,
    ],
)
def test_what_is_no_image_is_refused(segmenter: Segmenter, image: np.ndarray) -> None:
    with pytest.raises(ImageError, match='uint8 array of shape'):
        segmenter.segment(image, WORDS)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'device': 'tpu'}, 'tpu'),
        ({'device': 'cuda:99'}, 'cuda:99'),
        ({'device': 'cpu', 'precision': 'fp16'}, 'fp16'),
        ({'device': 'cpu', 'short_side': 3}, 'short side'),
        ({'device': 'cpu', 'mode': 'half'}, 'half'),
        ({'device': 'cpu', 'candidates': 3, 'mode': 'slide'}, 'candidates'),
        ({'device': 'cpu', 'attention': 'naclip'}, 'no attention'),
    ],
)
def test_a_setting_out_of_range_is_refused(
    tiny: str, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        Segmenter.load(tiny, **settings)  # type: ignore[arg-type]


def test_a_model_file_from_another_folder_works(tiny: str, tmp_path: Path) -> None:
    moved = tmp_path / 'my model.pth'
    moved.write_bytes(Path(tiny).read_bytes())
    segmenter = Segmenter.load(str(moved), device='cpu')
    segmenter.warm_up()
    assert segmenter.model_name == str(moved)


@pytest.mark.parametrize('engine', ['lean', 'plain'])
def test_all_mask_logits_have_rows_for_the_negative_words_too(tiny: str, engine: str) -> None:
    rivals = ('wall', 'sky')
    segmenter = Segmenter.load(
        tiny, device='cpu', precision='fp32', engine=engine, negatives=rivals
    )
    image = noise(20, 30)
    classes = segmenter.segment(image, WORDS, mask_logits=True).mask_logits
    everything = segmenter.segment(image, WORDS, mask_logits='all').mask_logits
    asked = Vocabulary.from_names([*WORDS.names, *rivals])
    reference = segmenter.segment(image, asked, mask_logits=True).mask_logits
    assert classes is not None
    assert everything is not None
    assert len(everything) == len(WORDS) + len(rivals)
    assert np.array_equal(everything[: len(WORDS)], classes)
    assert everything == pytest.approx(reference, abs=1e-5)

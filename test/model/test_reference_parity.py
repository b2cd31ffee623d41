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
"""The model against the outputs of the published implementation.

The file is named by ``ZEGCLIP_PARITY_FILE``; every size, head count and class split comes from it.
"""

from pathlib import Path

import pytest
from reference_files import ReferenceFile, zegclip_parity
import torch
from torch import Tensor
from zegclip_core.loading import build_network
from zegclip_core.model.losses import NonExclusiveLoss, pseudo_labels
from zegclip_core.model.scoring import (
    average_windows,
    best_class,
    calibrated_scores,
    cut_windows,
    resize_maps,
    Windows,
)
from zegclip_core.model.zegclip import ZegCLIP
from zegclip_core.weights.published import convert_published

# float32 sums in another order than the published ones
TOLERANCE = {'rtol': 1e-4, 'atol': 1e-4}


@pytest.fixture(scope='module')
def reference() -> ReferenceFile:
    """Open the reference file."""
    return zegclip_parity()


@pytest.fixture(scope='module')
def network(reference: ReferenceFile) -> ZegCLIP:
    """Load the file's weights the way a published checkpoint is loaded."""
    config = reference.config
    checkpoint = convert_published(
        reference.under('state_dict'),
        heads=config['heads'],
        decoder_heads=config['decoder_heads'],
    )
    return build_network(checkpoint, where='the reference file')


@pytest.fixture(scope='module')
def bias(reference: ReferenceFile) -> Tensor:
    """Return what the release subtracts from each class's score."""
    values = torch.zeros(reference.config['num_classes'])
    values[reference.config['seen']] = reference.config['unseen_bias']
    return values


def _close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, **TOLERANCE)


@torch.inference_mode()
def test_features_equal_the_published_ones(reference: ReferenceFile, network: ZegCLIP) -> None:
    """Patch tokens and image embedding, both normalised."""
    tokens, embedding = network.visual(reference.tensors['input.image'])
    normalize = torch.nn.functional.normalize
    _close(normalize(tokens, dim=1), reference.tensors['expected.patch_embedding'])
    _close(normalize(embedding, dim=-1), reference.tensors['expected.cls_embedding'])


@torch.inference_mode()
def test_mask_logits_equal_the_published_ones(reference: ReferenceFile, network: ZegCLIP) -> None:
    """At the image's size."""
    image = reference.tensors['input.image']
    logits = network(image, reference.tensors['input.text'])
    _close(resize_maps(logits, image.shape[2:]), reference.tensors['expected.mask_logits'])


@torch.inference_mode()
def test_scores_equal_the_published_ones(
    reference: ReferenceFile, network: ZegCLIP, bias: Tensor
) -> None:
    """With the calibration of seen classes and, transductively, without."""
    image, text = reference.tensors['input.image'], reference.tensors['input.text']

    def scores(calibration: Tensor) -> Tensor:
        logits = resize_maps(network(image, text), (image.shape[2], image.shape[3]))
        return calibrated_scores(logits, calibration)

    _close(scores(bias), reference.tensors['expected.scores'])
    _close(scores(torch.zeros_like(bias)), reference.tensors['expected.scores_transductive'])


@torch.inference_mode()
def test_sliding_scores_equal_the_published_ones(
    reference: ReferenceFile, network: ZegCLIP, bias: Tensor
) -> None:
    """At the original size of the wide image."""
    sliding, text = reference.config['sliding'], reference.tensors['input.text']
    image = reference.tensors['input.image_wide']
    size = (image.shape[2], image.shape[3])
    corners = Windows(sliding['crop'], sliding['stride']).corners(size)
    logits = network(cut_windows(image, corners), text)
    scores = average_windows(logits[:, None], corners, size, bias)
    _close(
        resize_maps(scores, tuple(sliding['original_size'])),
        reference.tensors['expected.scores_sliding'],
    )


@torch.inference_mode()
def test_best_class_equals_the_argmax_of_the_published_scores(
    reference: ReferenceFile, network: ZegCLIP, bias: Tensor
) -> None:
    """What never holds all classes at full size chooses as if it did."""
    image = reference.tensors['input.image']
    logits = network(image, reference.tensors['input.text'])[0]
    labels, scores = best_class(logits, tuple(image.shape[2:]), bias, are_logits=True)
    expected = reference.tensors['expected.scores'][0]
    # Where the two best scores are closer than the tolerance, either may win.
    top = expected.topk(2, dim=0).values
    clear = (top[0] - top[1]) > 2 * TOLERANCE['atol']
    assert clear.float().mean() > 0.9
    assert torch.equal(labels[clear], expected.argmax(dim=0)[clear])
    chosen = calibrated_scores(reference.tensors['expected.mask_logits'], torch.zeros_like(bias))[
        0
    ]
    _close(scores[clear], chosen.gather(0, labels[None])[0][clear])


@torch.inference_mode()
def test_a_class_does_not_depend_on_the_others(reference: ReferenceFile, network: ZegCLIP) -> None:
    """Asking for one class alone gives the map that it has among all."""
    image, text = reference.tensors['input.image'], reference.tensors['input.text']
    together = network(image, text)
    for index, embedding in enumerate(text):
        _close(network(image, embedding[None])[:, 0], together[:, index])


def test_losses_equal_the_published_ones(reference: ReferenceFile) -> None:
    """Both parts, with their weights."""
    config, inputs = reference.config, reference.under('loss')
    loss = NonExclusiveLoss(mask_weight=config['mask_weight'], dice_weight=config['dice_weight'])
    parts = loss(inputs['mask_logits'], inputs['label'])
    _close(parts.mask.view(1), reference.tensors['expected.loss_mask'])
    _close(parts.dice.view(1), reference.tensors['expected.loss_dice'])


def test_pseudo_labels_equal_the_published_ones(reference: ReferenceFile) -> None:
    """Self-training's targets."""
    inputs = reference.under('selftrain')
    target = pseudo_labels(inputs['label'], inputs['mask_logits'], reference.config['seen'])
    assert torch.equal(target, reference.tensors['expected.selftrain_target'])


def test_every_expectation_of_the_file_is_checked(reference: ReferenceFile) -> None:
    """A new entry in the file must not go unnoticed."""
    source = Path(__file__).read_text('utf-8')
    for name in reference.under('expected'):
        assert f"'expected.{name}'" in source, name

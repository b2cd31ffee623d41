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
"""The literal pipeline of the benchmark is the published one, by the published outputs."""

import ast
from dataclasses import replace
import math
from pathlib import Path

import numpy as np
import pytest
from reference_files import ReferenceFile, zegclip_parity
import torch
from torch import Tensor
import torch.nn.functional as F
from zegclip_core.speed import literal
from zegclip_core.speed.literal import LiteralModel, LiteralPipeline, MEAN, STD

# float32 sums in another order than the published ones
TOLERANCE = {'rtol': 1e-4, 'atol': 1e-4}


@pytest.fixture(scope='module')
def reference() -> ReferenceFile:
    return zegclip_parity()


@pytest.fixture(scope='module')
def pipeline(reference: ReferenceFile) -> LiteralPipeline:
    config = reference.config
    bias = torch.zeros(config['num_classes'])
    bias[config['seen']] = config['unseen_bias']
    weights = reference.under('state_dict')
    positions = len(weights['backbone.positional_embedding']) - 1
    model = LiteralModel(
        weights,
        grid=math.isqrt(positions),
        heads=config['heads'],
        decoder_heads=config['decoder_heads'],
    )
    sliding = config['sliding']
    return LiteralPipeline(model, sliding['crop'], sliding['stride'], bias)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, **TOLERANCE)


@torch.inference_mode()
def test_features_and_mask_logits_are_the_published_ones(
    reference: ReferenceFile, pipeline: LiteralPipeline
) -> None:
    expected, image = reference.under('expected'), reference.tensors['input.image']
    dense, embedding = pipeline.model.encode(image)
    close(dense, expected['patch_embedding'])
    close(embedding, expected['cls_embedding'])
    logits = pipeline.model.predict(image, reference.tensors['input.text'])
    close(F.interpolate(logits, size=image.shape[2:], mode='bilinear'), expected['mask_logits'])


@torch.inference_mode()
@pytest.mark.parametrize(
    ('image', 'scores'), [('image', 'scores'), ('image_wide', 'scores_sliding')]
)
def test_scores_are_the_published_ones(
    reference: ReferenceFile, pipeline: LiteralPipeline, image: str, scores: str
) -> None:
    images = reference.tensors[f'input.{image}']
    expected = reference.tensors[f'expected.{scores}']
    if image == 'image':  # The whole of it, whatever its shape.
        pipeline = replace(pipeline, crop=max(images.shape[2:]))
    logits = pipeline.predict(images, reference.tensors['input.text'])
    size, original = tuple(images.shape[2:]), tuple(expected.shape[2:])
    close(pipeline.scores(logits, size, original), expected)
    labels = pipeline.postprocess(logits, size, original)
    top = expected.topk(2, dim=1).values
    clear = ((top[:, 0] - top[:, 1]) > 2 * TOLERANCE['atol']).numpy()
    assert clear.mean() > 0.9
    assert np.array_equal(labels[clear], expected.argmax(dim=1).numpy()[clear])


def test_frames_are_resized_and_normalised_as_published(pipeline: LiteralPipeline) -> None:
    # One colour stays one colour, whatever the interpolation does.
    color = np.array([10, 100, 200], np.uint8)
    frames = [np.broadcast_to(color, (480, 640, 3)).copy()] * 2
    batch = replace(pipeline, crop=64).prepare(frames)
    assert tuple(batch.shape) == (2, 3, 64, 85)
    expected = (color.astype(np.float64) - MEAN) / STD
    np.testing.assert_allclose(batch[1, :, 5, 7].numpy(), expected, rtol=1e-5)


def test_a_4_to_3_frame_at_512_has_two_windows(pipeline: LiteralPipeline) -> None:
    published = LiteralPipeline(pipeline.model, 512, 426, pipeline.bias)
    starts = [(rows.start, columns.start) for rows, columns in published.windows(512, 683)]
    assert starts == [(0, 0), (0, 171)]


def test_it_uses_nothing_of_the_package() -> None:
    tree = ast.parse(Path(literal.__file__).read_text(encoding='utf-8'))
    names = [
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
    ]
    assert 'torch' in names
    assert not [name for name in names if str(name).startswith('zegclip')]

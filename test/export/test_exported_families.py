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
"""CLIPs of every family are exported as they are, without training."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tiny_towers import eva02, GRIDS, siglip, tips
from zegclip_core.export import export_onnx
from zegclip_core.export_check import check_onnx
from zegclip_core.segmenter import Segmenter
from zegclip_core.text import siglip_tower
from zegclip_core.text.vocabulary import Vocabulary

pytestmark = pytest.mark.slow  # An export takes seconds, and many beside other processes.

MAKERS = {
    'siglip': siglip,
    'siglip2': partial(siglip, activation='gelu_tanh'),
    'eva02': eva02,
    'tips': tips,
}


@pytest.mark.parametrize('family', MAKERS)
def test_an_exported_clip_without_training_gives_the_same_scores(
    family: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    monkeypatch.setattr(siglip_tower, 'hub_is_reachable', lambda: False)
    name, _, path = MAKERS[family](monkeypatch, tmp_path / 'towers', GRIDS[1])
    model, file = f'{name}@{path}', tmp_path / 'own.onnx'
    export_onnx(model, file, size=(48, 80))
    checked = check_onnx(model, file)
    assert 0 <= checked.difference < 1e-4
    assert checked.alike >= 0.999
    exported = Segmenter.load(str(file), negatives=('wall',))
    plain = Segmenter.load(
        model, device='cpu', precision='fp32', engine='plain', short_side=48, negatives=('wall',)
    )
    image = np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)
    words = Vocabulary.from_names(['cat', 'bus', 'sky'])
    ours, theirs = (each.segment(image, words, mask_logits=True) for each in (exported, plain))
    np.testing.assert_allclose(ours.mask_logits, theirs.mask_logits, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(ours.scores, theirs.scores, rtol=0, atol=1e-3)
    assert (ours.labels == theirs.labels).mean() >= 0.999

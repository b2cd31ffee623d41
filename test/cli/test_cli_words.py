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
"""The words of the commands are encoded once, and those that take long behind a progress bar."""

from pathlib import Path

import pytest
from tiny_models import write_published
import tqdm
from zegclip_core.cli._words import encode_words
from zegclip_core.loading import load_model
from zegclip_core.options import SegmenterOptions
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary


def test_every_word_is_encoded_once_and_told_to_the_bar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    monkeypatch.setattr(tqdm.tqdm, 'update', lambda bar, count: told.append((bar.total, count)))
    loaded = load_model(str(write_published(tmp_path / 'tiny.pth')))
    segmenter = Segmenter(loaded, SegmenterOptions(device='cpu', precision='fp32'))
    entries = ', '.join(f'{{"name": "thing {k}", "phrases": ["it {k}"]}}' for k in range(70))
    vocabulary = Vocabulary.parse(f'[{entries}]')
    encode_words(segmenter, vocabulary)
    assert segmenter.text_encoder.encoded_phrases == 140
    assert {total for total, _ in told} == {70}
    assert len(told) > 2
    assert sum(count for _, count in told) == 70
    segmenter.encode(vocabulary)
    assert segmenter.text_encoder.encoded_phrases == 140

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
"""The node labels with an exported model."""

from pathlib import Path

from exported_models import export
import numpy as np
import pytest
from ros_helpers import node_parameters
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_ros.frames.model import load_segmenter

pytestmark = pytest.mark.ros


@pytest.mark.slow
@pytest.mark.parametrize('backend', ['auto', 'onnxruntime'])
def test_the_node_labels_with_an_exported_model(backend: str, exported: Path) -> None:
    segmenter = load_segmenter(node_parameters(model=str(exported), backend=backend))
    segmenter.warm_up()
    words = segmenter.encode(Vocabulary.from_names(['cat', 'tree']))
    result = segmenter.segment(np.zeros((48, 64, 3), np.uint8), words)
    assert result.labels.shape == (48, 64)
    assert segmenter.memory_bytes() is None
    assert segmenter.runs_on == 'cpu'
    segmenter.release_memory()
    segmenter.close()


@pytest.fixture(scope='module')
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export('published', tmp_path_factory.mktemp('node')).file

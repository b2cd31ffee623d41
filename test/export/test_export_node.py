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
"""The node's backend: it labels with an exported model, and says in one line what is amiss."""

from pathlib import Path

from exported_models import export
import numpy as np
import pytest
from ros_helpers import node_parameters
from zegclip_core.engines import onnx as onnx_engine
from zegclip_core.engines.onnx import place_of
from zegclip_core.errors import ModelError
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


@pytest.mark.parametrize(
    ('changed', 'message'),
    [
        ({'model': 'everyday-s', 'backend': 'onnxruntime'}, 'Expected an exported model'),
        ({'model': 'a.onnx', 'backend': 'torch'}, 'Expected a model with weights'),
        ({'model': 'a.onnx', 'short_side': 224}, 'Expected an exported model to be used as it'),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        load_segmenter(node_parameters(**changed))
    assert '\n' not in str(caught.value)


def test_an_onnxruntime_that_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_engine, 'find_spec', lambda name: None)
    with pytest.raises(ModelError, match=r"onnxruntime.*pip install 'zegclip-ros\[onnx\]'"):
        load_segmenter(node_parameters(model='a.onnx', backend='onnxruntime'))


@pytest.mark.parametrize(
    ('providers', 'place'),
    [
        (['CPUExecutionProvider'], 'cpu'),
        (['CUDAExecutionProvider', 'CPUExecutionProvider'], 'cuda:1'),
        (['TensorrtExecutionProvider', 'CUDAExecutionProvider'], 'tensorrt'),
    ],
)
def test_where_an_exported_model_runs_is_told(providers: list[str], place: str) -> None:
    class Session:
        """Stands for a session of onnxruntime."""

        def get_providers(self) -> list[str]:
            return providers

        def get_provider_options(self) -> dict[str, dict[str, str]]:
            return {name: {'device_id': '1'} for name in providers}

    assert place_of(Session()) == place

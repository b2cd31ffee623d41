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
"""Which library runs a model; none of these tests needs OpenVINO."""

from collections.abc import Callable

import pytest
from zegclip_core.engines import backends
from zegclip_core.engines.backends import pick_backend, require
from zegclip_core.errors import ModelError
from zegclip_core.options import SegmenterOptions
from zegclip_core.segmenter import Segmenter


def only(*packages: str) -> Callable[[str], object]:
    """Return a ``find_spec`` that finds these packages alone."""
    return lambda name: object() if name in packages else None


def picked(model: str = 'everyday-s', **options: str) -> str:
    return pick_backend(SegmenterOptions(**options), model)


def test_openvino_runs_a_model_that_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, 'find_spec', only('openvino'))
    assert picked() == picked(device='cpu') == picked(engine='plain') == 'torch'
    assert picked(backend='openvino') == picked(precision='int8') == 'openvino'


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'backend': 'openvino'}, r"openvino for the backend .*install 'zegclip-ros\[openvino\]'"),
        ({'precision': 'int8'}, r"openvino for the precision .*install 'zegclip-ros\[openvino\]'"),
        ({'backend': 'openvino', 'engine': 'plain'}, 'engine lean for the backend openvino'),
        ({'precision': 'int8', 'engine': 'plain'}, 'engine lean for the precision int8'),
        ({'backend': 'openvino', 'device': 'cuda:0'}, "auto or cpu .*but got 'cuda:0'"),
        ({'backend': 'openvino', 'precision': 'fp16'}, 'fp32, bf16 or int8 .*but got fp16'),
        ({'backend': 'torch', 'precision': 'int8'}, 'auto or openvino .*but got torch'),
        ({'backend': 'tensorflow'}, 'auto, torch, openvino, onnxruntime'),
    ],
)
def test_what_openvino_cannot_do_is_refused_in_one_line(
    options: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, 'find_spec', only())
    with pytest.raises(ModelError, match=message):
        Segmenter.load('everyday-s', **options)


def test_an_exported_model_is_none_for_openvino() -> None:
    with pytest.raises(ModelError, match='take the backend onnxruntime'):
        picked('a.onnx', backend='openvino')


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, 'find_spec', only())
    with pytest.raises(ModelError, match=r'nncf to calibrate a model.*zegclip-ros\[openvino\]'):
        require('nncf', 'to calibrate a model')

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
"""Which library runs a model: PyTorch, or onnxruntime for what ``zegclip export`` wrote."""

from importlib.util import find_spec

from zegclip_core.errors import ModelError
from zegclip_core.options import OPTIONS
from zegclip_core.weights.names import ONNX_SUFFIX, parse_model


def pick_backend(backend: str, model: str) -> str:
    """Return the library that runs a model, ``torch`` or ``onnxruntime``.

    Args:
        backend: ``auto`` goes by the model's name; the others have to fit it.
        model: Name or file of the model.

    Raises:
        ModelError: If it is not known, does not fit the model, or is not installed.
    """
    exported = parse_model(model).is_exported
    OPTIONS['backend'].check(backend)
    if backend == 'torch' and exported:
        raise ModelError(
            f'Expected a model with weights for the backend torch, but got {model!r}, an exported '
            'one: take the backend onnxruntime.'
        )
    if backend == 'onnxruntime' and not exported:
        raise ModelError(
            f'Expected an exported model, NAME{ONNX_SUFFIX}, for the backend onnxruntime, but got '
            f'{model!r}: zegclip export writes one.'
        )
    if not exported:
        return 'torch'
    require('onnxruntime', 'to run an exported model')
    return 'onnxruntime'


def require(package: str, purpose: str) -> None:
    """Refuse to go on without a Python package of the extra ``onnx``.

    Raises:
        ModelError: If it is not installed.
    """
    if find_spec(package) is None:
        raise ModelError(
            f'Expected the Python package {package} {purpose}, but it is not installed: '
            "pip install 'zegclip-ros[onnx]'."
        )

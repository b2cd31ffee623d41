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
"""Which library runs a model, and whether it is installed."""

from importlib.util import find_spec

from zegclip_core.errors import ModelError
from zegclip_core.options import OPTIONS, SegmenterOptions
from zegclip_core.weights.names import ONNX_SUFFIX, parse_model

EXTRAS = {
    **dict.fromkeys(('onnx', 'onnxruntime', 'onnxscript'), 'onnx'),
    **dict.fromkeys(('openvino', 'nncf'), 'openvino'),
    'rerun': 'rerun',
}
"""By optional Python package, the extra of this one that brings it."""


def require(package: str, purpose: str) -> None:
    """Raise ``ModelError`` if a package of ``EXTRAS`` is not installed."""
    if find_spec(package) is None:
        raise ModelError(
            f'Expected the Python package {package} {purpose}, but it is not installed: '
            f"pip install 'zegclip-ros[{EXTRAS[package]}]'."
        )


def pick_backend(options: SegmenterOptions, model: str) -> str:
    """Return the library that runs a model: ``torch``, ``openvino`` or ``onnxruntime``.

    ``auto`` goes by the model's name, and takes OpenVINO for the precision ``int8`` alone.

    Args:
        options: Of the segmenter.
        model: Name or file of the model.

    Raises:
        ModelError: If the backend is not known, does not fit the model or the other options, or
            is not installed.
    """
    backend = options.backend
    OPTIONS['backend'].check(backend)
    if parse_model(model).is_exported:
        return _for_exported(backend, model)
    if backend == 'onnxruntime':
        raise ModelError(
            f'Expected an exported model, NAME{ONNX_SUFFIX}, for the backend onnxruntime, but got '
            f'{model!r}: zegclip export writes one.'
        )
    if backend == 'openvino' or options.precision == 'int8':
        _check_openvino(options)
        return 'openvino'
    return 'torch'


def _for_exported(backend: str, model: str) -> str:
    """Return the backend of an exported model."""
    if backend in {'torch', 'openvino'}:
        raise ModelError(
            f'Expected a model with weights for the backend {backend}, but got {model!r}, an '
            'exported one: take the backend onnxruntime.'
        )
    require('onnxruntime', 'to run an exported model')
    return 'onnxruntime'


def _check_openvino(options: SegmenterOptions) -> None:
    """Refuse options that OpenVINO cannot follow.

    Raises:
        ModelError: If there are such, or it is not installed.
    """
    reason = 'the precision int8' if options.precision == 'int8' else 'the backend openvino'
    if options.backend == 'torch':
        raise ModelError(f'Expected the backend auto or openvino for {reason}, but got torch.')
    if options.engine != 'lean':
        raise ModelError(f'Expected the engine lean for {reason}, but got {options.engine}.')
    if options.device not in {'auto', 'cpu'}:
        raise ModelError(
            f'Expected a device of auto or cpu for {reason}, but got {options.device!r}.'
        )
    if options.precision == 'fp16':
        raise ModelError(
            f'Expected a precision of auto, fp32, bf16 or int8 for {reason}, but got fp16.'
        )
    require('openvino', f'for {reason}')

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
"""What onnxruntime runs a model on: its execution providers and their options."""

from pathlib import Path
from typing import Any

from zegclip_core.errors import ModelError

TENSORRT_CLASSES = (1, 20, 256)
"""Least, usual and greatest number of classes that a TensorRT engine is built for."""


def pick_providers(
    device: str, precision: str, available: list[str], path: Path
) -> list[tuple[str, dict[str, str]]]:
    """Return onnxruntime's execution providers for a device, with their options, best first.

    Args:
        device: ``auto`` (CUDA if onnxruntime has it), ``cpu``, ``cuda``, ``cuda:N`` or
            ``tensorrt``.
        precision: ``auto`` or ``fp32``, for TensorRT ``fp16`` as well, which ``auto`` takes there.
        available: Names of the providers that this onnxruntime has.
        path: The model; a TensorRT engine is kept in a folder beside it.

    Raises:
        ModelError: If it has no such device or precision.
    """
    cpu: tuple[str, dict[str, str]] = ('CPUExecutionProvider', {})
    has_cuda = 'CUDAExecutionProvider' in available
    name, _, index = device.partition(':')
    name = ('cuda' if has_cuda else 'cpu') if name == 'auto' else name
    if name not in {'cpu', 'cuda', 'tensorrt'} or (
        index and not (name == 'cuda' and index.isdigit())
    ):
        raise ModelError(
            'Expected a device of auto, cpu, cuda, cuda:N or tensorrt for an exported model, '
            f'but got {device!r}.'
        )
    allowed = ('auto', 'fp32', 'fp16') if name == 'tensorrt' else ('auto', 'fp32')
    if precision not in allowed:
        raise ModelError(
            f'Expected a precision of {", ".join(allowed)} for an exported model on {name}, '
            f'but got {precision!r}.'
        )
    if name == 'cpu':
        return [cpu]
    wanted = 'TensorrtExecutionProvider' if name == 'tensorrt' else 'CUDAExecutionProvider'
    if wanted not in available:
        raise ModelError(
            f'Expected an onnxruntime with {wanted} for the device {device!r}, but this one has '
            f'{", ".join(available)}.'
        )
    cuda = [('CUDAExecutionProvider', {'device_id': index or '0'})] if has_cuda else []
    if name == 'cuda':
        return [*cuda, cpu]
    return [(wanted, _tensorrt_options(precision, path)), *cuda, cpu]


def place_of(session: Any) -> str:  # noqa: ANN401 - onnxruntime has no annotations
    """Return where a session runs most of its graph: ``cpu``, ``cuda:0``, ``tensorrt``."""
    provider = str(session.get_providers()[0])
    name = provider.removesuffix('ExecutionProvider').lower()
    if name != 'cuda':
        return name
    return f'cuda:{session.get_provider_options()[provider].get("device_id", 0)}'


def _tensorrt_options(precision: str, path: Path) -> dict[str, str]:
    """Return the options of the TensorRT provider but for its shapes.

    Reference: https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html
    """
    return {
        'trt_fp16_enable': str(precision != 'fp32'),
        # Building takes minutes; it is done once.
        'trt_engine_cache_enable': 'True',
        'trt_engine_cache_path': str(path.with_suffix('.tensorrt')),
        'trt_timing_cache_enable': 'True',
    }


def tensorrt_shapes(text_dim: int) -> dict[str, str]:
    """Return the options that let one TensorRT engine serve every number of classes."""
    least, usual, most = (
        f'text:{classes}x{text_dim},bias:{classes},thresholds:{classes}'
        for classes in TENSORRT_CLASSES
    )
    return {
        'trt_profile_min_shapes': least,
        'trt_profile_opt_shapes': usual,
        'trt_profile_max_shapes': most,
    }

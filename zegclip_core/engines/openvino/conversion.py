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
"""Models converted for OpenVINO, with floating-point numbers or, calibrated, with eight bits."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from zegclip_core.engines.backends import require
from zegclip_core.engines.lean.model import lean_form, LeanModel
from zegclip_core.engines.lean.pixels import resized
from zegclip_core.engines.openvino.cache import (
    cache_folder,
    content_key,
    int8_place,
    load_or_make,
    store,
)
from zegclip_core.engines.openvino.record import grid_tables, record
from zegclip_core.errors import BackendError, ModelError
from zegclip_core.images.checks import RgbImage, working_size
from zegclip_core.images.media import is_video, media_in, read_image
from zegclip_core.loading import load_model
from zegclip_core.model.blocks import PYTORCH
from zegclip_core.weights.names import parse_model

LEFT_EXACT = ['ScaledDotProductAttention', 'GroupConvolution']
"""What keeps floating-point numbers: attention is fused, and faster so; a convolution of each
channel alone would get ranges of each row of pixels, which hold for one size of images."""
CAMERA = (480, 640)
"""Height and width of the camera that a model is calibrated for."""
MOST_IMAGES = 100
"""Pictures that ranges are found on: more take longer and change nothing."""


@contextmanager
def told_apart(name: str) -> Iterator[None]:
    """Turn errors of OpenVINO, and of PyTorch's recording for it, into ``BackendError``.

    ``name`` is that of the model.
    """
    try:
        yield
    except RuntimeError as error:
        reason = ' '.join(str(error).split())[-200:]
        raise BackendError(f'Cannot run {name} by OpenVINO: {reason}') from error


def converted(model: LeanModel, name: str) -> Any:  # noqa: ANN401 - ``openvino.Model``
    """Return a model's graph, which is recorded if it is not in the cache.

    Raises:
        BackendError: If OpenVINO cannot convert the model of this name.
    """
    with told_apart(name):
        return load_or_make(cache_folder() / content_key(model), lambda: record(model))


def convert(model: str, pictures: str | Path | None = None) -> Path:
    """Convert a model into the cache, from where every later start takes it.

    Args:
        model: Its name (``zegclip_core.weights.names``).
        pictures: Folder of pictures such as the model will see, to find the ranges of its values
            for the precision int8; ``None`` converts it for the floating-point precisions.

    Returns:
        The folder that holds it.

    Raises:
        ModelError: If the model or the folder cannot be used, or a package is missing.
        BackendError: If OpenVINO cannot run the model.
        CheckpointError: If the model's file cannot be used.
        TowerError: If one of its towers cannot be found.
        ImageError: If the folder has no picture, or one that cannot be read.
    """
    require('openvino', 'to convert a model for it')
    if parse_model(model).is_exported:
        raise ModelError(f'Expected a model with weights, but got {model!r}, an exported one.')
    images = []
    if pictures is not None:
        require('nncf', 'to calibrate a model')
        images = calibration_images(pictures)
    loaded = load_model(model)
    on_cpu = torch.device('cpu')
    lean = lean_form(loaded.network, dtype=torch.float32, device=on_cpu, kernels=PYTORCH)
    graph = converted(lean, model)
    if pictures is None:
        return cache_folder() / content_key(lean)
    place = int8_place(lean)
    try:
        store(quantised(graph, lean, images, loaded.settings.short_side), place, anew=True)
    except OSError as error:
        raise ModelError(f'Cannot write {place}: {error.strerror or error}.') from error
    return place


def calibration_images(folder: str | Path) -> list[RgbImage]:
    """Return the pictures of a folder, at most ``MOST_IMAGES``, evenly chosen.

    Raises:
        ImageError: If there is none, or one cannot be read.
        ModelError: If there are only videos.
    """
    paths = [path for path in media_in(folder) if not is_video(path)]
    if not paths:
        raise ModelError(f'Expected pictures in {folder} to calibrate with, but got videos alone.')
    return [read_image(path) for path in paths[:: -(-len(paths) // MOST_IMAGES)]]


def middle_of(image: RgbImage, size: tuple[int, int]) -> RgbImage:
    """Return the largest part in the middle of an image that has the shape of a size."""
    sides = image.shape[:2]
    scale = min(side / wanted for side, wanted in zip(sides, size, strict=True))
    kept = [max(round(wanted * scale), 1) for wanted in size]
    starts = [(side - part) // 2 for side, part in zip(sides, kept, strict=True)]
    rows, columns = map(slice, starts, map(sum, zip(starts, kept, strict=True)))
    return np.ascontiguousarray(image[rows, columns])


def quantised(
    graph: Any,  # noqa: ANN401 - ``openvino.Model``, of an optional package
    model: LeanModel,
    images: Sequence[RgbImage],
    short_side: int,
) -> Any:  # noqa: ANN401
    """Return a graph whose linear layers and convolutions multiply integers of eight bits.

    Those of ``LEFT_EXACT`` stay as they are.

    Args:
        graph: Of ``record``.
        model: What it was recorded of.
        images: RGB, uint8 ``(H, W, 3)``, such as the model will see.
        short_side: What they are brought to, in pixels.
    """
    os.environ.setdefault('NNCF_CI', '1')  # Or it reports its use to its makers.
    import nncf

    nncf.set_log_level(logging.ERROR)  # It names every layer.

    # One for all, as NNCF stacks what it finds in each.
    patch = model.tower.projection.patch
    size = working_size(*CAMERA, short_side=short_side, patch_size=patch)

    def inputs(image: RgbImage) -> dict[int, Any]:
        part = torch.from_numpy(middle_of(image, size))
        pixels = resized(part[None], size).contiguous().numpy()
        return dict(enumerate([pixels, *grid_tables(model, *size)]))

    return nncf.quantize(
        graph,
        nncf.Dataset(images, inputs),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(images),
        ignored_scope=nncf.IgnoredScope(types=LEFT_EXACT, validate=False),
    )

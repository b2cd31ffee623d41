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
"""Converted models on disk, by what they were made of, so that no start converts one twice.

A model is a folder of two files. It is written beside its place and then moved there, so that it
is whole or not there; of two processes that convert the same model, one is the first.
"""

from collections.abc import Callable
import hashlib
import json
import logging
import os
from pathlib import Path
import shutil
import tempfile
from typing import Any

import zegclip_core
from zegclip_core.engines.lean.model import LeanModel

GRAPH = 'model.xml'
"""The file of a folder that names the other one, the weights."""
_CODE = ('engines/lean', 'engines/openvino', 'model')
"""Folders of the package whose code decides what is converted."""
_INT8 = '-int8'
"""End of the folders of calibrated models."""

logger = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Return where converted models are kept; it may not be there yet."""
    base = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(base) / 'zegclip' / 'openvino'


def content_key(model: LeanModel) -> str:
    """Return 32 hexadecimal digits that differ where the converted model would.

    They depend on the weights, the configuration, the code that computes with them and the version
    of OpenVINO.
    """
    import openvino

    digest = hashlib.sha256()
    digest.update(f'{openvino.__version__}\n{model.network.config!r}\n'.encode())
    root = Path(zegclip_core.__file__).parent
    for path in sorted(path for folder in _CODE for path in (root / folder).rglob('*.py')):
        digest.update(path.read_bytes())
    for name, value in sorted(model.network.state_dict().items()):
        digest.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
        digest.update(value.detach().contiguous().numpy().data)
    return digest.hexdigest()[:32]


def int8_place(model: LeanModel) -> Path:
    """Return the folder of a model's calibrated form; it may not be there."""
    return cache_folder() / (content_key(model) + _INT8)


def load(place: Path) -> Any | None:  # noqa: ANN401 - ``openvino.Model``, of an optional package
    """Return the model that a folder holds, ``None`` if it is not there or damaged."""
    import openvino

    if not place.is_dir():
        return None
    try:
        return openvino.Core().read_model(place / GRAPH)
    except RuntimeError as error:
        reason = ' '.join(str(error).split())[-200:]
        logger.warning('Converting again what lies damaged in %s: %s', place, reason)
        shutil.rmtree(place, ignore_errors=True)
        return None


def store(graph: Any, place: Path, *, anew: bool = False) -> None:  # noqa: ANN401 - as above
    """Put a model into a folder.

    One that is there already stays, as another process was first, unless this one is to stand
    there ``anew``.

    Raises:
        OSError: If nothing can be written there.
    """
    import openvino

    place.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f'.{place.name}.', dir=place.parent))
    try:
        try:
            openvino.save_model(graph, partial / GRAPH, compress_to_fp16=False)
        except RuntimeError as error:  # A full disk, for instance.
            raise OSError(' '.join(str(error).split())[-200:]) from error
        if anew:
            shutil.rmtree(place, ignore_errors=True)
        try:
            partial.rename(place)
        except OSError:
            if not (place / GRAPH).is_file():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def load_or_make(place: Path, make: Callable[[], Any]) -> Any:  # noqa: ANN401 - as above
    """Return the model of a folder; what is not there is made, and put there if that can be."""
    graph = load(place)
    if graph is not None:
        return graph
    graph = make()
    try:
        store(graph, place)
    except OSError as error:
        logger.warning(
            'The model is converted at every start, as it cannot be kept in %s: %s', place, error
        )
        return graph
    logger.info('Converted the model for OpenVINO, and kept it in %s.', place)
    # That of the file is mapped, while weights of the recorded one are memory of PyTorch.
    return load(place) or graph

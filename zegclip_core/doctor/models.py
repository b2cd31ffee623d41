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
"""Whether a model's files are there, and whether it labels a picture."""

from collections.abc import Iterator
from pathlib import Path
import re
import time

import numpy as np
from zegclip_core.doctor.findings import Finding
from zegclip_core.doctor.software import installed_version
from zegclip_core.errors import TowerError, ZegCLIPError
from zegclip_core.loading import open_checkpoint
from zegclip_core.segmenter import Segmenter
from zegclip_core.speed.bundled import camera_frame
from zegclip_core.speed.inputs import seeded_images
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_core.weights.names import (
    bundled_models,
    DEFAULT_MODEL,
    package_path,
    parse_model,
    parse_reference,
)

_SECTION = 'model'
_WORDS = ('cup', 'spoon', 'dining table')
"""What is looked for; on the photo is a cup of coffee."""
_CUP = (0.02, 0.6)
"""Which share of the photo's pixels the cup can be."""
_AGAIN = 3
"""Frames after the first one, of which the fastest counts."""
_DAMAGED = 'Its files are damaged: install the package again.'


def bundled() -> Iterator[Finding]:
    """Yield whether the bundled model and its towers are there and whole."""
    if DEFAULT_MODEL not in bundled_models():
        advice = 'The package was installed in part: install it again.'
        yield Finding(_SECTION, DEFAULT_MODEL, 'its file is not there', 'fault', advice)
        return
    yield from files_of(DEFAULT_MODEL)


def files_of(model: str) -> Iterator[Finding]:
    """Yield whether a model's file and the towers in packages that it names are there."""
    try:
        name = parse_model(model)
        if name.without_training is not None or name.is_exported:
            return  # The frame says whether it is there.
        path, checkpoint = open_checkpoint(model)
    except ZegCLIPError as error:
        advice = _DAMAGED if model == DEFAULT_MODEL else 'Give another --model, or mend the file.'
        yield Finding(_SECTION, _shown(model), str(error), 'fault', advice)
        return
    yield Finding(_SECTION, _shown(model), f'{path.stat().st_size / 1e6:.1f} MB, readable')
    settings = checkpoint.settings
    for kind, text in (('image', settings.image_tower), ('text', settings.text_tower)):
        if text:
            yield _tower(f'{kind} tower', text)


def _shown(model: str) -> str:
    """Return a model's name without folders."""
    parts = re.split('([@+])', model)
    return ''.join(Path(part).name if Path(part).suffix else part for part in parts)


def _tower(name: str, text: str) -> Finding:
    """Return whether a tower that a model names is on this machine."""
    reference = parse_reference(text)
    if reference.kind != 'package':
        return Finding(_SECTION, name, f'{text}, which is loaded with the model')
    try:
        package_path(reference)
    except TowerError as error:
        return Finding(_SECTION, name, str(error), 'fault', 'Install the package in that version.')
    version = installed_version(reference.name)
    return Finding(_SECTION, name, f'{text}, {reference.name} {version or "no version"}')


def frame(model: str = DEFAULT_MODEL, device: str = 'auto') -> Iterator[Finding]:
    """Yield whether a model labels a picture, on what, and how long that takes."""
    name = f'one frame with {_shown(model)}'
    start = time.perf_counter()
    try:
        segmenter = Segmenter.load(model, device=device)
    except ZegCLIPError as error:
        advice = 'zegclip models lists the models.' if device == 'cpu' else 'Try --device cpu.'
        yield Finding(_SECTION, name, str(error), 'fault', advice)
        return
    loaded = time.perf_counter() - start
    picture = camera_frame()
    words = segmenter.encode(Vocabulary.from_names(_WORDS))
    seconds = []
    for _ in range(1 + _AGAIN):
        start = time.perf_counter()
        segmentation = segmenter.segment(picture, words)
        seconds.append(time.perf_counter() - start)
    shown = (
        f'{1e3 * min(seconds[1:]):.0f} ms (the first {1e3 * seconds[0]:.0f} ms, loading '
        f'{loaded:.1f} s) on {_runs_on(segmenter)}, {picture.shape[1]}x{picture.shape[0]}'
    )
    stand_in = np.array_equal(picture, seeded_images(480, 640, 1)[0])
    shares = {} if stand_in or model != DEFAULT_MODEL else segmentation.shares()
    scores = np.asarray(segmentation.scores)
    yield frame_verdict(name, shown, shares, finite=bool(np.isfinite(scores).all()))


def _runs_on(segmenter: Segmenter) -> str:
    """Return device, precision and library of a segmenter."""
    precision = str(segmenter.dtype).removeprefix('torch.')
    library = segmenter.options.backend
    return f'{segmenter.runs_on} ({precision}{"" if library == "auto" else f", {library}"})'


def frame_verdict(name: str, shown: str, shares: dict[str, float], *, finite: bool) -> Finding:
    """Return the finding of a frame.

    Args:
        name: Of the finding.
        shown: What is said of it in any case.
        shares: Share of the pixels by class, if the picture is the photo and the model the
            bundled one, whose labels are known; else empty.
        finite: Whether all scores are numbers.
    """
    if not finite:
        advice = 'Try --device cpu; report it with the device that fails.'
        return Finding(_SECTION, name, f'scores that are no numbers; {shown}', 'fault', advice)
    if not shares:
        return Finding(_SECTION, name, shown)
    cup, (least, most) = shares.get('cup', 0.0), _CUP
    shown = f'{shown}; cup {cup:.0%}'
    if least <= cup <= most:
        return Finding(_SECTION, name, shown)
    advice = 'The labels are wrong: try --device cpu, and report it with the device that fails.'
    return Finding(_SECTION, name, shown, 'fault', advice)

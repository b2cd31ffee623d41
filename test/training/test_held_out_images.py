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
"""Images that are held out are measured on and not trained on, whatever a run says of itself."""

from pathlib import Path
from typing import Any

import pytest
from training_helpers import Runs
from zegclip_core.data.folder import Sample
from zegclip_core.training import batches


def record(monkeypatch: pytest.MonkeyPatch, kind: str) -> set[str]:
    """Return a set that gathers the names of the images of which views are made."""
    shown: set[str] = set()
    view = getattr(batches, kind)

    def recorded(sample: Sample, *more: Any, **options: Any) -> object:  # noqa: ANN401
        shown.add(Path(sample.name).stem)
        return view(sample, *more, **options)

    monkeypatch.setattr(batches, kind, recorded)
    return shown


def test_held_out_images_are_shown_to_measure_on_alone(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, measured = (record(monkeypatch, kind) for kind in ('random_view', 'whole_view'))
    settings = (
        *('keep_features=false', 'schedule.steps=3', 'schedule.validate_every=3'),
        *('train.0.hold_out=3', 'validate.0.split=train', 'validate.0.hold_out=3'),
    )
    assert runs.train(*settings) == 0
    # Of six every third.
    assert trained == {'1', '2', '4', '5'}
    assert measured == {'0', '3'}
    lines = (runs.out / 'squares' / 'images.txt').read_text(encoding='utf-8').splitlines()
    assert {Path(line).stem for line in lines} == trained

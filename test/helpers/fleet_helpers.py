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
"""Bags of a fleet, and the stand-in for the model that workers take for it."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
import csv
from functools import partial
import os
from pathlib import Path
import signal
import time

from bag_helpers import camera_bag, ColorSegmenter, hashes
from commands import Answer
import numpy as np
import numpy.typing as npt
import pytest
from zegclip_core.cli import label_bags
from zegclip_core.segmentation import Segmentation
from zegclip_core.text.vocabulary import Vocabulary

HELPERS = Path(__file__).resolve().parent
WORDS = ('--classes', 'tomato, sky')
Fleet = Callable[..., Answer]
"""``zegclip label-bags`` with its arguments."""


@contextmanager
def importable() -> Iterator[None]:
    """Have workers find this file and what it imports."""
    more = [str(HELPERS), str(HELPERS.parents[1])]
    with pytest.MonkeyPatch.context() as patch:
        known = os.environ.get('PYTHONPATH')
        patch.setenv('PYTHONPATH', os.pathsep.join([*more, *([known] if known else [])]))
        patch.delenv('RAY_ADDRESS', raising=False)
        yield


def load(folder: Path | None, args: argparse.Namespace) -> ColorSegmenter:
    """Stand in for the model, in processes that import this file; note their threads."""
    if folder is None:
        return ColorSegmenter()
    (folder / f'threads_{args.threads}_{os.getpid()}').touch()
    return SlowSegmenter(folder)


class SlowSegmenter(ColorSegmenter):
    """Notes each image, and waits or dies at the ninth one of a folder if that says so.

    Attributes:
        folder: Where each image leaves a file; ``die`` and ``wait`` there say what happens.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def segment(self, image: npt.NDArray[np.uint8], vocabulary: Vocabulary) -> Segmentation:
        seen = len(list(self.folder.glob('image_*')))
        (self.folder / f'image_{os.getpid()}_{time.monotonic_ns()}').touch()
        if seen >= 8 and (self.folder / 'die').exists():
            (self.folder / 'die').rename(self.folder / 'died')
            os.kill(os.getpid(), signal.SIGKILL)
        while seen >= 8 and (self.folder / 'wait').exists():
            time.sleep(0.05)
        return super().segment(image, vocabulary)


def use_model(monkeypatch: pytest.MonkeyPatch, folder: Path | None) -> None:
    """Have workers take the stand-in, which notes its images in a folder."""
    monkeypatch.setattr(label_bags, 'load_segmenter', partial(load, folder))


def drives(folder: Path, count: int = 4) -> Path:
    """Write some bags of different storage and length, in folders of two days."""
    for number in range(count):
        storage = ('mcap', 'sqlite3')[number % 2]
        camera_bag(folder / f'day{number % 2}' / f'drive{number}', storage, frames=number + 3)
    return folder


def listed(path: Path) -> list[dict[str, str]]:
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, dict[str, str]]:
    """Return the checksums of all files of all labelled bags."""
    bags = [path.parent for path in folder.rglob('metadata.yaml')]
    return {str(bag.relative_to(folder)): hashes(bag) for bag in bags}

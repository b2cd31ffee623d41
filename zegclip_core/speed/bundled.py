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
"""What is measured with the bundled model: behind a camera, a change of the words, a start."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
import json
import statistics
import subprocess
import sys
import time

import numpy as np
import torch
from zegclip_core.errors import ConfigError
from zegclip_core.segmenter import Segmenter
from zegclip_core.speed.inputs import class_names, Image, Inputs, seeded_images
from zegclip_core.speed.methods import Ours
from zegclip_core.speed.report import Case, Cells, Report
from zegclip_core.speed.timing import timed
from zegclip_core.speed.turns import Turns
from zegclip_core.text.vocabulary import Vocabulary

SHORT_SIDES = (308, 252)
"""Working sizes to measure beside the model's own, in pixels."""
WORDS = ('cup', 'spoon', 'dining table', 'bowl', 'person', 'bottle', 'book', 'knife')
_NEW_WORDS = 20
_AT_REST = 5
"""Intervals between frames before the first change."""
_LONGEST_START = 120.0
"""Seconds after which a process that has not labelled an image is ended."""
_START = """
import json, sys, time
began = float(sys.argv[2])
import numpy as np
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary
times = [time.monotonic() - began]
words = Vocabulary.from_names(['person', 'cat', 'cup', 'dining table'])
Segmenter.load(device=sys.argv[1]).segment(np.zeros((480, 640, 3), np.uint8), words)
print(json.dumps([*times, time.monotonic() - began]))
"""


def camera_frame() -> Image:
    """Return a photo, ``(480, 640, 3)``; a seeded image without scikit-image or OpenCV."""
    try:
        import cv2
        from skimage import data
    except ImportError:
        return seeded_images(480, 640, 1)[0]
    photo: Image = data.coffee()  # type: ignore[no-untyped-call]
    return np.asarray(cv2.resize(photo, (640, 480), interpolation=cv2.INTER_AREA), np.uint8)


def measure_camera(device: torch.device, repeats: int, report: Report) -> list[Cells]:
    """Measure a frame at the model's own working size and at smaller ones, in turn.

    ``report`` gets a line for each of them that fails.
    """
    load = partial(Segmenter.load, device=str(device), threshold=0.0, negatives=())
    segmenters = {'lean': load()}
    segmenters |= {f'lean, short side {side}': load(short_side=side) for side in SHORT_SIDES}
    segmenters['plain'] = load(precision='fp32', engine='plain')
    methods = {name: Ours(segmenter) for name, segmenter in segmenters.items()}
    vocabulary = Vocabulary.from_names(WORDS)
    embeddings = segmenters['lean'].encode(vocabulary).embeddings
    inputs = Inputs([camera_frame()], vocabulary, embeddings, torch.zeros(len(WORDS)))
    case = Case(
        480, 640, len(WORDS), prompts=segmenters['lean'].network.config.vision.prompt_tokens
    )
    turns = Turns(methods, case, inputs, device, report)
    rows = turns.measure(tuple(methods), repeats=repeats)
    shown = ('method', 'frame to labels [ms]', 'spread [ms]', 'memory [MB]', 'as plain [%]')
    return [
        {title: row.cells()[title] for title in shown} | {'frames a second': 1e3 / row.ms}
        for row in rows
    ]


def measure_words(device: torch.device, repeats: int) -> list[Cells]:
    """Change the words of the bundled model, with and without frames beside."""
    segmenter, frame = Segmenter.load(device=str(device)), camera_frame()
    names = iter(class_names((2 * repeats + 1) * _NEW_WORDS))  # Each word is in one vocabulary.
    first, *others = map(Vocabulary.from_names, zip(*[names] * _NEW_WORDS, strict=True))
    words, ends = segmenter.encode(first), []

    def encode(vocabulary: Vocabulary) -> float:
        # As on a CPU, since it must not wait for the frames.
        return 1e3 * timed(torch.device('cpu'), partial(segmenter.encode, vocabulary))[1]

    def label_a_frame() -> None:
        segmenter.segment(frame, words)
        ends.append(1e3 * time.perf_counter())

    alone = [encode(vocabulary) for vocabulary in others[:repeats]]
    known = [encode(first) for _ in range(repeats)]
    for _ in range(1 + _AT_REST):
        label_a_frame()
    with ThreadPoolExecutor(1) as thread:
        beside = []
        for vocabulary in others[repeats:]:
            change = thread.submit(encode, vocabulary)
            while not change.done():
                label_a_frame()
            beside.append(change.result())
    intervals = [end - start for start, end in pairwise(ends)]
    at_rest, longest = statistics.median(intervals[:_AT_REST]), max(intervals[_AT_REST:])
    head = (
        f'{_NEW_WORDS} words',
        'until they are ready [ms]',
        'between two labels at rest [ms]',
        'longest beside a change [ms]',
    )
    rows = (
        ('new, beside frames', statistics.median(beside), at_rest, longest),
        ('new, no frames', statistics.median(alone), None, None),
        ('known, no frames', statistics.median(known), None, None),
    )
    return [dict(zip(head, row, strict=True)) for row in rows]


def measure_start(device: torch.device, repeats: int) -> list[Cells]:
    """Start processes that load the bundled model and label an image, one after the other."""
    found = []
    # Three are enough.
    for _ in range(min(repeats, 3)):
        command = [sys.executable, '-c', _START, str(device), repr(time.monotonic())]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_LONGEST_START
        )
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ['no reason given'])[-1]
            raise ConfigError(f'Expected a process to label a frame, but got: {reason}')
        found.append(json.loads(done.stdout.splitlines()[-1]))
    imported, labelled = (statistics.median(times) for times in zip(*found, strict=True))
    head = ('from the start of the process to', 'seconds')
    rows = (('the end of the imports', imported), ('the first label', labelled))
    return [dict(zip(head, row, strict=True)) for row in rows]

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
"""The process whose start is measured: it imports nothing before its clock runs."""

from itertools import pairwise
import json
import sys
import time

WORDS = ('person', 'cat', 'cup', 'dining table')


def label_one(device: str, began: float) -> None:
    """Be the process: print the parts as JSON.

    Args:
        device: As in ``zegclip_core.speed.start.measure_starts``.
        began: When the process was started, in seconds of ``time.monotonic``.
    """
    times = [began]

    def passed() -> None:
        times.append(time.monotonic())

    import numpy as np
    import torch  # noqa: F401 - its time is looked at

    passed()
    from zegclip_core.segmenter import Segmenter
    from zegclip_core.text.vocabulary import Vocabulary

    frame = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    passed()
    segmenter = Segmenter.load(device=device)
    passed()
    segmenter.warm_up()
    passed()
    words = segmenter.encode(Vocabulary.from_names(WORDS))
    passed()
    segmenter.segment(frame, words)
    passed()
    segmenter.segment(frame, words)
    passed()
    seconds = [end - start for start, end in pairwise(times)]
    sys.stdout.write(json.dumps({'parts': seconds[:-1], 'frame': seconds[-1]}) + '\n')


if __name__ == '__main__':
    label_one(sys.argv[1], float(sys.argv[2]))

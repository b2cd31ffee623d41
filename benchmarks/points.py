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
"""How long points take, beside the time that the model takes for the same frame.

Run it by ``python -m benchmarks.points``; ``docs/performance.md`` has the figures. Both sides are
measured in turn, in one process: a frame of 640x480 is labelled, and then a cloud is made of it as
the node makes it, from the depth message to the message of points.
"""

import argparse
from array import array
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
import statistics
import sys
import time

from benchmarks.reports import report, setting
import numpy as np
from sensor_msgs.msg import Image
from skimage import data
from std_msgs.msg import Header
from tabulate import tabulate
from tqdm import tqdm
from zegclip_core.geometry import DepthView, Intrinsics, resampled
from zegclip_core.images.regions import find_regions
from zegclip_core.messages.depth import depth_metres
from zegclip_core.messages.outputs import region_list
from zegclip_core.messages.point_cloud import cloud_fields
from zegclip_core.segmentation import Segmentation
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_ros.conversions import cloud_message

PAGE = Path(__file__).resolve().parents[1] / 'docs' / 'performance.md'
WORDS = ('person', 'helmet', 'flag', 'wall', 'rocket', 'cup')
WIDTH, HEIGHT = 640, 480
CAMERA = Intrinsics(WIDTH, HEIGHT, 600.0, 600.0, 319.5, 239.5)
LARGE = Intrinsics(848, 480, 620.0, 620.0, 423.5, 239.5)
"""A depth camera of another size."""


def depth_message(camera: Intrinsics) -> Image:
    """Return the depth of a slanted wall, of which a tenth is not known."""
    rng = np.random.default_rng(0)
    columns = np.arange(camera.width)
    values = np.tile(1500 + 2 * columns, (camera.height, 1)).astype('<u2')
    values[rng.random(values.shape) < 0.1] = 0
    return Image(
        height=camera.height,
        width=camera.width,
        encoding='16UC1',
        step=2 * camera.width,
        data=array('B', values.tobytes()),
    )


def points(
    message: Image, camera: Intrinsics, found: Segmentation, rgb: np.ndarray, *, organised: bool
) -> None:
    """Make a cloud as the node does."""
    view = DepthView(resampled(depth_metres(message), camera, CAMERA), CAMERA)
    fields = cloud_fields(view, rgb, found.ids, found.scores, organised=organised)
    cloud_message(fields, Header())


def boxes(message: Image, found: Segmentation) -> None:
    """Find regions and where they are."""
    view = DepthView(depth_metres(message), CAMERA)
    region_list(find_regions(found, 100), found, view)


def flat_boxes(found: Segmentation) -> None:
    """Find regions without depth."""
    region_list(find_regions(found, 100), found)


def measure(segmenter: Segmenter, repeats: int) -> dict[str, list[float]]:
    """Return the seconds of each case, in turn with the model's, which are under ``model``."""
    rgb = np.ascontiguousarray(np.resize(data.astronaut()[:HEIGHT], (HEIGHT, 512, 3)))
    rgb = np.ascontiguousarray(np.pad(rgb, ((0, 0), (64, 64), (0, 0)), mode='edge'))
    words = segmenter.encode(Vocabulary.from_names(WORDS))
    same, other = depth_message(CAMERA), depth_message(LARGE)
    times: dict[str, list[float]] = {}
    for _ in tqdm(range(repeats)):
        found: list[Segmentation] = []
        _timed(times, 'model', lambda: found.append(segmenter.segment(rgb, words)))  # noqa: B023
        one = found[0]
        cases: dict[str, Callable[[], object]] = {
            'points': partial(points, same, CAMERA, one, rgb, organised=False),
            'points, organised': partial(points, same, CAMERA, one, rgb, organised=True),
            'points of depth of 848x480': partial(points, other, LARGE, one, rgb, organised=False),
            'regions': partial(flat_boxes, one),
            'regions with boxes in 3D': partial(boxes, same, one),
        }
        for name, case in cases.items():
            _timed(times, name, case)
    return times


def _timed(times: dict[str, list[float]], name: str, case: Callable[[], object]) -> None:
    began = time.perf_counter()
    case()
    times.setdefault(name, []).append(time.perf_counter() - began)


def page_text(times: dict[str, list[float]]) -> str:
    """Return the table of the page."""
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    rows = [
        {
            'of a frame of 640x480': 'the model, everyday-s' if name == 'model' else name,
            'median [ms]': f'{1e3 * seconds:.1f}',
            "of the model's time": f'{seconds / medians["model"]:.1%}',
        }
        for name, seconds in medians.items()
    ]
    return f'{tabulate(rows, "keys", "github", disable_numparse=True)}\n\n({setting()})'


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.points', description=__doc__)
    parser.add_argument('--model', default='everyday-s', help='name or file')
    parser.add_argument('--repeats', type=int, default=15, help='frames (default: %(default)s)')
    parser.add_argument('--write-docs', action='store_true', help=f'put it into {PAGE.name}')
    options = parser.parse_args(arguments)

    def measured() -> str:
        segmenter = Segmenter.load(options.model, device='cpu')
        segmenter.warm_up()
        return page_text(measure(segmenter, options.repeats))

    return report('points', measured, PAGE, write=options.write_docs)


if __name__ == '__main__':
    sys.exit(main())

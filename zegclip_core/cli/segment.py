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
"""``zegclip segment``: label images and overlays of the user's own images and videos."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
import os
from pathlib import Path
import shutil
import sys
import time
from typing import Any, TYPE_CHECKING

from zegclip_core.cli._model import (
    add_model_options,
    add_word_options,
    encode_words,
    fraction,
    load_segmenter,
    read_words,
)
from zegclip_core.cli._results import check_outputs, label_folder, output_paths

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from zegclip_core.cli._results import Job
    from zegclip_core.images.rerun_log import RerunLog
    from zegclip_core.segmentation import Moment, Segmentation
    from zegclip_core.segmenter import EncodedVocabulary, Segmenter

FALLBACK_RATE = 25.0
"""Frames per second of an overlay whose video declares no rate."""

_DESCRIPTION = """\
Label every pixel of images and videos with one of the given words. For each image NAME it
writes NAME_label.png (class ids, in the order of the words unless they have an "id"; 255 = none
of them; the image's own size), NAME_overlay.png (with a legend) and NAME.json (classes, colours,
shares, model, seconds); for each video NAME_overlay.mp4 and NAME.json. What is left out, or
decoded in part only, is named at the end, and the exit code is 2.
"""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add this command to the parser of ``zegclip``."""
    parser = subparsers.add_parser(
        'segment', help='segment images, videos and folders', description=_DESCRIPTION
    )
    parser.add_argument(
        'inputs',
        nargs='+',
        metavar='IMAGE',
        help='images, videos, folders or patterns of them, addresses (https://...), or - for an '
        'image on standard input',
    )
    parser.add_argument(
        '--recursive', action='store_true', help='also look into the folders below folders'
    )
    add_word_options(parser)
    parser.add_argument('--out', required=True, metavar='DIR', help='folder for the results')
    add_model_options(parser, further=('smoothing',))
    parser.add_argument(
        '--alpha', type=fraction, default=0.5, help='weight of the colours (default: %(default)s)'
    )
    parser.add_argument(
        '--frame-labels',
        action='store_true',
        help='also write NAME_label/NUMBER.png for every frame of a video',
    )
    parser.add_argument(
        '--rerun',
        metavar='FILE',
        help='also log all to this file (.rrd), to a viewer that runs here (connect), or to that '
        'of a URL (rerun+http://HOST:9876/proxy)',
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Segment everything that is named; what cannot be done is reported and left out.

    Returns:
        0, or 2 if something was left out or could be decoded in part only.

    Raises:
        ZegCLIPError: If an input, the words or the model cannot be used.
    """
    from tqdm import tqdm
    from zegclip_core.cli._account import Account
    from zegclip_core.cli._inputs import planned_jobs
    from zegclip_core.cli._rerun import check_log, opened_log
    from zegclip_core.files import user_path

    vocabulary = read_words(args)
    log_target = check_log(args.rerun)
    account = Account()
    out = user_path(args.out)
    with planned_jobs(args.inputs, account, recursive=args.recursive, out=out) as jobs:
        check_outputs(out, jobs, frame_labels=args.frame_labels)
        out.mkdir(parents=True, exist_ok=True)

        # Last, since it takes seconds: everything that can be refused without it has been.
        segmenter = load_segmenter(args)
        encode_words(segmenter, vocabulary)
        encoded = segmenter.encode(vocabulary)
        with (
            opened_log(log_target, vocabulary, args.alpha) as log,
            tqdm(jobs, unit='file', disable=None) as bar,
        ):
            task = _Task(segmenter, encoded, out, args.alpha, args.frame_labels, log)
            for job in bar:
                bar.set_description(job.source.name)
                with account.one(job.called):
                    output_paths(out, job)[0].parent.mkdir(parents=True, exist_ok=True)
                    done = _segment_video(job, task) if job.video else _segment_image(job, task)
                    first = output_paths(out, job)[0]
                    bar.write(f'{first}: {_in_words(done.shares)}', sys.stdout)
                    account.done(job.called, done.part, done.note)
    return account.close()


@dataclass(frozen=True)
class _Task:
    """What is the same for all inputs."""

    segmenter: Segmenter
    encoded: EncodedVocabulary
    out: Path
    alpha: float
    frame_labels: bool
    log: RerunLog | None

    def segment(
        self, name: str, image: npt.NDArray[np.uint8], moment: Moment | None = None
    ) -> tuple[Segmentation, float]:
        """Return the segmentation of an RGB uint8 ``(H, W, 3)`` image and its seconds.

        ``name`` is that of the image, or of its video, where it is logged.
        """
        start, maps = time.perf_counter(), self.log is not None
        found = self.segmenter.segment(image, self.encoded, moment=moment, mask_logits=maps)
        seconds = time.perf_counter() - start
        if self.log is not None:
            self.log.add(name, image, found, moment)
        return found, seconds

    def report(
        self, last: Segmentation, shares: dict[str, float], unlabelled: float
    ) -> dict[str, object]:
        """Return what the JSON files say about model and classes."""
        from zegclip_core.segmentation import report_of

        return {
            'model': self.segmenter.model_name,
            'device': str(self.segmenter.device),
            **report_of(last, shares, unlabelled),
        }


def _in_words(shares: dict[str, float]) -> str:
    """Return the classes that are there, the largest first."""
    found = sorted(((share, name) for name, share in shares.items() if share > 0.0), reverse=True)
    return ', '.join(f'{name} {share:.1%}' for share, name in found) or 'none of the classes'


@dataclass(frozen=True)
class _Done:
    """What came of an input.

    Attributes:
        shares: The shares of the classes.
        part: What part of it was decoded; empty for all of it.
        note: What else is to be said of it.
    """

    shares: dict[str, float]
    part: str = ''
    note: str = ''


def _segment_image(job: Job, task: _Task) -> _Done:
    """Segment an image and write its three files."""
    from zegclip_core.cli._outputs import write_json, write_png
    from zegclip_core.images.drawing import overlay_with_legend
    from zegclip_core.images.media import read_picture

    picture = read_picture(job.source, job.called)
    image = picture.pixels
    segmentation, seconds = task.segment(job.stem, image)
    shares = segmentation.shares()
    overlay_path, label_path, json_path = output_paths(task.out, job)
    write_png(label_path, segmentation.ids)
    write_png(overlay_path, overlay_with_legend(image, segmentation, alpha=task.alpha))
    height, width = segmentation.labels.shape
    report = {
        'source': job.called,
        'width': width,
        'height': height,
        **task.report(segmentation, shares, segmentation.unlabelled_share),
        'seconds': round(seconds, 4),
    }
    write_json(json_path, report)
    note = 'holds several pictures, of which the first is labelled'
    return _Done(shares, note=note if picture.first_of_several else '')


@contextmanager
def _replaced_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to fill that takes the place of ``folder``, if no error comes before."""
    partial = folder.with_name(f'.{folder.name}.{os.getpid()}.part')
    partial.mkdir()
    try:
        yield partial
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _segment_video(job: Job, task: _Task) -> _Done:
    """Segment a video frame by frame; the shares are the means over all frames."""
    from tqdm import tqdm
    from zegclip_core.cli._outputs import write_json, write_png
    from zegclip_core.images.drawing import overlay_with_legend
    from zegclip_core.images.video import Video, VideoWriter
    from zegclip_core.segmentation import Moment

    video = Video(job.source, job.called)
    rate = video.frame_rate or FALLBACK_RATE
    overlay_path, json_path = output_paths(task.out, job)
    totals: dict[str, float] = {}
    count, unlabelled, seconds = 0, 0.0, 0.0
    bar = tqdm(video, total=video.frame_count, unit='frame', leave=False, disable=None)
    folder = _replaced_folder(label_folder(task.out, job)) if task.frame_labels else nullcontext()
    with VideoWriter(overlay_path, rate) as writer, folder as labels:
        for count, frame in enumerate(bar, start=1):
            last, taken = task.segment(job.stem, frame, Moment(job.stem, (count - 1) / rate))
            if labels is not None:
                write_png(labels / f'{count - 1:06d}.png', last.ids)
            writer.write(overlay_with_legend(frame, last, alpha=task.alpha, every_class=True))
            seconds += taken
            unlabelled += last.unlabelled_share
            for name, share in last.shares().items():
                totals[name] = totals.get(name, 0.0) + share
    shares = {name: total / count for name, total in totals.items()}
    height, width = last.labels.shape
    report = {
        'source': job.called,
        'width': width,
        'height': height,
        'frames': count,
        'frames_expected': video.frame_count,
        'frame_rate': rate,
        **task.report(last, shares, unlabelled / count),
        'seconds': round(seconds, 4),
    }
    write_json(json_path, report)
    expected = f' of {video.frame_count}' if (video.frame_count or 0) > count else ''
    return _Done(shares, f'{count}{expected} frames decoded' if video.cut else '')

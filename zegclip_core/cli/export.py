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
"""``zegclip export``: write a model for another inference engine."""

from __future__ import annotations

import argparse
import re
import sys
from typing import Any

from zegclip_core.errors import ConfigError
from zegclip_core.export_int8 import PRECISIONS
from zegclip_core.files import user_path
from zegclip_core.weights.names import DEFAULT_MODEL

_DESCRIPTION = """\
Write a model as an ONNX file for onnxruntime or TensorRT: an image in, labels and scores out, for
words that are given with each image. The words are still encoded by the model's text tower. Or
convert it for OpenVINO, into the cache that the backend openvino takes it from.
"""
_OF_FORMAT = {
    **dict.fromkeys(('out', 'size', 'opset', 'precision', 'check'), 'onnx'),
    'calibrate': 'openvino',
}
"""Options that only one format has."""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add this command to the parser of ``zegclip``."""
    parser = subparsers.add_parser(
        'export', help='write a model for onnxruntime or TensorRT', description=_DESCRIPTION
    )
    parser.add_argument(
        '--model',
        default=DEFAULT_MODEL,
        help='a bundled name, a checkpoint, or NAME/TAG or NAME@FILE for CLIP without training '
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--format',
        default='onnx',
        choices=['onnx', 'openvino'],
        help='what to write (default: %(default)s)',
    )
    parser.add_argument('--out', metavar='FILE', help='file to write, NAME.onnx; for onnx')
    parser.add_argument(
        '--calibrate',
        metavar='DIR',
        help='folder of pictures to calibrate the precision int8 with; for openvino',
    )
    parser.add_argument(
        '--size',
        type=size,
        metavar='HxW',
        help='height and width of the image in pixels, whole patches (default: what the model '
        'makes of a 640x480 camera)',
    )
    parser.add_argument(
        '--opset',
        type=int,
        metavar='N',
        help='operator set of ONNX, 18 to 23 (default: 18)',
    )
    parser.add_argument(
        '--precision',
        choices=PRECISIONS,
        help='of the linear layers: int8 is faster on a CPU, a third of the size, and changes one '
        'or two labels in a hundred (default: fp32)',
    )
    parser.add_argument(
        '--check',
        action='store_const',
        const=True,
        help='compare what onnxruntime and PyTorch make of the same input afterwards; fails if '
        'they differ',
    )
    parser.set_defaults(run=run)


def size(text: str) -> tuple[int, int]:
    """Return height and width given as ``HxW``."""
    match = re.fullmatch(r'(\d{1,5})x(\d{1,5})', text)
    if match is None or not int(match[1]) or not int(match[2]):
        raise argparse.ArgumentTypeError(
            f'expected height and width in pixels, such as 364x476, but got {text}'
        )
    return int(match[1]), int(match[2])


def run(args: argparse.Namespace) -> int:
    """Export; returns 0.

    Raises:
        ZegCLIPError: If the model or an option cannot be used.
    """
    given = {name for name in _OF_FORMAT if getattr(args, name) is not None}
    foreign = sorted(name for name in given if _OF_FORMAT[name] != args.format)
    if foreign:
        raise ConfigError(f'Expected --{foreign[0]} only for the format {_OF_FORMAT[foreign[0]]}.')
    if args.format == 'openvino':
        return _convert(args)
    if args.out is None:
        raise ConfigError('Expected --out NAME.onnx, the file to write, but it is missing.')
    from zegclip_core.export import export_onnx, OPSET

    opset = OPSET if args.opset is None else args.opset
    precision = args.precision or 'fp32'
    made = export_onnx(args.model, args.out, size=args.size, opset=opset, precision=precision)
    shown = ', '.join(f'{path} ({path.stat().st_size / 2**20:.0f} MB)' for path in made.files)
    height, width = made.size
    sys.stdout.write(
        f'Wrote {shown}: image uint8 (1, {height}, {width}, 3) and text float32 '
        f'(classes, {made.text_dim}) in, labels and scores (1, {height}, {width}) out\n'
    )
    if args.check:
        from zegclip_core.export_check import check_onnx, CHECKED_CLASSES

        found = check_onnx(args.model, made.files[0])
        sys.stdout.write(
            f'Checked with {", ".join(map(str, CHECKED_CLASSES))} words on noise: scores differ '
            f'from those of PyTorch by at most {found.difference:.1e}, and {found.alike:.2%} of '
            'the labels are the same\n'
        )
    return 0


def _convert(args: argparse.Namespace) -> int:
    """Convert for OpenVINO; returns 0."""
    from zegclip_core.engines.openvino.conversion import convert

    pictures = None if args.calibrate is None else user_path(args.calibrate)
    place = convert(args.model, pictures)
    megabytes = sum(path.stat().st_size for path in place.iterdir()) / 2**20
    use = 'fp32 and bf16' if args.calibrate is None else 'int8'
    sys.stdout.write(f'{place} ({megabytes:.0f} MB) has {args.model} for OpenVINO, {use}\n')
    return 0

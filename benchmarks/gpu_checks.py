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
"""Whether all ways to compute a frame agree at real shapes: what ``benchmarks.gpu`` does first."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
import json
from pathlib import Path
import platform
import time
from typing import Any, Literal

Found = dict[str, Any]
"""What a check found, as JSON has it."""
LIKE_FLOAT32 = 0.995
"""Least share of pixels labelled as by the plain path in float32 on a CPU, in float32."""
LIKE_HALF = 0.97
"""The same in bfloat16 and float16, with seeded weights, whose classes lie close together."""
LIKE_EACH_OTHER = 0.999
"""The same between two ways to compute the same in one precision."""
FRAMES = ((512, 512, 20), (480, 640, 150))
"""Height, width and classes."""
SHAPES = ((1025, 10, 12), (911, 0, 6))
"""Tokens, prompts and heads of the published model's frame and of the bundled one's."""
_NO_BACKEND = ('No available kernel', 'No viable backend')
_NEAR = 0.05
"""Largest difference between attentions in half precision, of values around 1."""
_CALLS = 20


class Skipped(Exception):  # noqa: N818 - it is no error
    """What a check raises where it cannot be made."""


class Log:
    """A file of results, one a line.

    Args:
        path: It is appended to.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, check: str, ok: bool | None, **found: object) -> None:
        """Write a result."""
        with self._path.open('a', encoding='utf-8') as file:
            file.write(json.dumps({'check': check, 'ok': ok, **found}) + '\n')

    @contextmanager
    def check(self, name: str) -> Iterator[Found]:
        """Write what a check puts into the given dictionary; an error is a result as well."""
        found: Found = {}
        began = time.perf_counter()
        ok: bool | None = True
        try:
            yield found
        except Skipped as error:
            ok, found['reason'] = None, str(error)
        except Exception as error:
            first = str(error).strip().partition('\n')[0] or 'no reason given'
            ok, found['reason'] = False, f'{type(error).__name__}: {first}'
        self.add(name, ok, seconds=round(time.perf_counter() - began, 3), **found)


def expect(value: float, least: float, what: str) -> None:
    """Refuse a share that is too small.

    Raises:
        ValueError: If it is.
    """
    if not value >= least:
        raise ValueError(f'Expected {what} of at least {least}, but got {value:.5f}.')


def checks(log: Log, args: argparse.Namespace) -> None:
    """Look whether all ways to compute a frame of real size agree, the CPU's among them."""
    import torch

    works = False
    with log.check('setting') as found:
        found |= {'python': platform.python_version(), 'torch': torch.__version__}
        found |= about(args.device)
        works = True
    if not works:
        return
    for tokens, prompts, heads in SHAPES:
        check_attention(log, args.device, tokens, tokens + prompts, heads)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for height, width, classes in FRAMES[: 1 if args.quick else None]:
            check_labels(log, args, height, width, classes)


def about(device: str) -> Found:
    """Return what device this is, and the libraries that are for it.

    Raises:
        RuntimeError: If PyTorch cannot use it.
    """
    import torch

    torch.ones(1, device=device).sum().item()
    if torch.device(device).type != 'cuda':
        return {'device': platform.machine()}
    major, minor = torch.cuda.get_device_capability(device)
    return {
        'device': torch.cuda.get_device_name(device),
        'capability': f'{major}.{minor}',
        'cuda': torch.version.cuda,
        'cudnn': torch.backends.cudnn.version(),
    }


def check_labels(
    log: Log, args: argparse.Namespace, height: int, width: int, classes: int
) -> None:
    """Compare labels and scores of one frame."""
    import numpy as np
    from zegclip_core.speed.report import Case

    done: dict[str, list[Any]] = {}

    with log.check(f'{width}x{height}, {classes} classes: the CPU') as found:
        bundle = make_bundle(args.model)
        inputs = bundle.inputs(Case(height, width, classes, prompts=bundle.prompts))
        exact = make_segmenter(bundle, 'cpu', precision='fp32', engine='plain')
        (result,) = exact.segment_batch(inputs.images, inputs.vocabulary)
        done['the CPU'] = [result.labels, result.scores]
        found['classes'] = len(np.unique(result.labels))
    if not done:
        return  # There is nothing to compare with.

    def compare(
        name: str,
        to: str,
        least: float,
        calls: int = 1,
        **settings: Any,  # noqa: ANN401 - of several types
    ) -> None:
        with log.check(f'{width}x{height}, {classes} classes: {name} as {to}') as found:
            segmenter = make_segmenter(bundle, args.device, **settings)
            for _ in range(calls):
                (result,) = segmenter.segment_batch(inputs.images, inputs.vocabulary)
            done[name] = [result.labels, result.scores]
            alike = float(np.mean(result.labels == done[to][0]))
            found |= {
                'labels alike': alike,
                'mean difference of scores': float(np.abs(result.scores - done[to][1]).mean()),
                'classes': len(np.unique(result.labels)),
            }
            expect(alike, least, 'labels alike')

    compare('plain float32', 'the CPU', LIKE_FLOAT32, precision='fp32', engine='plain')
    for kind, precision, least in (
        ('float32', 'fp32', LIKE_FLOAT32),
        ('best precision', 'auto', LIKE_HALF),
    ):
        eager, whole = f'eager, {kind}', f'lean, {kind}'
        compare(eager, 'the CPU', least, precision=precision, graphs=False)
        # The later calls are replays of a graph.
        compare(whole, eager, LIKE_EACH_OTHER, calls=5, precision=precision)
        torch_only = f'without kernels of Triton, {kind}'
        compare(torch_only, eager, LIKE_EACH_OTHER, precision=precision, kernels=False)


def make_bundle(model: str | None) -> Any:  # noqa: ANN401 - Bundle, whose import takes seconds
    """Return a model by name, or the seeded one."""
    from zegclip_core.speed.inputs import load_bundle, seeded_bundle

    return load_bundle(model) if model else seeded_bundle(10)


def make_segmenter(
    bundle: Any,  # noqa: ANN401
    device: str,
    *,
    precision: str,
    engine: Literal['lean', 'plain'] = 'lean',
    graphs: bool = True,
    kernels: bool = True,
) -> Any:  # noqa: ANN401
    """Return a segmenter that labels every pixel.

    Raises:
        Skipped: If it is to do without what its engine has not.
    """
    from zegclip_core.options import SegmenterOptions
    from zegclip_core.segmenter import Segmenter

    options = SegmenterOptions(
        device=device,
        precision=precision,
        engine=engine,
        threshold=0.0,
        negatives=(),
    )
    segmenter = Segmenter(bundle.loaded(), options)
    runner: Any = segmenter.engine
    if not kernels:
        if not getattr(runner, '_has_kernel', False):
            raise Skipped('no kernel of Triton runs here')
        runner._has_kernel = runner.model.rows.fused = False
    if not graphs or not kernels:
        runner._graphs = None
    return segmenter


def check_attention(log: Log, device: str, queries: int, keys: int, heads: int) -> None:
    """Compare the attentions that PyTorch has, at a shape of the model."""
    import torch
    from torch.nn.attention import sdpa_kernel, SDPBackend
    import torch.nn.functional as F

    generator = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(1, heads, rows, 64, generator=generator).to(device)
        for rows in (queries, keys, keys)
    )
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH):
        exact = F.scaled_dot_product_attention(query, key, value)
    half = query.bfloat16(), key.bfloat16(), value.bfloat16()
    attend = partial(F.scaled_dot_product_attention, half[0], half[1], half[2])
    for name in ('MATH', 'FLASH_ATTENTION', 'CUDNN_ATTENTION', 'EFFICIENT_ATTENTION'):
        title = f'attention of {heads} heads, {queries} x {keys}, bfloat16: {name}'
        with log.check(title) as found, torch.inference_mode():
            if not hasattr(SDPBackend, name):
                raise Skipped('this PyTorch has none')
            try:
                with sdpa_kernel(getattr(SDPBackend, name)):
                    result = attend()
                    found['us'] = microseconds(device, attend)
            except RuntimeError as error:
                if any(mark in str(error) for mark in _NO_BACKEND):
                    raise Skipped('PyTorch has none for this shape and device') from error
                raise
            found['largest difference'] = float((result.float() - exact).abs().max())
            expect(-found['largest difference'], -_NEAR, 'a negative difference')


def microseconds(device: str, work: Callable[[], object]) -> float:
    """Return the time of a piece of work, of many calls without a pause."""
    import torch

    calls = _CALLS if torch.device(device).type == 'cuda' else 1
    for _ in range(3 if calls > 1 else 0):
        work()
    wait(device)
    began = time.perf_counter()
    for _ in range(calls):
        work()
    wait(device)
    return 1e6 * (time.perf_counter() - began) / calls


def wait(device: str) -> None:
    """Wait until a device is idle."""
    import torch

    if torch.device(device).type == 'cuda':
        torch.cuda.synchronize(device)

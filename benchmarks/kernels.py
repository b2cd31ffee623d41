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
"""Counts the kernels that a frame launches on CUDA; no GPU is needed.

Run it with ``python -m benchmarks.kernels``. The lean model runs on tensors that say they are on
CUDA and have no values; what launches a kernel there is counted.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
import sys
from typing import Any, cast
from unittest import mock

from benchmarks.reports import report
from tabulate import tabulate
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
import triton
from zegclip_core.engines.lean.model import lean_form
from zegclip_core.engines.lean.pixels import resized
from zegclip_core.engines.lean.postprocess_cuda import label_logits_in_one_kernel
from zegclip_core.engines.lean.vocabulary import bucket_of, LeanVocabulary
from zegclip_core.loading import open_checkpoint
from zegclip_core.model.zegclip import ZegCLIP, ZegCLIPConfig
from zegclip_core.speed.inputs import seeded_bundle
from zegclip_core.text.vocabulary import Vocabulary

PAGE = Path(__file__).resolve().parents[1] / 'docs' / 'performance.md'
CUDA = torch.device('cuda', 0)
PROMPTS = 10
SIZES = {'ViT-B/16, 10 prompts': (512, 512), 'everyday-s': (364, 476)}
CLASSES = 20
_FREE = ('aten.dropout.default',)
"""Says that it makes something new, but returns what it is given unless a model is trained."""
_FURTHER = {'aten.group_norm.default': 2}
"""Kernels of an operation beside its first."""


class Launches(TorchDispatchMode):
    """Counts operations of PyTorch that launch kernels on CUDA, and kernels of Triton.

    An operation launches one if it makes new memory and fills it, or writes into what is there; a
    convolution adds its bias by another one. Views cost none.

    Attributes:
        counts: By the operation's or the kernel's name.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - PyTorch names no type for it
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Call an operation and count it."""
        kwargs, name = kwargs or {}, str(func)
        if name == 'aten.scaled_dot_product_attention.default':
            self.counts[name] += 1
            query = args[0]  # CUDA's kernels write heads side by side, ready to be flattened.
            shape = (query.shape[0], query.shape[2], query.shape[1], args[2].shape[-1])
            return query.new_empty(shape).transpose(1, 2)
        out = func(*args, **kwargs)
        known = {_storage(each) for each in _tensors((args, kwargs))}
        makes = any(_storage(each) not in known for each in _tensors(out))
        if (makes or func._schema.is_mutable) and 'empty' not in name and name not in _FREE:
            self.counts[name] += 1 + _FURTHER.get(name, 0)
            if name == 'aten.conv2d.default' and len(args) > 2 and args[2] is not None:
                self.counts['bias of a convolution'] += 1
        return out

    def triton(self) -> Any:  # noqa: ANN401 - mock names no type for it
        """Return a context in which kernels of Triton are counted, and not run."""

        def run(kernel: triton.runtime.JITFunction[Any], *args: object, **kwargs: object) -> None:
            self.counts[f'Triton {kernel.fn.__name__}'] += 1

        return mock.patch.object(triton.runtime.JITFunction, 'run', run)


def _tensors(tree: object) -> list[Tensor]:
    """Return the tensors of nested arguments."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _storage(tensor: Tensor) -> int:
    """Return what tells a tensor's memory from others'."""
    return int(tensor.untyped_storage()._cdata)


def launches_of_frame(
    config: ZegCLIPConfig, size: tuple[int, int], classes: int, *, fused: bool = True
) -> Counter[str]:
    """Return the kernels of one frame in bfloat16, from the pixels on the device to the labels.

    Args:
        config: The model's shape.
        size: Height and width of the frame, which is not resized.
        classes: How many classes are asked for.
        fused: Whether Triton runs; without it the labels are left out.
    """
    with FakeTensorMode(allow_non_fake_inputs=True):
        with torch.no_grad():
            model = lean_form(ZegCLIP(config), dtype=torch.bfloat16, device=CUDA)
        model.rows.fused = fused
        launches = Launches()
        with launches.triton(), torch.inference_mode():
            embeddings = torch.empty(bucket_of(classes), config.text_dim, device=CUDA)
            values = embeddings[:, 0]
            vocabulary = LeanVocabulary(
                Vocabulary.from_names([f'word {index}' for index in range(classes)]),
                (),
                embeddings,
                *(values, values),
                *model.queries(embeddings),
                *(values, False),
                torch.empty(1, dtype=torch.int32, device=CUDA),
            )
            pixels = torch.empty((1, *size, 3), dtype=torch.uint8, device=CUDA)
            model.logits(resized(pixels, size), vocabulary)  # Tables of a grid are made once.
            launches.counts.clear()
            with launches:
                logits = model.logits(resized(pixels, size), vocabulary)
                if fused:
                    label_logits_in_one_kernel(logits, size, vocabulary)
    return launches.counts


def configs() -> dict[str, ZegCLIPConfig]:
    """Return the shapes of the models that are counted."""
    shapes = {
        'ViT-B/16, 10 prompts': seeded_bundle(PROMPTS).checkpoint.config,
        'everyday-s': open_checkpoint('everyday-s')[1].config,
    }
    return {name: cast(ZegCLIPConfig, config) for name, config in shapes.items()}


def counted() -> str:
    """Return a table of the kernels of each model."""
    found = {
        name: launches_of_frame(config, SIZES[name], CLASSES) for name, config in configs().items()
    }
    together: Counter[str] = sum(found.values(), Counter())
    names = [name for name, _ in together.most_common()]
    rows = [(f'`{name}`', *(counts[name] for counts in found.values())) for name in names]
    rows.append(('**all**', *(counts.total() for counts in found.values())))
    return tabulate(rows, ['launched by', *found], tablefmt='github')


def main(argv: Sequence[str] | None = None) -> int:
    """Count, print a table, and put it on the page if that is wanted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--write-docs', action='store_true', help='fill the page')
    args = parser.parse_args(argv)
    return report('kernels', counted, PAGE, write=args.write_docs)


if __name__ == '__main__':
    sys.exit(main())

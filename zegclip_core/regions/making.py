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
"""Makes a dataset to train on of photos with sentences: regions of words without masks."""

from collections.abc import Sequence
from pathlib import Path
import shutil
import tempfile

import numpy as np
import numpy.typing as npt
from PIL import Image
import torch
from torch import Tensor
from tqdm import tqdm
from zegclip_core.data.captions import CaptionedImages
from zegclip_core.devices import pick_device, pick_precision
from zegclip_core.errors import DataError
from zegclip_core.loading import load_model
from zegclip_core.model.scoring import resize_maps
from zegclip_core.options import SegmenterOptions, UNLABELLED
from zegclip_core.regions.learning import evidence_of, GRID, learn_words, whitened_tokens
from zegclip_core.segmenter import EncodedVocabulary, Segmenter
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_core.text.withheld import Withheld
from zegclip_core.training.queries import ClassWords

SURE_OF_KNOWN = 0.5
"""Least score of a pixel that is left to a class which the model knows."""
LEAST_PEAK = 3.0
"""Least evidence of the best patch of a photo that a word is looked for in."""
LEAST_EVIDENCE, SHARE_OF_PEAK = 1.0, 0.4
"""Least evidence of a pixel with a word, and the least beside its best patch in that photo."""
_KNOWN_SHORT_SIDE = 252


def make_regions(
    model: str,
    photos: CaptionedImages,
    words: Sequence[ClassWords],
    out: Path,
    *,
    per_word: int = 90,
    others: int = 500,
    seed: int = 0,
) -> dict[str, int]:
    """Write a dataset of photos and the regions found in them; return its photos by word.

    Args:
        model: Whose image tower tells patches apart. Of a trained one, pixels that are surely of a
            class which it knows are left unlabelled, unless that class overlaps with the word.
        photos: Photos with sentences.
        words: What is looked for where a sentence names it, by its name or a phrase.
        out: The dataset's folder, which is whole or not there: ``images/train``,
            ``labels/train`` and ``classes.txt``, with the words in their order. Pixels without a
            word are unlabelled, and may be anything.
        per_word: Most photos that each word is learnt from.
        others: Photos that name none of them, which are learnt from as well.
        seed: Of the choice of photos and of what is learnt.

    Raises:
        DataError: If no sentence names one of the words, or an image cannot be read.
        ZegCLIPError: If the model cannot be loaded.
    """
    named = named_words(photos.sentences, words)
    indices = chosen_photos(named, per_word, others, seed)
    device = pick_device('auto')
    visual = load_model(model).network.visual.to(device, pick_precision('auto', device))
    tokens = whitened_tokens(visual, photos.image, indices)
    layer = learn_words(tokens, named[indices], seed=seed)
    evidence = evidence_of(layer, tokens).movedim(1, 2).unflatten(2, (GRID, GRID))
    known = KnownClasses(model)
    out.parent.mkdir(parents=True, exist_ok=True)
    counts = dict.fromkeys((entry.name for entry in words), 0)
    with tempfile.TemporaryDirectory(dir=out.parent) as partial:
        folder = Path(partial) / out.name
        for part in ('images', 'labels'):
            (folder / part / 'train').mkdir(parents=True)
        for index, maps in tqdm([*zip(indices, evidence, strict=True)], 'finding regions'):
            image = photos.image(index)
            labels = find_regions(maps, named[index], known(image, words))
            present = [entry.name for k, entry in enumerate(words) if (labels == k).any()]
            if present:
                _write(folder, photos.root / 'images' / photos.names[index], labels)
            counts.update({name: counts[name] + 1 for name in present})
        names = ''.join(f'{entry.name}\n' for entry in words)
        (folder / 'classes.txt').write_text(names, encoding='utf-8')
        folder.rename(out)
    return counts


def _write(folder: Path, photo: Path, labels: npt.NDArray[np.uint8]) -> None:
    """Put a photo and its labels into the dataset."""
    shutil.copyfile(photo, folder / 'images' / 'train' / photo.name)
    Image.fromarray(labels).save(folder / 'labels' / 'train' / f'{photo.stem}.png')


def named_words(sentences: Sequence[Sequence[str]], words: Sequence[ClassWords]) -> Tensor:
    """Return whether a sentence of each photo names each word, bool ``(photos, K)``.

    Raises:
        DataError: If one of the words is in no sentence.
    """
    names = [entry.name for entry in words]
    groups = Withheld({entry.name: entry.phrases for entry in words})
    named = torch.zeros(len(sentences), len(words), dtype=torch.bool)
    for row, own in enumerate(tqdm(sentences, 'reading sentences', disable=None)):
        for name in frozenset().union(*map(groups.named_in, own)):
            named[row, names.index(name)] = True
    unnamed = [name for name, any_ in zip(names, named.any(dim=0), strict=True) if not any_]
    if unnamed:
        raise DataError(f'Expected words that a sentence names, but none names {unnamed[0]!r}.')
    return named


def chosen_photos(named: Tensor, per_word: int, others: int, seed: int) -> list[int]:
    """Return the photos to learn from: of each word so many, and so many without any."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(named), generator=generator)
    shuffled = named[order]
    chosen = [order[shuffled[:, k]][:per_word] for k in range(named.shape[1])]
    chosen.append(order[~shuffled.any(dim=1)][:others])
    return sorted(set(torch.cat(chosen).tolist()))


class KnownClasses:
    """Finds pixels that surely are of a class which a trained model knows."""

    def __init__(self, model: str) -> None:
        """Load the model."""
        options = SegmenterOptions(
            threshold=SURE_OF_KNOWN, negatives=(), short_side=_KNOWN_SHORT_SIDE
        )
        self._segmenter = Segmenter.load(model, options)
        self._names = self._segmenter.settings.seen_classes
        self._words: EncodedVocabulary | None = None
        if self._names:
            self._words = self._segmenter.encode(Vocabulary.from_names(self._names))

    def __call__(
        self, image: npt.NDArray[np.uint8], words: Sequence[ClassWords]
    ) -> npt.NDArray[np.bool_]:
        """Return which pixels are taken from each of some words, ``(K, H, W)``.

        Those of a class that is the word, by name or by phrase, or overlaps with it, are not.
        """
        if self._words is None:
            return np.zeros((len(words), *image.shape[:2]), dtype=bool)
        labels = self._segmenter.segment(image, self._words, scores=False).labels
        taken = np.zeros((len(words), int(np.iinfo(labels.dtype).max) + 1), dtype=bool)
        for k, entry in enumerate(words):
            own = {entry.name, *entry.phrases, *entry.overlaps}
            taken[k, : len(self._names)] = [name not in own for name in self._names]
        return taken[:, labels]


def find_regions(
    evidence: Tensor, named: Tensor, taken: npt.NDArray[np.bool_]
) -> npt.NDArray[np.uint8]:
    """Return the word of each pixel of a photo, uint8 ``(H, W)``.

    Args:
        evidence: What patches say of each word, ``(K, h, w)``.
        named: Whether a sentence names the word, bool ``(K,)``.
        taken: Which pixels cannot be each word's, ``(K, H, W)``.
    """
    peaks = evidence.amax(dim=(1, 2))
    sought = (named & (peaks >= LEAST_PEAK)).nonzero().flatten()
    height, width = taken.shape[1:]
    labels = np.full((height, width), UNLABELLED, dtype=np.uint8)
    if not len(sought):
        return labels
    maps = resize_maps(evidence[sought][None], (height, width))[0]
    value, best = maps.max(dim=0)
    least = (SHARE_OF_PEAK * peaks[sought]).clamp(min=LEAST_EVIDENCE)
    word = sought[best].numpy()
    free = ~np.take_along_axis(taken, word[None], axis=0)[0]
    sure = (value >= least[best]).numpy() & free
    labels[sure] = word[sure]
    return labels

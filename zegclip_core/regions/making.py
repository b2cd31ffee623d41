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

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
import shutil
import tempfile

import numpy as np
import numpy.typing as npt
from PIL import Image
import torch
from torch import nn, Tensor
from tqdm import tqdm
from zegclip_core.data.captions import CaptionedImages
from zegclip_core.data.folder import check_names
from zegclip_core.devices import device_errors, pick_device, pick_precision
from zegclip_core.errors import ConfigError, DataError, shortened
from zegclip_core.files import is_hidden
from zegclip_core.images.headers import orientation_of
from zegclip_core.images.media import IMAGE_SUFFIXES
from zegclip_core.loading import load_model, LoadedModel
from zegclip_core.model.scoring import resize_maps
from zegclip_core.options import MAX_ID, SegmenterOptions, UNLABELLED
from zegclip_core.regions.learning import evidence_of, GRID, learn_words, whitened_tokens
from zegclip_core.segmenter import EncodedVocabulary, Segmenter
from zegclip_core.settings import read_yaml
from zegclip_core.text.phrases import standard_form
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_core.text.withheld import Withheld
from zegclip_core.training.queries import ClassWords, read_words

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
        DataError: If a file cannot be in a dataset, a word is named in no sentence or in those of
            all photos, or nothing is found.
        ImageError: If a photo cannot be read.
        OSError: If the folder cannot be written.
        ZegCLIPError: If the model cannot be loaded, or its device lacks memory.
    """
    _check_files(photos.names)
    named = named_words(photos.sentences, words)
    indices = chosen_photos(named, per_word, others, seed)
    _check_named(named[indices], words)
    loaded = load_model(model)
    with _new_folder(out) as folder:
        tokens = _looked_at(loaded, photos, indices)
        layer = learn_words(tokens, named[indices], seed=seed)
        known, counts = KnownClasses(loaded), Counter[str]()
        for row, index in enumerate(tqdm(indices, 'finding regions', disable=None)):
            own = named[index].nonzero().flatten().tolist()
            evidence = _maps(layer, tokens[row])[own]
            if (evidence >= LEAST_PEAK).any():  # Else nothing is found, whatever is known.
                image, mentioned = photos.image(index), [words[k] for k in own]
                found = find_regions(evidence, known(image, mentioned))
                if (found != UNLABELLED).any():
                    _write(folder, photos.root / 'images' / photos.names[index], image, found, own)
                counts.update(entry.name for k, entry in enumerate(mentioned) if k in found)
        if not counts:
            raise DataError('Expected photos that show what their sentences name, but found none.')
        names = ''.join(f'{entry.name}\n' for entry in words)
        (folder / 'classes.txt').write_text(names, encoding='utf-8')
    return {entry.name: counts[entry.name] for entry in words}


def read_sought(path: Path) -> tuple[ClassWords, ...]:
    """Read words to look for from a YAML file, which maps each to its phrases and overlaps.

    Raises:
        ConfigError: If it cannot be read, or does not hold words as texts, or too many.
        DataError: If a word cannot be a class of a dataset.
    """
    values = read_yaml(path, 'words')
    if not isinstance(values, dict) or not 1 <= len(values) <= MAX_ID + 1:
        raise ConfigError(
            f'Expected {path} to map 1 to {MAX_ID + 1} words to their phrases and overlaps, but '
            f'got {len(values) if isinstance(values, dict) else shortened(repr(values))}.'
        )
    odd = [name for name in values if not isinstance(name, str) or name != ' '.join(name.split())]
    if odd:
        raise ConfigError(f'Expected words as texts in {path}, but got {odd[0]!r}.')
    check_names([*values], str(path))
    return read_words(str(path), [*values])


def _check_files(names: Sequence[str]) -> None:
    """Refuse photos that a folder of images and masks cannot hold.

    Raises:
        DataError: If two have one name but for the ending, or one is hidden or has no ending of
            images.
    """
    taken: dict[str, str] = {}
    for name in names:
        path = Path(name)
        if is_hidden(path) or path.suffix.lower() not in IMAGE_SUFFIXES:
            raise DataError(f'Expected photos with the ending of an image, but got {name!r}.')
        if (other := taken.setdefault(path.stem, name)) != name:
            raise DataError(
                f'Expected photos with names of their own, but got {other!r} and {name!r}, whose '
                'masks would be one file.'
            )


def _check_named(named: Tensor, words: Sequence[ClassWords]) -> None:
    """Refuse a word that cannot be learnt, as there is no photo without it.

    Raises:
        DataError: If all photos name it.
    """
    for entry, everywhere in zip(words, named.all(dim=0).tolist(), strict=True):
        if everywhere:
            raise DataError(
                f'Expected photos that do not name {entry.name!r}, to tell it by, but all '
                f'{len(named)} do.'
            )


def _looked_at(loaded: LoadedModel, photos: CaptionedImages, indices: Sequence[int]) -> Tensor:
    """Return the tokens of some photos by a copy of a model's image tower on the best device."""
    device = pick_device('auto')
    with device_errors(device, 'the image tower'):
        tower = deepcopy(loaded.network.visual).to(device, pick_precision('auto', device))
        return whitened_tokens(tower, photos.image, indices)


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Give a folder for images and masks that becomes ``out`` when the block ends without error.

    After an error nothing is left of it, nor of the folders above that were made for it.
    """
    out = out.absolute()
    made = [parent for parent in out.parents if not parent.exists()]
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=f'.{out.name}.', dir=out.parent) as partial:
            folder = Path(partial) / 'new'
            for part in ('images', 'labels'):
                (folder / part / 'train').mkdir(parents=True)
            yield folder
            folder.rename(out)
    finally:
        for parent in made:
            if not any(parent.iterdir()):
                parent.rmdir()


def _maps(layer: nn.Linear, tokens: Tensor) -> Tensor:
    """Return what the patches ``(GRID * GRID, C)`` of a photo say: ``(K, GRID, GRID)``."""
    maps: Tensor = evidence_of(layer, tokens).T.reshape(-1, GRID, GRID)
    return maps


def _write(
    folder: Path,
    photo: Path,
    image: npt.NDArray[np.uint8],
    found: npt.NDArray[np.uint8],
    own: Sequence[int],
) -> None:
    """Put a photo and its labels into the dataset.

    Args:
        folder: The dataset.
        photo: The photo's file.
        image: The same, upright.
        found: Of each pixel the position in ``own``, or ``UNLABELLED``.
        own: Classes of the dataset.
    """
    with Image.open(photo) as opened:
        upright = orientation_of(opened) == 1
    images = folder / 'images' / 'train'
    if upright:
        shutil.copyfile(photo, images / photo.name)
    else:  # A dataset's files are read as they are stored.
        Image.fromarray(image).save(images / f'{photo.stem}.png')
    table = np.full(UNLABELLED + 1, UNLABELLED, dtype=np.uint8)
    table[: len(own)] = own
    Image.fromarray(table[found]).save(folder / 'labels' / 'train' / f'{photo.stem}.png')


def named_words(sentences: Sequence[Sequence[str]], words: Sequence[ClassWords]) -> Tensor:
    """Return whether a sentence of each photo names each word, bool ``(photos, K)``.

    Raises:
        DataError: If one of the words is in no sentence.
    """
    names = [entry.name for entry in words]
    groups = Withheld({entry.name: entry.phrases for entry in words})
    named = torch.zeros(len(sentences), len(words), dtype=torch.bool)
    for row, own in enumerate(tqdm(sentences, 'reading sentences', disable=None)):
        for name in groups.named_in(*own):
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

    def __init__(self, loaded: LoadedModel) -> None:
        """Take the model.

        Raises:
            ZegCLIPError: If its classes cannot be encoded, or the device lacks memory.
        """
        options = SegmenterOptions(
            threshold=SURE_OF_KNOWN, negatives=(), short_side=_KNOWN_SHORT_SIDE
        )
        self._segmenter = Segmenter(loaded, options)
        names = loaded.settings.seen_classes
        self._forms = [standard_form(name) for name in names]
        self._words: EncodedVocabulary | None = None
        if names:
            self._words = self._segmenter.encode(Vocabulary.from_names(names))

    def __call__(
        self, image: npt.NDArray[np.uint8], words: Sequence[ClassWords]
    ) -> npt.NDArray[np.bool_]:
        """Return which pixels are taken from each of some words, ``(K, H, W)``.

        Those of a class that is the word, by name or by phrase, or overlaps with it, are not;
        case, article and number do not count.
        """
        if self._words is None:
            return np.zeros((len(words), *image.shape[:2]), dtype=bool)
        labels = self._segmenter.segment(image, self._words, scores=False).labels
        taken = np.zeros((len(words), int(np.iinfo(labels.dtype).max) + 1), dtype=bool)
        for k, entry in enumerate(words):
            own = {*map(standard_form, (entry.name, *entry.phrases, *entry.overlaps))}
            taken[k, : len(self._forms)] = [form not in own for form in self._forms]
        return taken[:, labels]


def find_regions(evidence: Tensor, taken: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Return the position of the word of each pixel of a photo, uint8 ``(H, W)``.

    Args:
        evidence: What patches say of each word that a sentence names, ``(K, h, w)``.
        taken: Which pixels cannot be each word's, ``(K, H, W)``.
    """
    height, width = taken.shape[1:]
    labels = np.full((height, width), UNLABELLED, dtype=np.uint8)
    peaks = evidence.amax(dim=(1, 2))
    sought = (peaks >= LEAST_PEAK).nonzero().flatten()
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

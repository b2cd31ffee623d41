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
"""Regions of unseen classes that a model finds in photos with sentences, to train it with.

A photo counts if a sentence of it names an unseen class. Nobody has drawn a mask of it: the model
labels the photo with all classes, and a pixel keeps its label if the model is sure and, of an
unseen class, if the sentences name that one. All others are unlabelled.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
import shutil
import tempfile

from benchmarks.seen_bias import logits_of
import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm
from zegclip_core.data.captions import open_captions
from zegclip_core.options import SegmenterOptions, UNLABELLED
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_core.text.withheld import Withheld

SURE_OF_SEEN, SURE_OF_UNSEEN = 0.5, 0.15
"""Least score of a pixel that keeps its label; what training never named is never scored high."""


def make_regions(
    model: Path,
    captions: Path,
    classes: Sequence[str],
    unseen: Mapping[str, Sequence[str]],
    bias: float,
    out: Path,
) -> dict[str, int]:
    """Write a dataset of photos and the regions found in them; return its photos by class.

    Args:
        model: What finds them.
        captions: Folder of photos and sentences.
        classes: What every photo is labelled with.
        unseen: Those of them that are looked for, each with other words for it.
        bias: What is subtracted from the scores of the other classes.
        out: The dataset's folder, which is whole or not there. The unseen classes begin with a
            capital letter in it: text towers that do not know capitals read the same word, and
            training, which tells classes by their names, does not withhold it.

    Raises:
        ZegCLIPError: If the model or the photos cannot be read.
    """
    photos = open_captions(captions)
    named, paths = named_in(photos.sentences, unseen), photos.paths
    segmenter = Segmenter.load(model, SegmenterOptions(threshold=0.0, negatives=()))
    words = segmenter.encode(Vocabulary.from_names(classes))
    counts = dict.fromkeys(unseen, 0)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as partial:
        folder = Path(partial) / out.name
        for part in ('images', 'labels'):
            (folder / part / 'train').mkdir(parents=True)
        for index, names in tqdm(named.items(), desc='finding regions'):
            image = photos.image(index)
            scores = logits_of(segmenter, image, words).sigmoid().numpy()
            labels = sure_labels(scores, classes, list(unseen), names, bias)
            present = [name for name in unseen if (labels == classes.index(name)).any()]
            if not present:
                continue
            for name in present:
                counts[name] += 1
            path = paths[index]
            shutil.copyfile(path, folder / 'images' / 'train' / path.name)
            Image.fromarray(labels).save(folder / 'labels' / 'train' / f'{path.stem}.png')
        titles = [name.capitalize() if name in unseen else name for name in classes]
        (folder / 'classes.txt').write_text('\n'.join(titles) + '\n', encoding='utf-8')
        folder.rename(out)
    return counts


def named_in(
    sentences: Sequence[Sequence[str]], unseen: Mapping[str, Sequence[str]]
) -> dict[int, list[str]]:
    """Return the classes that the sentences of each photo name, by its index, if any."""
    words, named = Withheld(unseen), {}
    for index, own in enumerate(sentences):
        if found := words.named_in(*own):
            named[index] = [name for name in unseen if name in found]
    return named


def sure_labels(
    scores: npt.NDArray[np.float32],
    classes: Sequence[str],
    unseen: Sequence[str],
    named: Sequence[str],
    bias: float,
) -> npt.NDArray[np.uint8]:
    """Return the labels, uint8 ``(H, W)``, of which a model is sure.

    Args:
        scores: Of each class, in ``[0, 1]``, ``(K, H, W)``.
        classes: The ``K`` names.
        unseen: Those of them that ``bias`` is not subtracted from.
        named: Those of the unseen ones that may be there.
        bias: What is subtracted before the best class is chosen.
    """
    is_seen = np.array([name not in unseen for name in classes])
    allowed = is_seen | np.array([name in named for name in classes])
    best = (scores - np.where(is_seen, bias, 0.0)[:, None, None]).argmax(axis=0)
    least = np.where(is_seen, SURE_OF_SEEN, SURE_OF_UNSEEN)[best]
    sure = np.take_along_axis(scores, best[None], axis=0)[0] >= least
    return np.where(sure & allowed[best], best, UNLABELLED).astype(np.uint8)

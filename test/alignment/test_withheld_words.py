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
"""Nothing that a run teaches holds a withheld word, and no held-out photo is taught."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from teacher_folders import align_config, align_settings, WITHHELD
import torch
from torch import Tensor
import torch.nn.functional as F
from zegclip_core.alignment.data import caption_sets
from zegclip_core.alignment.run import AlignmentRun
from zegclip_core.alignment.task import AlignmentTask, Teachers
from zegclip_core.data.folder import Sample
from zegclip_core.data.views import random_view, ViewConfig
from zegclip_core.errors import DataError
from zegclip_core.text.withheld import Withheld
from zegclip_core.training import batches

FORBIDDEN = (
    'sofa',
    'couch',
    'Couches',
    'studio couch',
    'TV',
    'TVs',
    'Television',
    'Monitor/TVs',
    'potted_plant',
    'potted plant',
    'Potted Plant',
)
"""All withheld names as the folders write them, and in standard form."""
SCREEN_DOOR = 'A trainer opens a screen door .'

Make = Callable[..., AlignmentRun]


@pytest.fixture(scope='module')
def make(teachers: Path, clip: str, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Return what makes a run with all teachers, some parts of its settings changed."""

    def run(**parts: object) -> AlignmentRun:
        settings: dict[str, Any] = align_settings(
            teachers, clip, tmp_path_factory.getbasetemp() / 'withheld'
        )
        for name, value in parts.items():
            part = settings.get(name)
            both = isinstance(value, dict) and isinstance(part, dict) and name != 'withheld'
            settings[name] = {**part, **value} if both else value
        return AlignmentRun(align_config(settings))

    return run


@pytest.fixture(scope='module')
def taught(make: Make) -> Teachers:
    return make().teachers()[0]


@pytest.fixture(scope='module')
def taught_all(make: Make) -> Teachers:
    """Return the teachers of a run that withholds nothing."""
    return make(withheld={}).teachers()[0]


def texts(teachers: Teachers) -> dict[str, tuple[str, ...]]:
    names = ('sentences', 'names', 'geometry', 'synonyms')
    return {name: tuple(getattr(teachers, name).texts) for name in names}


def test_no_teacher_s_text_is_a_withheld_name(taught: Teachers, taught_all: Teachers) -> None:
    withheld = Withheld(WITHHELD)
    for name, found in texts(taught).items():
        assert found, name
        assert [text for text in found if withheld.is_withheld(text)] == [], name
    # Each teacher has some where nothing is withheld.
    for name, found in texts(taught_all).items():
        assert any(map(withheld.is_withheld, found)), name


def test_only_what_is_withheld_is_left_out(taught: Teachers) -> None:
    """Also what means a withheld word by its definition; longer names with another head stay."""
    found = texts(taught)
    assert set(found['names']) == {'cup', 'trainer', 'screen door', 'cat'}
    assert found['geometry'] == (
        *('cup', 'trainer', 'coach', 'someone who teaches', 'screen door', 'a door of wire'),
        *('cat', 'tree'),
    )
    assert found['synonyms'] == (
        *('cup', 'mug', 'cat', 'true cat', 'screen door', 'wire door', 'trainer', 'coach'),
        *('countenance', 'a8'),
        *('a container', 'a feline mammal', 'a door of wire', 'someone who teaches others'),
        'the face',
    )


def test_nouns_hold_no_head_of_a_withheld_phrase(taught: Teachers, taught_all: Teachers) -> None:
    assert taught.sentences is not None
    assert taught_all.sentences is not None
    assert taught.sentences.nouns == ['cat', 'cup', 'door', 'screen door', 'trainer', 'tree']
    more = set(taught_all.sentences.nouns) - set(taught.sentences.nouns)
    assert more >= {'red sofa', 'sofa', 'big potted plant', 'plant', 'couch', 'tv'}


def test_sentences_with_withheld_words_are_kept_or_removed(make: Make) -> None:
    withheld = Withheld(WITHHELD)
    kept = make().teachers()[0].sentences
    assert kept is not None
    assert any(map(withheld.mentions, kept.sentences))
    assert SCREEN_DOOR in kept.sentences
    run = make(sentences={'of_withheld': 'remove'})
    removed = run.teachers()[0].sentences
    assert removed is not None
    assert set(removed.sentences) == {'A cat drinks from a cup .'}
    # The door's screen is a withheld word as well: of a sentence a whole word is enough.
    assert withheld.mentions(SCREEN_DOOR)
    others = {key: names for key, names in WITHHELD.items() if key != 'tvmonitor'}
    mild = make(sentences={'of_withheld': 'remove'}, withheld=others).teachers()[0].sentences
    assert mild is not None
    assert SCREEN_DOOR in mild.sentences
    assert not any(map(Withheld(others).mentions, mild.sentences))
    # What is measured follows the same rule.
    measured = run.examination()[0].sentences
    assert measured is not None
    expected = run._texts.sentences(['A cat drinks from a cup .'])
    torch.testing.assert_close(measured, expected.expand_as(measured), rtol=0, atol=2e-3)


def asked(run: AlignmentRun, steps: int, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """Return all text embeddings that the losses of some steps ask for, (N, D), each once."""
    teachers, stream = run.teachers()
    task = AlignmentTask(run.towers, run.config, teachers, run.examination()[0])
    monkeypatch.setattr(task, 'log_dict', lambda *_, **__: None)
    rows: list[Tensor] = []
    project = run.towers.project_text

    def recorded(text: Tensor) -> Tensor:
        rows.append(text)
        return project(text)

    monkeypatch.setattr(run.towers, 'project_text', recorded)
    with torch.no_grad():
        for step in islice(stream, steps):
            assert torch.isfinite(task.training_step(step, 0))
    return torch.cat(rows).unique(dim=0)


def embeddings(run: AlignmentRun, names: tuple[str, ...]) -> Tensor:
    """Return names as the run encodes them: averaged over the templates, in each, and bare."""
    encoder = run._encoder
    prompts = [template.format(name) for template in encoder.templates for name in names]
    alone = encoder.tower.encode([*prompts, *names])
    return torch.cat([encoder.encode_phrases(names), F.normalize(alone, dim=-1)])


def test_no_step_asks_for_a_withheld_word(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the embeddings that reach the losses, whatever way they took."""
    near = 2e-3  # Embeddings are kept as float16.
    for withheld, expected in ((WITHHELD, False), ({}, True)):
        run = make(withheld=withheld)
        rows = asked(run, 40, monkeypatch)
        allowed = embeddings(run, ('cup', 'mug', 'cat', 'tree', 'screen door', 'trainer'))
        forbidden = embeddings(run, FORBIDDEN)
        # The names are far enough from each other to be told apart.
        assert torch.cdist(allowed, forbidden).min() > 3 * near
        found = torch.cdist(rows, allowed).amin(dim=0) < near
        assert found[:4].all()
        hits = torch.cdist(rows, forbidden).amin(dim=0) < near
        assert bool(hits.any()) == expected
        if expected:
            assert hits[: len(FORBIDDEN)].sum() >= 5


def test_masks_of_withheld_classes_teach_nothing(make: Make) -> None:
    masks = make().teachers()[0].masks
    assert masks is not None
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([[[0, 1, 2, 3, 255]]], dtype=torch.uint8)
    query = masks.makers[0].make(labels, generator)
    # Of cup, sofa, cat and TV two are taught; a foreign word, tree, cannot be in them.
    assert query.index[[1, 3, 255]].tolist() == [255, 255, 255]
    assert sorted(query.index[[0, 2]].tolist()) == [0, 1]
    assert query.text.shape[0] == 3
    assert not query.valid[:, [1, 3, 255]].any()


def test_held_out_photos_are_in_no_caption_set(make: Make, teachers: Path, clip: str) -> None:
    config = align_config(align_settings(teachers, clip, teachers)).sentences
    sets = caption_sets(config, Withheld({}))
    stems = [Path(name).stem for name in sets.captions.names]
    # Of six images with masks every third is measured on.
    assert [f'coco_{k:012}' for k in range(12) if k not in (0, 3)] == stems
    assert not set(sets.taught) & set(sets.held_out)
    assert sorted([*sets.taught, *sets.held_out]) == list(range(10))
    assert len(sets.held_out) == 2
    # What the steps show is what was taught: each image once in a round.
    run = make()
    teacher, stream = run.teachers()
    assert teacher.sentences is not None
    shown = {k for step in islice(stream, 2) if step.sentences for k in step.sentences.indices}
    assert shown == set(range(8))
    assert len(teacher.sentences._of_image) == 8


def test_held_out_photos_are_in_no_step(
    teachers: Path, clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the images of which views are drawn, and by what the run says of them."""
    shown: set[str] = set()

    def recorded(sample: Sample, config: ViewConfig, seed: int) -> tuple[Tensor, Tensor]:
        shown.add(Path(sample.name).stem)
        return random_view(sample, config, seed)

    monkeypatch.setattr(batches, 'random_view', recorded)
    settings = align_settings(teachers, clip, tmp_path)
    del settings['masks']['sources'][1]  # It has images of the same names.
    run = AlignmentRun(align_config(settings), adapt=True)
    for _ in islice(run.teachers()[1], 20):
        pass
    # Of the images with masks 0 and 3; of the captioned ones these and two to measure retrieval.
    masks = {f'{k:012}' for k in (1, 2, 4, 5)}
    photos = {f'coco_{k:012}' for k in (2, 4, 5, 6, 8, 9, 10, 11)}
    assert {name for name in shown if name.isdigit()} == masks
    assert {name for name in shown if name.startswith('coco_')} == photos
    assert shown == {Path(name).stem for names in run.image_names().values() for name in names}


def test_what_leaves_nothing_to_teach_is_one_line(make: Make) -> None:
    for parts, message in (
        ({'withheld': {'a': ['cup', 'sofa', 'cat', 'tv']}}, 'a class of .*masks that'),
        ({'masks': {'weight': 0}, 'withheld': {'a': _named()}}, 'a picture of .*names that'),
        ({'names': {'weight': 0}, 'masks': {'weight': 0}, 'withheld': {'a': _all()}}, 'a word of'),
        (
            {'sentences': {'validate_on': 0, 'of_withheld': 'remove'}, 'withheld': {'a': _said()}},
            'a picture of .*captions',
        ),
    ):
        with pytest.raises(DataError, match=f'Expected {message}.*, but there is none') as caught:
            make(**parts).teachers()
        assert '\n' not in str(caught.value)


def _named() -> list[str]:
    return ['cup', 'studio couch', 'trainer', 'screen door', 'tv', 'cat', 'potted plant']


def _all() -> list[str]:
    return ['cup', 'sofa', 'tv', 'trainer', 'screen door', 'cat', 'tree']


def _said() -> list[str]:
    return ['cat', 'cup', 'trainer', 'tree', 'TV']

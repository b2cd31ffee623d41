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
"""What is wrong with an alignment is one line; the configurations that come are right."""

from pathlib import Path

from commands import last_line
import pytest
from teacher_folders import Alignments
from zegclip_core.alignment.config import AlignConfig
from zegclip_core.cli.main import main, USER_ERROR
from zegclip_core.settings import read_settings
from zegclip_core.training.config import ALIGN, find_recipe, recipe_names

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def adapted(teachers: Path, clip: str, tmp_path_factory: pytest.TempPathFactory) -> Alignments:
    """Return runs of which ``adapted`` is done."""
    alignments = Alignments(teachers, clip, tmp_path_factory.mktemp('adapted'))
    short = ('name=adapted', 'schedule.steps=1', 'validate=[]', 'sentences.validate_on=0')
    assert alignments.run('adapt', *short) == 0
    return alignments


@pytest.mark.parametrize('name', recipe_names(ALIGN))
def test_a_configuration_that_comes_with_the_package_is_allowed(name: str) -> None:
    config = read_settings(AlignConfig, find_recipe(name, ALIGN))
    assert len(config.teachers) == 5 - (config.names.weight == 0)
    for source in config.masks.sources:
        assert (ROOT / source.words).is_file()
    # What is measured is not trained with: images of a set are held out, or it is another part.
    for entry in config.validation:
        parts = [s for s in config.masks.sources if (s.root, s.split) == (entry.root, entry.split)]
        assert all(part.hold_out == entry.hold_out > 1 for part in parts)


OFF = (
    'masks.weight=0',
    'sentences.root=""',
    'names.root=""',
    'geometry.root=""',
    'synonyms.root=""',
)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (('space.dims=3',), "in space, but got 'dims' (did you mean dim?)"),
        (OFF, 'Expected a teacher: masks.sources'),
        (('schedule.accumulate=2',), 'Expected schedule.accumulate to be 1'),
        (
            ('schedule.batch_size=16',),
            'Expected a batch_size of each teacher in place of schedule.batch_size, but got 16.',
        ),
        (
            ('schedule.tower_rate=1.0',),
            'Expected space.adaptation_rate in place of schedule.tower_rate, but got 1.0.',
        ),
        (
            ('validate=[{root: a, split: train, absent_words: 2}]',),
            "keys root, split, dataset, hold_out in validate.0, but got 'absent_words'",
        ),
        (
            ('sentences.without=[{root: a, split: train, absent_words: 2}]',),
            "in sentences.without.0, but got 'absent_words'",
        ),
        (
            ('masks.sources.1.unlabelled=none_of_these',),
            "unlabelled to be 'unknown', but got 'none_of_these'",
        ),
        (
            ('schedule.stop=9',),
            'Expected schedule.stop to be at most schedule.steps, 8, but got 9',
        ),
        (('sentences.root=absent',), 'absent'),
        (('names.root=absent',), 'absent'),
        (('geometry.root=absent',), 'absent'),
        (('synonyms.root=absent',), 'Expected WordNet as absent/data.noun'),
        (('masks.sources.0.root=absent',), 'absent'),
        (('sentences.without.0.root=absent',), 'absent'),
        (('validate.0.root=absent',), 'absent'),
        (('towers.image=nothing',), 'nothing'),
        (('initialize_from=absent.safetensors',), 'absent.safetensors'),
        (('space.feature_layers=[2]',), 'space.feature_layers to be in [0, 1]'),
        (('space.projections=false',), 'share a space of width 32'),
        (('name=a/b',), 'a name without /'),
        (
            ('sentences.scale=[0.5,2]',),
            'sentences.scale to be two rising numbers above 0, at most',
        ),
        (('views.size=[4,32]',), 'Expected views.size to be multiples of 8'),
        (('views.size=[36,32]',), 'Expected views.size to be multiples of 8'),
        (('names.size=[32,4]',), 'Expected names.size to be at least 8'),
        (('withheld=[sofa]',), 'Expected withheld to be'),
    ],
)
def test_what_is_wrong_is_one_line(
    alignments: Alignments,
    capsys: pytest.CaptureFixture[str],
    settings: tuple[str, ...],
    message: str,
) -> None:
    assert alignments.run('align', *settings) == USER_ERROR
    assert message in last_line(capsys)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (('space.adapted_blocks=3',), 'Expected to adapt 1 to 2 of the last blocks, but got 3'),
        (('initialize_from=ADAPTED', 'space.rank=3'), 'space.rank to be that of ADAPTED, 2, but'),
        (('initialize_from=ADAPTED', 'space.dim=64'), 'space.dim to be that of ADAPTED, 32, but'),
        (
            ('initialize_from=ADAPTED', 'space.adapted_blocks=2'),
            'Expected space.adapted_blocks to be that of ADAPTED, 1, but got 2.',
        ),
        # The weights of one layer fit another one.
        (
            ('initialize_from=ADAPTED', 'space.feature_layers=[0]'),
            'Expected space.feature_layers to be that of ADAPTED, [], but got [0].',
        ),
        (('initialize_from=ADAPTED', 'towers.text=package:other'), 'towers.text to be that of'),
        (('initialize_from=ADAPTED', 'towers.image=timm:other'), 'towers.image to be that of'),
        (('name=adapted',), 'go on with --resume'),
    ],
)
def test_what_is_wrong_with_an_adaptation_is_one_line(
    adapted: Alignments,
    capsys: pytest.CaptureFixture[str],
    settings: tuple[str, ...],
    message: str,
) -> None:
    file = str(adapted.file('adapted'))
    given = ('name=wrong', *(text.replace('ADAPTED', file) for text in settings))
    assert adapted.run('adapt', *given) == USER_ERROR
    assert message.replace('ADAPTED', file) in last_line(capsys)


def test_a_configuration_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['align', '--config', 'nothing']) == USER_ERROR
    assert 'everyday-s' in last_line(capsys)

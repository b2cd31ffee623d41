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
"""``~`` means the home folder in every option, setting and parameter, and links are followed."""

import argparse
from collections.abc import Iterator
from pathlib import Path
import types
from typing import get_args, NoReturn
from urllib.error import URLError

from commands import answer_of
import pytest
from zegclip_core.alignment.config import AlignConfig
from zegclip_core.cli._outputs import check_output, replacing
from zegclip_core.cli.main import build_parser
from zegclip_core.errors import ConfigError
from zegclip_core.files import expanded, user_path
from zegclip_core.settings import Settings
from zegclip_core.training.config import find_recipe, TrainConfig

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ('zegclip_core', 'zegclip_ros', 'launch')
WORDS = ('--classes', 'cat')
PHOTO_WORDS = str(ROOT / 'config' / 'words' / 'photos.yaml')

COMMANDS = {
    'segment inputs': ('segment', '~/x', *WORDS, '--out', 'out'),
    'segment --classes-file': ('segment', 'a.png', '--classes-file=~/x', '--out', 'out'),
    'segment --rerun': ('segment', 'a.png', *WORDS, '--out', 'out', '--rerun', '~/x/a.rrd'),
    'label-bag source': ('label-bag', '~/x', 'out', *WORDS),
    'label-bag --classes-file': ('label-bag', 'in', 'out', '--classes-file', '~/x'),
    'label-bags sources': ('label-bags', '~/x', '--out', 'out', *WORDS),
    'label-bags --classes-file': ('label-bags', 'in', '--out', 'out', '--classes-file', '~/x'),
    'explain photo': ('explain', '~/x', *WORDS),
    'explain --classes-file': ('explain', 'a.png', '--classes-file', '~/x'),
    'data check folder': ('data', 'check', '~/x'),
    'data check --sheet': ('data', 'check', '.', '--sheet', '~/x/a.png'),
    'evaluate --data': ('evaluate', '--data', '~/x'),
    'evaluate --classes-file': ('evaluate', '--data', '.', '--classes-file', '~/x'),
    'evaluate --distractors-file': (
        *('evaluate', '--data', '.', '--dataset', 'shapes', '--distractors-file', '~/x'),
    ),
    'evaluate --json': ('evaluate', '--data', '.', '--json', '~/x/a.json'),
    'evaluate --worst': ('evaluate', '--data', '.', '--worst', '~/x/a.png'),
    'evaluate --confusion': ('evaluate', '--data', '.', '--confusion', '~/x/a.png'),
    'evaluate --report': ('evaluate', '--data', '.', '--report', '~/x/a.html'),
    'calibrate --data': ('calibrate', '--data', '~/x'),
    'calibrate --json': ('calibrate', '--data', '.', '--json', '~/x/a.json'),
    'calibrate --plot': ('calibrate', '--data', '.', '--plot', '~/x/a.png'),
    'calibrate --save': ('calibrate', '--data', '.', '--save', '~/x/a.safetensors'),
    'reproduce --data': ('reproduce', 'voc12-inductive', '--data', '~/x'),
    'reproduce --json': ('reproduce', 'voc12-inductive', '--data', '.', '--json', '~/x/a.json'),
    'benchmark --json': ('benchmark', '--json', '~/x/a.json'),
    'benchmark --report': ('benchmark', '--report', '~/x/a.html'),
    'benchmark --compare': ('benchmark', '--compare', '~/x'),
    'export --calibrate': (
        *('export', '--format', 'openvino', '--model', 'everyday-s', '--calibrate', '~/x'),
    ),
    'convert source': ('convert', '~/x', 'out.safetensors'),
    'regions --photos': ('regions', '--photos', '~/x', '--words', PHOTO_WORDS, '--out', 'out'),
    'regions --words': ('regions', '--photos', '.', '--words', '~/x', '--out', 'out'),
    'regions --without': (
        *('regions', '--photos', '.', '--words', PHOTO_WORDS, '--without', '~/x', '--out', 'out'),
    ),
    'train --config': ('train', '--config', '~/x.yaml'),
    'align --config': ('align', '--config', '~/x.yaml'),
    'adapt --config': ('adapt', '--config', '~/x.yaml'),
}
"""Where nothing is at ``~/x``, each command says so with the path of the home folder."""
ELSEWHERE = {
    'segment --out',
    'label-bag target',
    'label-bags --out',
    'regions --out',
    'label-bags --manifest',
    'label-bags --cache',
    'explain --out',
    'export --out',
    'convert target',
    'benchmark --plots',
}
"""What is written: looked at below by what appears, or as a part of the code."""


def options(parser: argparse.ArgumentParser, name: str = '') -> Iterator[str]:
    """Yield each option of a command that names a file or folder."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command, below in action.choices.items():
                yield from options(below, f'{name} {command}'.strip())
        elif action.metavar in {'FILE', 'DIR', 'IN', 'OUT', 'SOURCE', 'IMAGE', 'PHOTO'} or (
            action.dest == 'config'
        ):
            yield f'{name} {(action.option_strings or [action.dest])[0]}'


def test_every_option_that_names_a_file_is_in_a_table() -> None:
    assert set(options(build_parser())) - ELSEWHERE <= COMMANDS.keys()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home folder, and begin in another one."""
    (tmp_path / 'home').mkdir()
    (tmp_path / 'here').mkdir()
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    monkeypatch.chdir(tmp_path / 'here')
    return tmp_path / 'home'


@pytest.mark.parametrize('option', COMMANDS)
def test_an_option_means_the_home_folder_by_a_tilde(
    option: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = answer_of(capsys, *COMMANDS[option])
    assert code == 2
    assert str(home / 'x') in err
    assert list(Path.cwd().iterdir()) == []


def test_what_is_written_goes_to_the_home_folder(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_output('--out', '~/a.png', '.png') == home / 'a.png'
    assert answer_of(capsys, 'export', '--out', '~/x/a.txt')[0] == 2
    assert str(home) in answer_of(capsys, 'export', '--out', '~/a.txt')[2]
    assert answer_of(capsys, 'benchmark', '--plots', '~/plots', '--methods', 'none')[0] == 2
    assert (home / 'plots').is_dir()
    assert list(Path.cwd().iterdir()) == []


def text_fields(model: type[Settings], where: str = '') -> Iterator[tuple[str, object, str]]:
    """Yield place, metadata and documentation of each text setting of a configuration."""
    for name, field in model.model_fields.items():
        kinds = [field.annotation, *get_args(field.annotation)]
        for kind in kinds:
            if isinstance(kind, type) and not isinstance(kind, types.GenericAlias):
                if issubclass(kind, Settings):
                    yield from text_fields(kind, f'{where}{name}.')
                elif kind is str:
                    yield f'{where}{name}', field.metadata, name


@pytest.mark.parametrize('model', [TrainConfig, AlignConfig])
def test_every_setting_that_names_a_file_is_a_path(model: type[Settings]) -> None:
    paths = {'root', 'words', 'output', 'alignment', 'initialize_from'}
    seen = set()
    for place, metadata, name in text_fields(model):
        readers = [getattr(entry, 'func', None) for entry in metadata]
        assert (expanded in readers) == (name in paths), place
        seen.add(name)
    assert seen >= {'root', 'words', 'output', 'initialize_from'}


def test_only_one_file_knows_of_the_home_folder() -> None:
    knowing = {
        path.relative_to(ROOT).as_posix()
        for folder in FOLDERS
        for path in (ROOT / folder).rglob('*.py')
        if 'expanduser' in path.read_text(encoding='utf-8')
    }
    assert knowing == {'zegclip_core/files.py'}


@pytest.mark.parametrize(
    ('text', 'path'),
    [
        ('~', 'HOME'),
        ('~/a b/c.png', 'HOME/a b/c.png'),
        ('a/~/b', 'a/~/b'),
        ('~nobody-of-this-name/a', '~nobody-of-this-name/a'),
        ('./~', '~'),
        ('open_clip:ViT-B-16/openai', 'open_clip:ViT-B-16/openai'),
        ('C:/Users', 'C:/Users'),
    ],
)
def test_a_text_becomes_a_path(home: Path, text: str, path: str) -> None:
    assert str(user_path(text)) == path.replace('HOME', str(home))


@pytest.mark.parametrize(
    'text', ['https://a.org/b.png', 'http:/a.org/b', 'rtsp://10.0.0.1/a', 's3://a/b', 'file:///a']
)
def test_addresses_are_refused_as_they_were_typed(
    text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*args: object, **options: object) -> NoReturn:
        raise URLError('no network in this test')

    monkeypatch.setattr('zegclip_core.cli._inputs.urlopen', nothing)
    with pytest.raises(ConfigError, match=r'(download|record) it first'):
        user_path(text)
    assert text in answer_of(capsys, 'segment', text, *WORDS, '--out', 'x')[2]


def test_a_path_with_a_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'a\\x00b'"):
        user_path('a\0b')


def test_a_configuration_of_ones_own_may_lie_in_the_home_folder(home: Path) -> None:
    assert find_recipe('~/mine.yaml') == home / 'mine.yaml'


def test_a_link_stays_one_and_leads_to_the_new_content(tmp_path: Path) -> None:
    (tmp_path / 'real').mkdir()
    link = tmp_path / 'latest.json'
    link.symlink_to(tmp_path / 'real/a.json')
    with replacing(link) as partial:
        partial.write_text('new')
    assert link.is_symlink()
    assert (tmp_path / 'real/a.json').read_text() == 'new'

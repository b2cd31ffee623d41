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
"""What all commands share: their options, the words they encode and the files they write."""

import os
from pathlib import Path
import re

import pytest
from tiny_models import write_published
import tqdm
from zegclip_core import options
from zegclip_core.cli import _outputs
from zegclip_core.cli._bags import label_settings
from zegclip_core.cli._model import encode_words
from zegclip_core.cli.main import build_parser, main
from zegclip_core.loading import load_model
from zegclip_core.options import SegmenterOptions
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary


@pytest.mark.parametrize(
    ('arguments', 'option'),
    [
        (['segment', 'a.png', '--classes', 'cat', '--out', 'x', '--mode', 'slide'], '--mode'),
        (['evaluate', '--dat', 'x'], '--data'),
        (['explain', 'a.png', '--classes', 'cat', '--candidates', '3'], '--candidates'),
    ],
)
def test_an_option_is_never_taken_for_another_one(
    arguments: list[str], option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match='2'):
        main(arguments)
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    assert option in error


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ('segment a.png --clases cat --classes cat --out x', '--clases cat; is --classes meant?'),
        ('segment a.png --clases cat --classes cat --out x', 'see zegclip segment --help'),
        ('data check a --sheets b', 'is --sheet meant? (see zegclip data check --help)'),
        ('evaluate --data a --short-side wide', 'a positive integer, but got wide'),
        ('evaluate --data a --threshold low', 'a number in [0, 1], but got low'),
        ('evaluate --data a --hold-out 0', 'a positive integer, but got 0'),
        ('benchmark --minutes long', 'more than 0 minutes, but got long'),
        ('evaluate --data a --absent few', 'an integer of at least 0, but got few'),
    ],
)
def test_a_mistake_is_named_with_the_commands_own_help(
    arguments: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match='2'):
        main(arguments.split())
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    assert words in error


@pytest.mark.parametrize(
    ('arguments', 'name', 'values'),
    [
        ('train a=1 --config x --resume b=2', 'settings', ['a=1', 'b=2']),
        ('reproduce row --data x a=1 --json y b=2', 'settings', ['a=1', 'b=2']),
        ('segment a.png --classes cat b.png --out x', 'inputs', ['a.png', 'b.png']),
        ('data check --dataset voc12 x --part val', 'part', ['val']),
    ],
)
def test_options_may_stand_between_other_arguments(
    arguments: str, name: str, values: list[str]
) -> None:
    assert getattr(build_parser().parse_args(arguments.split()), name) == values


def test_each_command_has_a_line_of_help() -> None:
    lines = build_parser().format_help().splitlines()
    for command in ('benchmark', 'data', 'label-bag', 'segment'):
        assert any(re.match(rf' +{command} +\w', line) for line in lines), command


def test_one_name_with_a_comma_is_not_stored_as_two() -> None:
    args = build_parser().parse_args(['label-bag', 'a', 'b', '--classes', 'x', '--topic', '/t'])
    two, one = (
        label_settings(args, Vocabulary.parse(text))['--classes']
        for text in ('a, b', '[{"name": "a, b"}]')
    )
    assert two == 'a, b'
    assert one != two


def test_every_word_is_encoded_once_and_told_to_the_bar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    monkeypatch.setattr(tqdm.tqdm, 'update', lambda bar, count: told.append((bar.total, count)))
    loaded = load_model(str(write_published(tmp_path / 'tiny.pth')))
    segmenter = Segmenter(loaded, SegmenterOptions(device='cpu', precision='fp32'))
    entries = ', '.join(f'{{"name": "thing {k}", "phrases": ["it {k}"]}}' for k in range(70))
    vocabulary = Vocabulary.parse(f'[{entries}]')
    encode_words(segmenter, vocabulary)
    assert segmenter.text_encoder.encoded_phrases == 140
    assert {total for total, _ in told} == {70}
    assert len(told) > 2
    assert sum(count for _, count in told) == 70
    segmenter.encode(vocabulary)
    assert segmenter.text_encoder.encoded_phrases == 140


def break_off(target: Path) -> None:
    with _outputs.replacing(target) as partial:
        partial.write_text('half')
        raise RuntimeError


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / 'result.json'
    target.write_text('old')
    with pytest.raises(TypeError):
        _outputs.write_json(target, {'not JSON': object()})
    with pytest.raises(RuntimeError):
        break_off(target)
    assert target.read_text() == 'old'
    assert [path.name for path in tmp_path.iterdir()] == ['result.json']


@pytest.mark.parametrize(
    ('limit', 'expected'),
    [
        ('max 100000', 8),
        ('400000 100000', 4),
        ('150000 100000', 1),
        ('50000 100000', 1),  # Half a processor is one thread.
        ('3200000 100000', 8),
        ('', 8),
        (None, 8),
    ],
)
def test_a_container_limits_the_processors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None, expected: int
) -> None:
    """A batch system gives a process some of them, a container shares of their time."""
    path = tmp_path / 'cpu.max'
    if limit is not None:
        path.write_text(f'{limit}\n')
    monkeypatch.setattr(options, '_CPU_LIMIT', path)
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: set(range(8)))
    assert options.processor_count() == expected

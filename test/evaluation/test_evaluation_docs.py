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
"""The page on evaluation is true: its commands run, and it names every option, row and figure."""

from pathlib import Path
import re
import shlex

import numpy as np
from PIL import Image
import pytest
from tiny_datasets import write_voc
from tiny_models import write_published
from zegclip_core.cli.main import build_parser, main
from zegclip_core.data.datasets import open_dataset
from zegclip_core.evaluation.reproduction import published_rows, row_configs

PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'evaluation.md'
TEXT = PAGE.read_text(encoding='utf-8')


def commands() -> list[list[str]]:
    blocks = re.findall(r'^```sh\n(.*?)^```', TEXT, re.DOTALL | re.MULTILINE)
    lines = [shlex.split(line) for block in blocks for line in block.splitlines()]
    assert {line[0] for line in lines} == {'.venv/bin/zegclip'}
    return [line[1:] for line in lines]


def trains(command: list[str]) -> bool:
    return command[0] == 'reproduce' and '--checkpoint' not in command


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with what the commands name, which is the working directory."""
    write_voc(tmp_path / 'VOC')
    write_published(tmp_path / 'voc12.pth')
    (tmp_path / 'words.txt').write_text('street\nautomobile\nbush\n')
    (tmp_path / 'DATA').mkdir()
    (tmp_path / 'DATA/classes.txt').write_text('road\ncar\ntree\n')
    for kind, values in (
        ('images', np.random.default_rng(0).integers(0, 256, (48, 64, 3))),
        ('labels', np.tile(np.arange(64) // 22, (48, 1))),
    ):
        (tmp_path / 'DATA' / kind / 'val').mkdir(parents=True)
        Image.fromarray(values.astype(np.uint8)).save(tmp_path / f'DATA/{kind}/val/a.png')
    monkeypatch.chdir(tmp_path)
    assert main(['convert', 'voc12.pth', 'mine.safetensors', '--include-towers']) == 0
    return tmp_path


@pytest.mark.slow
@pytest.mark.usefixtures('folder')
def test_the_commands_run() -> None:
    run = [command for command in commands() if not trains(command)]
    assert len(run) >= 6
    for command in run:
        assert main(command) == 0, command
    for name in ('scores.json', 'worst.png', 'confusion.png'):
        assert Path(name).stat().st_size > 100


def test_the_commands_that_train_have_settings_that_are_known() -> None:
    found = [build_parser().parse_args(command) for command in commands() if trains(command)]
    assert len(found) == 3
    for args in found:
        assert args.settings
        assert row_configs(args.row, args.data, args.settings)


def test_the_dataset_that_needs_no_files_can_be_evaluated() -> None:
    assert len(open_dataset('.', 'shapes', 'val')) > 0


def test_every_option_is_described() -> None:
    for line in (['evaluate', '--data', 'x'], ['reproduce', 'x', '--data', 'x']):
        names = set(vars(build_parser().parse_args(line))) - {'command', 'run', 'row', 'settings'}
        assert [name for name in names if f'--{name.replace("_", "-")}' not in TEXT] == []


def test_rows_keys_and_links_are_those_that_there_are() -> None:
    assert [name for name in published_rows() if f'`{name}`' not in TEXT] == []
    for key in ('pixel_accuracy', 'miou', 'miou_seen', 'miou_unseen', 'hiou', 'iou', 'images'):
        assert f'`{key}`' in TEXT
    for link in re.findall(r'\]\(([^)#\s]+)', TEXT):
        assert (PAGE.parent / link).exists(), link

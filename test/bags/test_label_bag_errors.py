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
"""``zegclip label-bag``: the one line after a mistake, and a run with a real model."""

from pathlib import Path
import re

from bag_helpers import (
    camera_bag,
    Command,
    COMPRESSED,
    FOREIGN,
    IMAGE,
    on_topic,
    pixels_of,
    raw_compressed,
    raw_image,
    red_until,
    write_bag,
)
import numpy as np
import pytest
from zegclip_core.bags.added import AddedTopics
from zegclip_core.cli.main import build_parser, main
from zegclip_core.text.vocabulary import Vocabulary

ROOT = Path(__file__).resolve().parents[2]
WORDS = ('--classes', 'tomato, sky')


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def two_cameras(path: Path) -> Path:
    empty: list[bytes] = []
    return write_bag(
        path,
        {
            '/left/image': (IMAGE, [raw_image(red_until(2), 'rgb8')]),
            '/right/compressed': (COMPRESSED, [raw_compressed(np.zeros(3, np.uint8), 'jpeg')]),
            '/off/image': (IMAGE, empty),
            '/imu': ('sensor_msgs/msg/Imu', [b'\x00\x01\x00\x00']),
            '/taken/label_image': (FOREIGN, [b'\x00\x01\x00\x00']),
        },
    )


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        ('', 'required'),
        ('two out', '--classes'),
        ('two out --classes ,', 'empty text'),
        ('two out --classes a --every 0', 'positive'),
        ('two out --classes a --storage bag', "invalid choice: 'bag'"),
        ('gone out --classes a', 'Cannot read the bag gone: there is no such file or folder'),
        ('empty out --classes a', 'metadata.yaml'),
        ('torn.mcap out --classes a', 'Cannot read the bag torn.mcap'),
        ('torn.db3 out --classes a', 'Cannot read the bag torn.db3'),
        ('photo.png out --classes a', 'Cannot read the bag photo.png'),
        ('two out --classes a --topic /l*/nil', 'but got /l*/nil: none of them with a message'),
        ('two out --classes a --topic /o*', 'but got /o*: none of them with a message'),
        ('blind out --classes a', 'but it has only /imu (sensor_msgs/msg/Imu).'),
        ('two out --classes a --topic /imu', 'that has the type sensor_msgs/msg/Imu'),
        ('two out --classes a --topic /nil', 'but got /nil: there is none of that name'),
        ('two out --classes a --topic /off/image', 'it has no message'),
        ('two out --classes a --topic /left/image --prefix /taken', 'it has /taken/label_image'),
        ('two out --classes a --topic /left/image --prefix /3d', "but got '/3d'"),
        ('two out --classes a-b,a_b --masks --topic /left/image', 'both become'),
        ('two empty --classes a --topic /left/image', 'but empty exists'),
        ('two two/out --classes a --topic /left/image', 'is in two'),
        ('two busy --classes a --topic /left/image', 'busy.partial to be free'),
        ('two out --classes a --topic /right/compressed', 'none can be read'),
        ('two out --classes a --topic /left/image --model unheard-of', 'unheard-of'),
        ('two out --classes a --topic /left/image --storage sqlite3 --compress', '--compress'),
    ],
)
def test_mistakes_get_one_line_and_leave_nothing(
    run: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: str,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    two_cameras(tmp_path / 'two')
    write_bag(tmp_path / 'blind', {'/imu': ('sensor_msgs/msg/Imu', [b'\x00\x01\x00\x00'])})
    for folder in ('empty', 'busy.partial'):
        (tmp_path / folder).mkdir()
    for file in ('torn.mcap', 'torn.db3', 'photo.png', 'busy.partial/thesis.txt'):
        (tmp_path / file).write_bytes(b'\x89MCAP0\r\n torn')
    before = {path: path.stat().st_size for path in sorted(tmp_path.rglob('*'))}
    code, out, err = run(*arguments.split())
    line = err.splitlines()[-1]
    assert (code, out) == (2, '')
    assert says in line
    assert line.startswith('zegclip: error: ')
    # An image that cannot be read is reported before it turns out that none can.
    assert len(err.splitlines()) == 1 + ('/right/' in arguments)
    assert {path: path.stat().st_size for path in sorted(tmp_path.rglob('*'))} == before
    assert len(run.loaded) <= ('/right/' in arguments) + ('unheard' in arguments)


def test_a_bag_that_lies_about_its_count_is_reported(run: Command, tmp_path: Path) -> None:
    source = camera_bag(tmp_path / 'in')
    text = (source / 'metadata.yaml').read_text()
    assert 'message_count: 10' in text
    (source / 'metadata.yaml').write_text(text.replace('message_count: 10', 'message_count: 11'))
    code, out, err = run(source, tmp_path / 'out', *WORDS)
    assert (code, '10 messages copied' in out) == (2, True)
    assert 'Expected 11 messages' in err


def test_the_page_names_every_option_and_topic(tmp_path: Path) -> None:
    text = (ROOT / 'docs' / 'bags.md').read_text(encoding='utf-8')
    shown = build_parser().parse_args(['label-bag', 'in', 'out', '--classes', 'a'])
    names = set(vars(shown)) - {'command', 'source', 'target', 'run'}
    assert [name for name in names if f'--{name.replace("_", "-")}' not in text] == []
    added = AddedTopics(Vocabulary.parse('a'), overlay=True, confidence=True, masks=True)
    rows = dict(re.findall(r'^\| `(/zegclip/[\w/<>]+)` \| `(\S+)`', text, re.MULTILINE))
    assert rows == {
        topic.replace('masks/a', 'masks/<class>'): kind
        for topic, (kind, _) in added.topics().items()
    }


def test_help_needs_no_bag(run: Command) -> None:
    code, out, _ = run('--help')
    assert (code, '--topic' in out) == (0, True)


@pytest.mark.slow
def test_a_real_model_labels_a_bag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Imported here, as it takes seconds.
    from tiny_models import write_published

    model = write_published(tmp_path / 'tiny.pth')
    source, out = camera_bag(tmp_path / 'in', frames=2), tmp_path / 'out'
    options = ('--device', 'cpu', '--model', str(model), '--threshold', '0')
    assert main(['label-bag', str(source), str(out), *WORDS, *options]) == 0
    assert '2 images of /camera/image labelled' in capsys.readouterr().out
    for _, label in on_topic(out, '/zegclip/label_image'):
        assert set(np.unique(pixels_of(label))) <= {0, 1}

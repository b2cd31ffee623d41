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
"""The README and the pages of docs: every command is run, or checked where it needs apt's ROS 2.

A block of shell commands that begins with ``# needs ROS 2 from apt`` is checked for syntax, and
its names against the package; every other command has a check below, and one without fails.
"""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
import json
import os
from pathlib import Path
import re
import shlex
import shutil
import signal
import subprocess
import sys
from threading import Thread
from urllib.request import urlopen

from bag_helpers import camera_bag, COMPRESSED, content, raw_file, red_until, write_bag
import cv2
from PIL import Image
import pytest
from skimage import data
from zegclip_core.alignment.config import AlignConfig
from zegclip_core.cli.main import build_parser
from zegclip_core.messages import outputs
from zegclip_core.settings import read_settings
from zegclip_core.training.config import ALIGN, find_recipe, load_config
from zegclip_ros.runtime.child_processes import reserved_domain

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    'README.md',
    'docs/alignment.md',
    'docs/bags.md',
    'docs/candidates.md',
    'docs/doctor.md',
    'docs/fleet.md',
    'docs/install.md',
    'docs/launch.md',
    'docs/node.md',
    'docs/segment.md',
    'docs/training.md',
    'docs/unknown.md',
    'docs/viewers.md',
    'docs/web.md',
    'docs/words.md',
)
BIN = Path(sys.executable).parent
NEEDS_APT = '# needs ROS 2 from apt'


def blocks(language: str) -> list[str]:
    """Return the code blocks of a language on all pages."""
    pattern = re.compile(rf'^```{language}\n(.*?)^```', re.DOTALL | re.MULTILINE)
    texts = [(ROOT / page).read_text(encoding='utf-8') for page in PAGES]
    return [block for text in texts for block in pattern.findall(text)]


def commands() -> list[str]:
    """Return the commands that a machine without apt's ROS 2 can run, each once."""
    found: dict[str, None] = {}
    for block in blocks('sh'):
        if not block.startswith(NEEDS_APT):
            lines = block.replace('\\\n', ' ').splitlines()
            for line in lines:
                if line and not line.startswith('#'):
                    found.setdefault(line.removeprefix('.venv/bin/'), None)
    return list(found)


APT_BLOCKS = [block for block in blocks('sh') if block.startswith(NEEDS_APT)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the files that the commands name."""
    small = cv2.resize(data.chelsea(), (226, 150), interpolation=cv2.INTER_AREA)
    Image.fromarray(small).save(tmp_path / 'photo.jpg')
    (tmp_path / 'holiday').mkdir()
    shutil.copy(tmp_path / 'photo.jpg', tmp_path / 'holiday' / 'cat.jpg')
    (tmp_path / 'words.txt').write_text('person\ncat\n', encoding='utf-8')
    code = cv2.VideoWriter.fourcc(*'mp4v')
    writer = cv2.VideoWriter(str(tmp_path / 'walk.mp4'), code, 10.0, (226, 150))
    for _ in range(2):
        writer.write(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
    writer.release()
    return tmp_path


def is_target_of_make(command: str, folder: Path) -> None:
    """Check that make knows the target, and that CI runs it or what stands behind it."""
    target = shlex.split(command)[-1]
    makefile = (ROOT / 'Makefile').read_text(encoding='utf-8')
    assert re.search(rf'^{target}:', makefile, re.MULTILINE)
    ci = (ROOT / '.ci' / 'run').read_text(encoding='utf-8')
    # `make setup` is what `make test` begins with.
    assert f'make {target}' in ci or re.search(rf'^test: {target}$', makefile, re.MULTILINE)


def segments(command: str, folder: Path, given: bytes | None = None) -> None:
    """Run ``zegclip segment`` in a folder with the files that it names."""
    program, *arguments = shlex.split(command)
    done = subprocess.run(
        [BIN / program, *arguments], cwd=folder, input=given, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    made = [path for path in (folder / 'results').rglob('*') if '_overlay' in path.name]
    assert len(made) == len(done.stdout.splitlines()) > 0
    assert all(path.stat().st_size > 1000 for path in made)


def segments_from_a_server(command: str, folder: Path) -> None:
    """Run ``zegclip segment`` on an address, of a server here, or on what curl gets from it."""
    (folder / 'drive' / 'monday').mkdir(parents=True)
    for name in ('drive/monday/road.jpg', 'street.png'):
        Image.open(folder / 'photo.jpg').save(folder / name)
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        command = command.replace('https://example.org', f'http://127.0.0.1:{server.server_port}')
        *fetched, command = command.split(' | ')
        given = None
        for fetching in fetched:
            with urlopen(fetching.removeprefix('curl -s ')) as answer:
                given = answer.read()
        segments(command, folder, given)
        server.shutdown()


def explains(command: str, folder: Path) -> None:
    """Run ``zegclip explain`` on the photo."""
    program, *arguments = shlex.split(command)
    done = subprocess.run(
        [BIN / program, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert Image.open(folder / 'photo_explained.png').width > 500


def measures(command: str, folder: Path) -> None:
    """Run ``zegclip benchmark`` for a moment."""
    program, *arguments = shlex.split(command)
    done = subprocess.run(
        [BIN / program, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r'512x512 .* lean .*x$', done.stdout, re.MULTILINE)


def examines(command: str, folder: Path) -> None:
    """Run ``zegclip doctor``, which finds nothing wrong with this environment."""
    program, *arguments = shlex.split(command)
    done = subprocess.run(
        [BIN / program, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert ' FAULT ' not in done.stdout


def labels_a_bag(command: str, folder: Path) -> None:
    """Run ``zegclip label-bag`` beside the bags that are named."""
    camera_bag(folder / 'drive', frames=2)
    picture = raw_file(red_until(20, (120, 160)), '.jpg')
    sides = (f'/{side}/image/compressed' for side in ('left', 'right'))
    write_bag(folder / 'two_cameras', {side: (COMPRESSED, [picture]) for side in sides})
    program, *arguments = shlex.split(command)
    done = subprocess.run(
        [BIN / program, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    topics = {topic for topic, *_ in content(folder / arguments[2])}
    cameras = 2 if arguments[1] == 'two_cameras' and '--topic' not in arguments else 1
    assert sum(name.endswith('/label_image') for name in topics) == cameras
    assert any(name.endswith('/overlay') for name in topics) == ('--overlay' in arguments)


def labels_bags(command: str, folder: Path) -> None:
    """Run ``zegclip label-bags`` over two bags."""
    for day in ('monday', 'tuesday'):
        camera_bag(folder / 'drives' / day / 'run1', frames=2)
    program, *arguments = shlex.split(command)
    done = subprocess.run(
        [BIN / program, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (folder / 'labelled' / 'monday' / 'run1' / 'metadata.yaml').is_file()
    assert len((folder / 'labelled' / 'manifest.csv').read_text().splitlines()) == 3


def is_understood(command: str, folder: Path) -> None:
    """Check a command that takes hours: its arguments and settings are known."""
    words = shlex.split(command)
    first = words.index('zegclip') + 1
    arguments = build_parser().parse_args(words[first:])
    if arguments.command in (ALIGN, 'adapt'):
        path = find_recipe(arguments.config, ALIGN)
        assert read_settings(AlignConfig, path, arguments.settings).teachers
    elif getattr(arguments, 'config', None):
        assert load_config(find_recipe(arguments.config), arguments.settings).train


def starts_the_node(command: str, folder: Path) -> None:
    """Start the node, wait until its model is ready, and stop it as Ctrl-C does."""
    with reserved_domain() as domain:
        environment = {'ROS_LOG_DIR': str(folder), 'ROS_DOMAIN_ID': str(domain)}
        _start_and_stop(shlex.split(command), folder, environment)


def _start_and_stop(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    program, *arguments = command
    process = subprocess.Popen(
        [BIN / program, *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        said = ''
        for line in process.stdout:
            said += line
            if 'The model is ready' in line:
                break
        assert 'The model is ready' in said, said
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
    finally:
        process.kill()
        process.wait()


def records(command: str, folder: Path) -> None:
    """Run the recorder, for a tenth of its time, beside a camera and the node."""
    words = 'class_names:=["person", "cat"]'
    beside = (
        ['camera_node'],
        ['segmentation_node', '--ros-args', '-r', 'image:=/camera/image', '-p', words],
    )
    program, *arguments = shlex.split(command.replace('seconds:=20.0', 'seconds:=2.0'))
    with reserved_domain() as domain, ExitStack() as running:
        environment = {**os.environ, 'ROS_LOG_DIR': str(folder), 'ROS_DOMAIN_ID': str(domain)}
        for name, *settings in beside:
            silent = {'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL}
            process = subprocess.Popen([BIN / name, *settings], env=environment, **silent)
            running.enter_context(process)
            running.callback(process.kill)
        subprocess.run([BIN / program, *arguments], cwd=folder, env=environment, check=True)
    assert (folder / 'recorded' / 'overlay.mp4').stat().st_size > 0
    summary = json.loads((folder / 'recorded' / 'summary.json').read_text('utf-8'))
    assert [entry['classes'] for entry in summary['vocabularies']] == [['person', 'cat']]


def serves_a_page(command: str, folder: Path) -> None:
    """Ask the page that a command serves for itself."""
    program, *rest = shlex.split(command)
    parts = [str(BIN / program), *rest, '--port', '0']
    with subprocess.Popen(parts, cwd=folder, stdout=subprocess.PIPE, text=True) as page:
        try:
            assert page.stdout is not None
            with urlopen(page.stdout.readline().strip()) as answer:
                assert b'<title>ZegCLIP</title>' in answer.read()
        finally:
            page.terminate()


CHECKS: dict[str, Callable[[str, Path], None]] = {
    r'(PYTHON=\S+ )?make \w+': is_target_of_make,
    r'zegclip segment (?!.*(--model runs/|https:)).*': segments,
    r'(zegclip segment .*https:|curl -s https:.* \| zegclip segment ).*': segments_from_a_server,
    r'zegclip segment .*--model runs/.*': is_understood,
    r'zegclip (align|adapt|train|regions|evaluate|calibrate|convert|data) .*': is_understood,
    r'zegclip explain .*': explains,
    r'zegclip web': serves_a_page,
    r'zegclip web --.*': is_understood,
    r'zegclip benchmark .*': measures,
    r'zegclip doctor': examines,
    r'zegclip label-bag .*': labels_a_bag,
    r'zegclip label-bags .*': labels_bags,
    r'RAY_ADDRESS=\S+ zegclip label-bags .*': is_understood,
    r'segmentation_node .*': starts_the_node,
    r'recorder_node .*': records,
}


@pytest.mark.slow
@pytest.mark.parametrize('command', commands())
def test_every_command_does_what_it_says(command: str, folder: Path) -> None:
    checks = [check for pattern, check in CHECKS.items() if re.fullmatch(pattern, command)]
    assert len(checks) == 1, f'nothing checks {command!r}'
    checks[0](command, folder)


def test_the_two_commands_for_newcomers_stand_on_the_first_page() -> None:
    assert 'make demo\nmake test\n' in (ROOT / 'README.md').read_text(encoding='utf-8')


@pytest.mark.parametrize('block', APT_BLOCKS)
def test_commands_for_apt_have_no_syntax_error(block: str) -> None:
    subprocess.run(['bash', '-n'], input=block, text=True, check=True)
    # The extra would hide apt's ROS 2.
    assert '[ros]' not in block


def test_commands_for_apt_name_what_the_package_has() -> None:
    text = '\n'.join(APT_BLOCKS).replace('\\\n', ' ')
    launches = re.findall(r'ros2 launch zegclip_ros (\S+)(.*)', text)
    assert launches
    for name, arguments in launches:
        declared = (ROOT / 'launch' / name).read_text(encoding='utf-8')
        if 'zegclip.launch.py' in declared:  # What it builds on.
            declared += (ROOT / 'launch' / 'zegclip.launch.py').read_text(encoding='utf-8')
        for argument in re.findall(r'(\w+):=', arguments):
            assert f"'{argument}'" in declared
    programs = {entry.name for entry in metadata.distribution('zegclip_ros').entry_points}
    assert set(re.findall(r'ros2 run zegclip_ros (\w+)', text)) <= programs


@pytest.mark.slow
def test_the_python_examples_run(folder: Path) -> None:
    code = '\n'.join(
        [
            *blocks('python'),
            'assert picture.shape[0] > 150 or picture.shape[1] > 226',
            'segmenter.engine.steps = [Smoother()]',
            "again = segmenter.segment(image, Vocabulary.parse('person, cat'))",
            'assert (again.labels == segmentation.labels).all()',
        ]
    )
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "'cat': " in done.stdout


def test_every_link_to_a_file_leads_somewhere() -> None:
    for page in PAGES:
        text = (ROOT / page).read_text(encoding='utf-8')
        links = re.findall(r'\]\(([^)#\s]+)\)', text)
        local = [link for link in links if not link.startswith('http')]
        assert [link for link in local if not (ROOT / page).parent.joinpath(link).exists()] == []


def test_the_picture_is_small_enough_to_travel() -> None:
    (picture,) = (ROOT / 'docs' / 'images').glob('everyday-s.jpg')
    assert picture.stat().st_size < 400_000
    assert Image.open(picture).width > 600


def test_the_animation_moves_and_is_small_enough_to_travel() -> None:
    path = ROOT / 'docs' / 'images' / 'typed-words.webp'
    assert path.stat().st_size < 1_000_000
    with Image.open(path) as animation:
        assert animation.n_frames > 30
        assert 600 < animation.width < 1000
    assert f'(docs/images/{path.name})' in (ROOT / 'README.md').read_text(encoding='utf-8')


def test_the_topics_table_names_what_the_node_has() -> None:
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    topics = re.findall(r'^\| `(~?/?[\w/<>]+)`', text, re.MULTILINE)
    assert {'image', 'vocabulary', '~/label_image', '~/overlay'} <= set(topics)
    declared = {f'~/{value}' for value in vars(outputs).values() if isinstance(value, str)}
    code = '\n'.join(
        path.read_text(encoding='utf-8') for path in (ROOT / 'zegclip_ros').rglob('*.py')
    )
    for topic in topics:
        output = '/'.join(topic.split('/')[:2])
        assert output in declared or f"'{topic.split('/<')[0]}" in code


def test_every_option_of_segment_is_described() -> None:
    text = (ROOT / 'docs' / 'segment.md').read_text(encoding='utf-8')
    shown = build_parser().parse_args(['segment', 'x', '--classes', 'a', '--out', 'o'])
    names = set(vars(shown)) - {'command', 'inputs', 'run'}
    assert [name for name in names if f'--{name.replace("_", "-")}' not in text] == []

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
"""What is given to a node in the wrong form is refused, with the right one."""

from pathlib import Path
import re
import subprocess
import sys

import pytest
from ros_helpers import node_parameters
from zegclip_core.errors import ConfigError, VocabularyError
from zegclip_ros.nodes import camera, recorder, segmentation
from zegclip_ros.parameters import descriptions
from zegclip_ros.runtime.arguments import check_arguments, wants_help, worded

KNOWN = descriptions(segmentation.DECLARATIONS)


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        ('--model everyday-s', 'as --ros-args -p model:=everyday-s'),
        ('--model=everyday-s', 'as --ros-args -p model:=everyday-s'),
        ('--overlay-alpha 0.3', 'as --ros-args -p overlay_alpha:=0.3'),
        ('model:=everyday-s', 'as --ros-args -p model:=everyday-s'),
        ('image:=/camera/image', 'as --ros-args -r image:=/camera/image'),
        ('photo.png', "'photo.png'; --help says which parameters there are"),
        ('--ros-args image:=/x', "-r or -p before 'image:=/x': a topic is given as"),
        ('--ros-args -r a:=/b model:=x', "-r or -p before 'model:=x': a parameter is given as"),
        ('--ros-args -p model:=x -- --lazy', "'--lazy': a parameter is given as"),
    ],
)
def test_arguments_in_a_wrong_form_are_refused_with_the_right_one(
    arguments: str, says: str
) -> None:
    with pytest.raises(ConfigError) as error:
        check_arguments(arguments.split(), KNOWN)
    assert says in str(error.value)


@pytest.mark.parametrize(
    'arguments',
    [
        '',
        '--ros-args',
        '--ros-args -r __node:=eyes -r image:=/camera/image -p model:=a:=b',
        '--ros-args --params-file a.yaml --log-level debug --log-level rcl:=info --',
        '--ros-args --remap a:=/b --param lazy:=false -e /enclave',
    ],
)
def test_arguments_of_ros_pass(arguments: str) -> None:
    check_arguments(arguments.split(), KNOWN)
    assert not wants_help(arguments.split())


@pytest.mark.parametrize(
    ('reason', 'words'),
    [
        ("expected 'Type.STRING_ARRAY' got 'Type.STRING'", r'\["cat", "dog"\], but got text\.'),
        ("expected '9' got '4'", r'\["cat", "dog"\], but got text\.'),
        ("expecting type 'DOUBLE'", r'a number with a point, such as 2\.0\.'),
        ("expected '1' got '2'", 'true or false, but got an integer'),
    ],
)
def test_a_wrong_type_is_told_in_words(reason: str, words: str) -> None:
    text = worded(f'Wrong parameter type, {reason}', 'x')
    assert re.match(f'Expected the parameter x to be .*{words}', text)
    assert worded('Out of range.', 'x') == 'Out of range.'


def test_a_list_of_class_names_has_one_word_in_each_entry() -> None:
    with pytest.raises(VocabularyError, match=r'give \["person", "cat"\]'):
        node_parameters(class_names=['person, cat']).vocabulary()


def started(node: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, '-m', f'zegclip_ros.nodes.{node}', *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize('node', ['segmentation', 'camera', 'recorder'])
def test_help_names_every_parameter(node: str) -> None:
    done = started(node, '--help')
    known = {'segmentation': segmentation, 'camera': camera, 'recorder': recorder}[node]
    assert done.returncode == 0
    assert all(one.name in done.stdout for one in known.DECLARATIONS)


@pytest.mark.parametrize(
    ('node', 'arguments', 'says'),
    [
        ('camera', '-p sorce:=x', "got 'sorce'; is source meant?"),
        ('recorder', '-p secnds:=4.0', "got 'secnds'; is seconds meant?"),
        ('recorder', '-p seconds:=4', 'seconds to be a number with a point, such as 2.0'),
        ('segmentation', '-p class_names:=cat', 'class_names to be a list of texts'),
        ('camera', f'-r __ns:=/{"a" * 220}', 'at most 247 characters'),
        ('camera', '--frobnicate', 'arguments that ROS knows after --ros-args, but got'),
        ('recorder', '-p output:={file}', 'to be a folder, but it is a file'),
        ('recorder', '-p output:={file}/below', '{file}'),
        ('camera', '-p source:=https://example.org/a.png', 'the address https://example.org'),
    ],
)
def test_no_node_ends_in_a_traceback(tmp_path: Path, node: str, arguments: str, says: str) -> None:
    file = tmp_path / 'file'
    file.touch()
    given = [text.replace('{file}', str(file)) for text in arguments.split(' ')]
    done = started(node, '--ros-args', *given)
    text = done.stdout + done.stderr
    assert done.returncode == 1
    assert says.replace('{file}', str(file)) in text
    assert 'Traceback' not in text
    assert text.count('FATAL') == 1

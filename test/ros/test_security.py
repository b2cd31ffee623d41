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
"""Nothing that comes from outside is run, unpickled or given to a shell."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path for name in ('zegclip_core', 'zegclip_ros') for path in (ROOT / name).rglob('*.py')
)
FORBIDDEN = {
    *('eval', 'exec', 'compile', '__import__', 'os.system', 'os.popen', 'pickle.load'),
    *('pickle.loads', 'marshal.loads', 'yaml.load', 'yaml.unsafe_load', 'yaml.full_load'),
    *('torch.hub.load', 'joblib.load', 'shelve.open', 'subprocess.getoutput'),
}
STARTING = {
    *('subprocess', 'multiprocessing', 'pickle'),
    'zegclip_ros.runtime.child_processes',
}
STARTS_PROCESSES = {'zegclip_ros/demo.py', 'zegclip_ros/runtime/child_processes.py'}
"""Files that may; none of them is part of a node."""


def dotted(node: ast.expr) -> str:
    """Return ``a.b.c`` for such an expression."""
    if isinstance(node, ast.Attribute):
        return f'{dotted(node.value)}.{node.attr}'
    return node.id if isinstance(node, ast.Name) else ''


def calls(text: str) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield the name and the constant keyword arguments of each call of a source."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            constants = {
                word.arg: word.value.value
                for word in node.keywords
                if word.arg and isinstance(word.value, ast.Constant)
            }
            yield dotted(node.func), constants


def faults(text: str) -> list[str]:
    """Return the calls of a source that may run what they are given."""
    return [
        name
        for name, options in calls(text)
        if name in FORBIDDEN
        or options.get('shell') is True
        or (name == 'torch.load' and options.get('weights_only') is not True)
        or (name.endswith('np.load') and options.get('allow_pickle') is True)
    ]


@pytest.mark.parametrize(
    'text',
    [
        'eval(message.data)',
        'os.system(name)',
        'subprocess.run(name, shell=True)',
        'torch.load(path)',
        'torch.load(path, weights_only=False)',
        'np.load(path, allow_pickle=True)',
    ],
)
def test_the_search_finds_what_it_looks_for(text: str) -> None:
    assert faults(text) != []


def test_nothing_runs_what_it_is_given() -> None:
    found = {
        str(path.relative_to(ROOT)): bad
        for path in SOURCES
        if (bad := faults(path.read_text(encoding='utf-8')))
    }
    assert found == {}
    names = {name for path in SOURCES for name, _ in calls(path.read_text(encoding='utf-8'))}
    assert {'torch.load', 'yaml.safe_load'} <= names


def test_no_node_starts_a_process() -> None:
    starting = set()
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding='utf-8'))
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ''] if isinstance(node, ast.ImportFrom) else []
            if STARTING & set(names):
                starting.add(str(path.relative_to(ROOT)))
    in_nodes = {name for name in starting if name.startswith('zegclip_ros/')}
    assert in_nodes <= STARTS_PROCESSES
    assert starting

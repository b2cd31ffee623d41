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
"""Who may import whom: folder by folder, no circles, no ROS in the core, no torch in nodes."""

import ast
from collections.abc import Iterator
import json
from pathlib import Path
import re
import subprocess
import sys

import draw_architecture
from draw_architecture import arrows, circles, imports, modules
from PIL import Image
import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = sorted((ROOT / 'zegclip_core').rglob('*.py'))
NODES = sorted((ROOT / 'zegclip_ros').rglob('*.py'))

MAY_IMPORT = {
    # What everything else stands on; torch-free but for devices.
    'errors': '',
    'files': 'errors',
    'options': 'errors',
    'settings': 'errors files',
    'devices': 'errors options',
    'versions': '',
    # Tensors.
    'model': 'errors options',
    'weights': 'errors files model options',
    # Words, images, messages: NumPy.
    'text': 'devices errors files options weights',
    'segmentation': 'options text',
    'images': 'errors files options segmentation text',
    'geometry': 'errors',
    'messages': 'errors files geometry images options segmentation text',
    # From a model's name to labels.
    'loading': 'errors model options text weights',
    'engines': 'devices errors files images loading model options segmentation text weights',
    'refinement': 'engines images model options segmentation text',
    'segmenter': 'devices engines errors images loading model options refinement segmentation '
    'text weights',
    # What uses it.
    'explanation': 'engines errors images model options segmentation segmenter text',
    'web': 'engines errors explanation images options refinement segmentation segmenter text',
    'export_int8': 'errors',
    'export': 'devices engines errors export_int8 files images loading model options text weights',
    'export_check': 'engines errors export export_int8 files model options',
    'bags': 'errors files images messages options segmentation segmenter text',
    'fleet': 'bags errors files segmenter',
    'speed': 'data devices engines errors images loading model options segmenter text versions '
    'weights',
    'data': 'errors files images model options settings text',
    'training': 'data devices errors files images loading model options settings text versions '
    'weights',
    'regions': 'data devices errors files images loading model options segmenter settings text '
    'training',
    'alignment': 'data errors files loading model options settings text training weights',
    'doctor': 'devices errors files loading segmenter speed text versions weights',
    'evaluation': 'data errors files images loading model options segmentation segmenter text '
    'training',
}
"""By folder of the core, or file at its root, those that it may import; the cli may import all."""

NODES_MAY_IMPORT = {
    'runtime': '',
    'conversions': '',
    'launching': '',
    'parameters': 'runtime',
    'segmenter_like': 'parameters',
    'kept_ids': '',
    'vocabulary_state': 'kept_ids',
    'listening': '',
    'recording': 'listening',
    'diagnostics': '',
    'frames': 'conversions diagnostics parameters runtime segmenter_like vocabulary_state',
    'made_scene': '',
    'web_desk': 'listening',
    'nodes': 'conversions diagnostics frames listening made_scene parameters recording runtime '
    'segmenter_like vocabulary_state web_desk',
    'demo': 'runtime',
    'doctor': 'launching nodes',
}
"""The same for zegclip_ros; of the core, its modules may import those of NODES_USE."""

NODES_USE = (
    'doctor errors files geometry images messages options segmentation segmenter text web weights'
)

ROS = {
    'ament_index_python',
    'builtin_interfaces',
    'cv_bridge',
    'diagnostic_msgs',
    'geometry_msgs',
    'launch',
    'launch_ros',
    'lifecycle_msgs',
    'message_filters',
    'rcl_interfaces',
    'rclpy',
    'sensor_msgs',
    'std_msgs',
    'std_srvs',
    'vision_msgs',
    'zegclip_ros',
}
TORCH = {'open_clip', 'sentence_transformers', 'timm', 'torch', 'torchvision', 'transformers'}
IMAGE_MESSAGES = {'sensor_msgs'}


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and top-level package of every import of a file, also those inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split('.')[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.lineno, node.module.split('.')[0]


def offences(paths: list[Path], forbidden: set[str]) -> list[str]:
    return [
        f'{path.relative_to(ROOT)}:{line} imports {name}'
        for path in paths
        for line, name in imported(path)
        if name in forbidden
    ]


def test_the_walk_sees_imports_of_every_kind(tmp_path: Path) -> None:
    (tmp_path / 'a.py').write_text(
        'import rclpy.node\ndef f():\n    from sensor_msgs.msg import Image\n'
    )
    assert list(imported(tmp_path / 'a.py')) == [(1, 'rclpy'), (3, 'sensor_msgs')]
    (tmp_path / 'b.py').write_text(
        'if TYPE_CHECKING:\n    from zegclip_core import errors\n'
        'def f():\n    import zegclip_core.options\n'
    )
    assert list(imports(tmp_path / 'b.py')) == [
        (2, 'zegclip_core.errors'),
        (4, 'zegclip_core.options'),
    ]
    assert len(CORE) > 10
    assert len(NODES) > 3


def named(package: str, names: str) -> set[str]:
    return {f'{package}.{name}' for name in names.split()}


def test_folders_import_only_what_they_may() -> None:
    allowed = {
        f'zegclip_core.{name}': named('zegclip_core', names) for name, names in MAY_IMPORT.items()
    }
    allowed['zegclip_core.cli'] = set(allowed)
    for name, names in NODES_MAY_IMPORT.items():
        used = named('zegclip_core', NODES_USE) | named('zegclip_ros', names)
        allowed[f'zegclip_ros.{name}'] = used
    graph = arrows()
    assert graph.keys() == allowed.keys()
    assert [(name, one) for name in graph for one in graph[name] - allowed[name]] == []
    assert circles({name: frozenset(others) for name, others in allowed.items()}) == []


def test_no_folders_and_no_files_import_each_other_in_a_circle() -> None:
    assert circles(arrows()) == []
    files = {
        name: frozenset({one for _, one in imports(path) if one in modules()} - {name})
        for name, path in modules().items()
    }
    assert circles(files) == []


@pytest.mark.parametrize(
    ('graph', 'found'),
    [
        ({'a': frozenset('b'), 'b': frozenset('c'), 'c': frozenset()}, []),
        ({'a': frozenset('b'), 'b': frozenset('a'), 'c': frozenset()}, ['a', 'b']),
        ({'a': frozenset('b'), 'b': frozenset('c'), 'c': frozenset('b')}, ['a', 'b', 'c']),
    ],
)
def test_circles_are_found(graph: draw_architecture.Arrows, found: list[str]) -> None:
    assert circles(graph) == found


def test_the_picture_of_the_architecture_is_that_of_the_code() -> None:
    with Image.open(draw_architecture.TARGET) as picture:
        drawn = json.loads(picture.info['Comment'])
    assert {name: frozenset(others) for name, others in drawn.items()} == arrows(), (
        'Run .venv/bin/python scripts/draw_architecture.py'
    )


def test_the_core_imports_no_ros() -> None:
    assert offences(CORE, ROS) == []


def test_the_nodes_import_no_torch() -> None:
    assert offences(NODES, TORCH) == []


def test_nothing_imports_mmsegmentation_or_tests() -> None:
    assert offences(CORE + NODES, {'mmcv', 'mmengine', 'mmseg', 'pytest', 'test'}) == []


def uses_fields(path: Path) -> list[str]:
    """Return where a file reads or writes the content of an image message."""
    fields = {'encoding', 'is_bigendian', 'step'}
    return [
        f'{path.relative_to(ROOT)}:{node.lineno} uses .{node.attr}'
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8')))
        if isinstance(node, ast.Attribute) and node.attr in fields
    ]


def test_only_the_conversions_look_into_image_messages() -> None:
    assert uses_fields(ROOT / 'zegclip_ros' / 'conversions.py') != []
    others = [path for path in NODES if path.name != 'conversions.py']
    assert [use for path in others for use in uses_fields(path)] == []


def test_only_the_conversions_use_cv_bridge() -> None:
    others = [path for path in NODES if path.name != 'conversions.py']
    assert offences(others, {'cv_bridge'}) == []


def test_image_messages_are_made_in_the_conversions_only() -> None:
    made = []
    for path in NODES:
        if path.name == 'conversions.py':
            continue
        tree = ast.parse(path.read_text(encoding='utf-8'))
        names = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.split('.')[0] in IMAGE_MESSAGES
            for alias in node.names
        }
        made += [
            f'{path.name}:{node.lineno} makes {node.func.id}'
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in names
        ]
    # Importing them for the type of a publisher or a callback is allowed.
    assert made == []


def test_the_core_is_importable_without_ros() -> None:
    code = (
        'import sys\n'
        'class NoRos:\n'
        '    def find_spec(self, name, path=None, target=None):\n'
        f'        if name.split(".")[0] in {sorted(ROS)!r}:\n'
        '            raise ImportError(name)\n'
        'sys.meta_path.insert(0, NoRos())\n'
        'import zegclip_core.segmenter, zegclip_core.images.drawing, zegclip_core.images.media\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_files_that_the_architecture_names_are_there() -> None:
    page = (ROOT / 'docs' / 'architecture.md').read_text(encoding='utf-8')
    named = set(re.findall(r'`([\w/.-]+(?:/|\.py|\.yaml|\.md))`', page))
    assert len(named) > 30
    places = ('', 'zegclip_core/', 'zegclip_ros/')
    lost = [name for name in named if not any((ROOT / f'{at}{name}').exists() for at in places)]
    assert [name for name in lost if 'FAMILY' not in name and 'NAME' not in name] == []

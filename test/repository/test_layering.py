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
"""Who may import whom: the core knows no ROS, the nodes no torch, and one file knows messages."""

import ast
from collections.abc import Iterator
from pathlib import Path
import subprocess
import sys

ROOT = Path(__file__).resolve().parents[2]
CORE = sorted((ROOT / 'zegclip_core').rglob('*.py'))
NODES = sorted((ROOT / 'zegclip_ros').rglob('*.py'))

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
    assert len(CORE) > 10
    assert len(NODES) > 3


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

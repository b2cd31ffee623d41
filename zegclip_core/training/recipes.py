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
"""Training configurations that come with the package, by name, wherever it is installed."""

from pathlib import Path

from zegclip_core.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parents[1]
_SHARED = Path('share') / 'zegclip_ros' / 'config' / 'train'


def recipe_folder() -> Path:
    """Return the folder of the training configurations.

    In a source checkout, also one that is installed in place, it lies beside the package;
    otherwise in ``share`` of a folder above it, where pip and colcon put it.

    Raises:
        ConfigError: If there is none.
    """
    beside = _PACKAGE.parent / 'config' / 'train'
    for folder in (beside, *(parent / _SHARED for parent in _PACKAGE.parents)):
        if folder.is_dir():
            return folder
    raise ConfigError(
        f'Expected training configurations in {beside}, or as {_SHARED} above it, '
        f'but there are none: is the package installed as a whole?'
    )


def recipe_names() -> tuple[str, ...]:
    """Return the names of the training configurations, such as ``ablation/camvid-1``."""
    folder = recipe_folder()
    paths = sorted(folder.rglob('*.yaml'))
    return tuple(path.relative_to(folder).with_suffix('').as_posix() for path in paths)


def find_recipe(name: str) -> Path:
    """Return the file of a training configuration.

    Args:
        name: Name of one that comes with the package, or path of a YAML file.

    Raises:
        ConfigError: If there is none of that name.

    Example:
        >>> find_recipe('voc12-inductive').name
        'voc12-inductive.yaml'

    """
    if name.endswith(('.yaml', '.yml')):
        return Path(name).expanduser()
    if name not in recipe_names():
        raise ConfigError(
            f'Expected a training configuration of {", ".join(recipe_names())}, or a YAML file, '
            f'but got {name!r}.'
        )
    return recipe_folder() / f'{name}.yaml'

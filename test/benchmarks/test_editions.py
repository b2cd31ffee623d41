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
"""The frame times of several models: in turn, each beside the first, or one line of refusal."""

from collections.abc import Iterator

from benchmarks import editions
import pytest


class Clocked:
    """A side whose frames take known times: 2, 2 and 8 s, by the other model half as much."""

    def __init__(self, model: str, device: str) -> None:
        factor = 0.5 if model == 'second' else 1.0
        self._times: Iterator[float] = iter([2.0 * factor, 2.0 * factor, 8.0 * factor])

    def seconds(self) -> float:
        """Return the next of them."""
        return next(self._times)


def test_models_take_turns_and_stand_beside_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(editions, 'Side', Clocked)
    first, second = editions.table(['first', 'second'], 'cpu', 3).splitlines()[2:4]
    assert [cell.strip() for cell in first.strip('|').split('|')] == ['first', '2000', '1.00']
    assert [cell.strip() for cell in second.strip('|').split('|')] == ['second', '1000', '0.50']


def test_the_bundled_model_beside_itself(capsys: pytest.CaptureFixture[str]) -> None:
    command = ['everyday-s', 'everyday-s', '--device', 'cpu', '--rounds', '1']
    assert editions.main(command) == 0
    rows = capsys.readouterr().out.splitlines()[2:4]
    assert [row.split('|')[1].strip() for row in rows] == ['everyday-s', 'everyday-s']


def test_an_unknown_model_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert editions.main(['nowhere.safetensors']) == 2
    assert capsys.readouterr().err.startswith('editions: error: ')

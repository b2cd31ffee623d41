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
"""Class names as topic names."""

import re

from hypothesis import given, strategies
import pytest
from zegclip_core.errors import VocabularyError
from zegclip_core.messages.topic_names import topic_token, topic_tokens


@pytest.mark.parametrize(
    ('name', 'token'),
    [
        ('person', 'person'),
        ('traffic light', 'traffic_light'),
        ('Traffic  Light', 'traffic_light'),
        ('t-shirt', 't_shirt'),
        ('3d', 'class_3d'),
        ('café', 'cafe'),
        ('Ångström', 'angstrom'),
        ('Straße', 'strasse'),
        ('кошка', 'koshka'),
        ('Ёж', 'ezh'),
        ('γάτα', 'gata'),
        ('ねこ', 'neko'),
        ('고양이', 'goyangi'),
        ('猫', 'u732b'),
        ('C++', 'c'),
        ('!!', 'class_u0021_u0021'),
        ('/', 'class_u002f'),
        ('__private__', 'private'),
        ('a/b', 'a_b'),
        ('½ cup', 'class_1_2_cup'),
    ],
)
def test_names_become_readable_tokens(name: str, token: str) -> None:
    assert topic_token(name) == token


@given(strategies.text(min_size=1, max_size=200))
def test_every_name_becomes_a_token_that_ros_accepts(name: str) -> None:
    token = topic_token(name)
    # Rules of ROS 2 names: https://design.ros2.org/articles/topic_and_service_names.html
    assert re.fullmatch(r'[a-z][a-z0-9_]*', token)
    assert '__' not in token
    assert len(token) <= 100


def test_long_names_that_begin_alike_stay_apart() -> None:
    assert len(set(topic_tokens(['x' * 150 + 'a', 'x' * 150 + 'b']))) == 2


def test_a_collision_names_both() -> None:
    with pytest.raises(VocabularyError, match="'traffic-light' and 'Traffic light' both become"):
        topic_tokens(['person', 'traffic-light', 'Traffic light'])


def test_tokens_keep_the_order() -> None:
    assert topic_tokens(['dog', 'cat', 'café']) == ('dog', 'cat', 'cafe')

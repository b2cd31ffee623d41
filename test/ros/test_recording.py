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
"""The figures of a run, against cases that can be counted by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_ros.demo import report
from zegclip_ros.listening import Announcement
from zegclip_ros.recording import CANDIDATES, Labelled, Recording

MS = 10**6
SECOND = 10**9


def state(version: int, names: list[str], stamp: int | None, **changed: object) -> Announcement:
    """Return what a node announces, with some fields changed."""
    fields: dict[str, Any] = {
        'version': version,
        'requested': version,
        'error': None,
        'warning': None,
        'classes': [
            {'id': k, 'name': name, 'phrases': [], 'color': [k, 0, 0], 'threshold': None}
            for k, name in enumerate(names)
        ],
        'stamp': None if stamp is None else {'sec': stamp // SECOND, 'nanosec': stamp % SECOND},
    }
    return Announcement.read(json.dumps({**fields, **changed}))


def frame(stamp: int, *labels: int) -> Labelled:
    grid = np.array([labels], np.uint8)
    return Labelled(stamp, np.zeros((*grid.shape, 3), np.uint8), grid)


@pytest.fixture
def run() -> Recording:
    """Two vocabularies: frames at 10 and 11 s with the first, at 12 and 13 s with the second."""
    recording = Recording()
    recording.announced(state(0, [], None))
    recording.announced(state(1, ['cat', 'dog'], None))
    recording.announced(state(1, ['cat', 'dog'], 10 * SECOND))
    recording.said(Vocabulary.from_names(['cow']), 11 * SECOND + 500 * MS)
    for second in range(10, 14):
        recording.cameras.append(second * SECOND)
        arrival = second * SECOND + (second - 9) * 100 * MS
        recording.overlays.append((second * SECOND, arrival))
    recording.labelled(frame(10 * SECOND, 0, 0, 1, 255))
    recording.labelled(frame(11 * SECOND, 0, 0, 0, 0))
    # The overlay of the second words' first frame overtakes their announcement.
    recording.labelled(frame(12 * SECOND, 0, 255, 255, 255))
    recording.announced(state(2, ['cow'], None))
    recording.announced(state(2, ['cow'], 12 * SECOND))
    recording.labelled(frame(13 * SECOND, 255, 255, 255, 255))
    return recording


def test_rates_and_latencies(run: Recording) -> None:
    summary = run.summary()
    assert (summary['frames_in'], summary['frames_out']) == (4, 4)
    assert summary['camera_rate_hz'] == 1.0
    # Arrivals at 10.1, 11.2, 12.3 and 13.4 s.
    assert summary['frame_rate_hz'] == round(3 / 3.3, 2)
    assert summary['seconds'] == 3.3
    assert summary['latency_ms'] == {'p50': 250.0, 'p95': 385.0}


def test_frames_belong_to_the_words_that_they_were_labelled_with(run: Recording) -> None:
    first, second = run.summary()['vocabularies']
    assert first['classes'] == ['cat', 'dog']
    assert (first['frames'], second['frames']) == (2, 2)
    assert first['pixel_share'] == {'cat': 0.75, 'dog': 0.125}
    assert first['unlabelled_share'] == 0.125
    assert second['pixel_share'] == {'cow': 0.125}
    assert second['unlabelled_share'] == 0.875


def test_switching_is_counted_from_the_words_to_the_first_overlay(run: Recording) -> None:
    first, second = run.summary()['vocabularies']
    assert first['switch_seconds'] is None
    assert second['switch_seconds'] == 0.8  # Said at 11.5 s, the overlay came at 12.3 s.


def test_the_picture_shows_most_classes_and_belongs_to_its_words(run: Recording) -> None:
    one, two = run.best(1), run.best(2)
    assert one is not None
    assert two is not None
    assert (one.stamp, two.stamp) == (10 * SECOND, 12 * SECOND)
    assert run.best(3) is None


def test_labels_are_awaited_until_a_frame_has_the_last_words(run: Recording) -> None:
    assert not run.awaits_labels()
    run.said(Vocabulary.from_names(['hen']), 14 * SECOND)
    assert run.awaits_labels()
    run.announced(state(3, ['hen'], None))
    run.labelled(frame(14 * SECOND, 0, 0))
    assert run.awaits_labels()
    run.announced(state(3, ['hen'], 15 * SECOND))
    assert run.awaits_labels()
    run.labelled(frame(15 * SECOND, 0, 0))
    assert not run.awaits_labels()


def test_only_a_few_frames_are_kept_whole() -> None:
    recording = Recording()
    recording.announced(state(1, ['cat'], 1))
    for stamp in range(1, 50):
        recording.labelled(frame(stamp, *([0] * (stamp % 7)), *([255] * (7 - stamp % 7))))
    assert len(recording._best) == CANDIDATES
    best = recording.best(1)
    assert best is not None
    assert (best.labels == 0).sum() == 6
    assert recording.summary()['vocabularies'][0]['frames'] == 49


def test_a_run_without_an_overlay_has_figures_too() -> None:
    assert Recording().awaits_labels()
    summary = Recording().summary()
    assert summary['frames_out'] == 0
    assert summary['latency_ms'] == {'p50': None, 'p95': None}


def test_frames_of_one_camera_of_several_belong_to_its_own_stamps() -> None:
    recording = Recording('rear')
    stamps: dict[str, Any] = {'front': {'sec': 3, 'nanosec': 0}, 'rear': None}
    recording.announced(state(1, ['cat'], None, stamps=stamps))
    assert recording.owner(4 * SECOND) is None
    stamps['rear'] = {'sec': 5, 'nanosec': 1}
    recording.announced(state(1, ['cat'], None, stamps=stamps))
    assert [recording.owner(5 * SECOND), recording.owner(5 * SECOND + 1)] == [None, 1]


def test_the_table_holds_the_figures_and_the_files(run: Recording, tmp_path: Path) -> None:
    summary = run.summary()
    summary['versions'] = {'torch': '2.0'}
    for entry in summary['vocabularies']:
        entry['picture'] = f'vocabulary_{entry["version"]}.png'
    text = report(summary, tmp_path)
    for part in ('index.html', '0.91 Hz', 'p50 250.0 ms', '75.0%', '0.80 s after', 'overlay.mp4'):
        assert part in text
    assert str(tmp_path / 'vocabulary_2.png') in text


def test_a_frame_whose_words_are_announced_late_is_kept_whole() -> None:
    recording = Recording()
    recording.announced(state(1, ['cat', 'dog'], 1))
    for stamp in range(1, CANDIDATES + 5):
        recording.labelled(frame(stamp, 0, 1, 255, 255))
    recording.labelled(frame(100, 255, 255, 255, 255))  # Less is seen in it than in all others.
    recording.announced(state(2, ['cow'], 100))
    best = recording.best(2)
    assert best is not None
    assert best.stamp == 100


def test_labels_with_ids_of_their_own_are_those_of_the_words() -> None:
    classes = [
        {'id': number, 'name': name, 'phrases': [], 'color': [1, 2, 3], 'threshold': None}
        for name, number in (('cat', 7), ('dog', 254))
    ]
    recording = Recording()
    recording.announced(state(1, [], SECOND, classes=classes))
    one = frame(SECOND, 7, 7, 254, 255)
    recording.labelled(one)
    assert recording.segmentation(one, 1).shares() == {'cat': 0.5, 'dog': 0.25}
    (words,) = recording.summary()['vocabularies']
    assert words['pixel_share'] == {'cat': 0.5, 'dog': 0.25}
    assert words['unlabelled_share'] == 0.25

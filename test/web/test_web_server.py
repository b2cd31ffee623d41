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
"""The page's server, asked as browsers and as others ask it."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
import io
import json
import threading
from typing import Any
from unittest.mock import Mock

import numpy as np
from PIL import Image
import pytest
from skimage import data
from web_pages import asked, encoded, SIDE, Talk
from websockets.exceptions import ConnectionClosed
from zegclip_core.explanation import explain
from zegclip_core.segmenter import Segmenter
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_core.web import app
from zegclip_core.web.limits import MAX_SESSIONS
from zegclip_core.web.model_desk import ModelDesk

WORDS = 'cup, spoon, table'
COFFEE = data.coffee()


def test_a_photo_is_labelled_as_the_segmenter_does(talk: Talk, segmenter: Segmenter) -> None:
    status, copy = talk.photo(encoded(COFFEE), 7)
    assert (status, Image.open(io.BytesIO(copy)).size) == (200, COFFEE.shape[1::-1])
    talk.look_for(WORDS, 3)
    found = talk.heard('result')
    assert (found['image'], found['asked'], found['live']) == (7, 3, False)
    assert [one['name'] for one in found['classes']] == ['cup', 'spoon', 'table']
    reference = segmenter.segment(COFFEE, Vocabulary.parse(WORDS))
    assert np.array_equal(found['labels'], reference.labels)
    shares = [one['share'] for one in found['classes']]
    assert shares == pytest.approx(list(reference.shares().values()), abs=1e-6)
    assert 0.05 < shares[0] < 0.95


def test_other_words_and_thresholds_change_the_labels(talk: Talk, segmenter: Segmenter) -> None:
    talk.photo(encoded(COFFEE))
    talk.look_for('cup', 1)
    before = talk.heard('result')['labels']
    talk.look_for('cup', 2, threshold=0.5)
    after = talk.heard('result')
    assert (after['labels'] == 0).sum() < (before == 0).sum()
    encoded_words = segmenter.encode(Vocabulary.parse('cup'), threshold=0.5)
    assert np.array_equal(after['labels'], segmenter.segment(COFFEE, encoded_words).labels)
    talk.look_for('cup', 3, negatives='table, saucer')
    rivals = talk.heard('result')
    assert rivals['negatives'] == ['table', 'saucer']
    assert (rivals['labels'] == 0).sum() < (before == 0).sum()


def test_the_explanation_is_that_of_the_command(talk: Talk, segmenter: Segmenter) -> None:
    talk.photo(encoded(COFFEE))
    talk.look_for(WORDS, 1, negatives='wall')
    told = talk.heard('explanation')
    plain = Segmenter.load(
        'everyday-s', device='cpu', short_side=SIDE, engine='plain', negatives=('wall',)
    )
    reference = explain(plain, COFFEE, Vocabulary.parse(WORDS))
    assert [row['name'] for row in told['rows']] == list(reference.names)
    peaks = [row['peak'] for row in told['rows']]
    assert peaks == pytest.approx(reference.scores.max(axis=(1, 2)).tolist(), abs=0.02)
    assert told['rows'][3]['threshold'] is None
    first, most = told['taken'][0], reference.taken()[0]
    assert (first['winner'], first['loser']) == (most.winner, most.loser)
    assert first['margin'] == pytest.approx(most.margin, abs=0.02)
    talk.say('hover', row=0)
    found = talk.heard('map')
    height, width = found['map'].shape
    small = np.asarray(
        Image.fromarray(reference.scores[0]).resize((width, height), Image.Resampling.BOX)
    )
    assert np.abs(found['map'] / 255.0 - small).mean() < 0.01
    place = talk.point(0.5, 0.3)
    row, column = int(0.3 * COFFEE.shape[0]), int(0.5 * COFFEE.shape[1])
    best = int(reference.ranks[0][row, column])
    assert place['ranking'][0]['row'] == place['label'] == best
    assert place['ranking'][0]['score'] == pytest.approx(
        float(reference.scores[best, row, column]), abs=0.03
    )


def test_downloads_have_the_size_of_the_photo_itself(talk: Talk) -> None:
    large = np.repeat(np.repeat(COFFEE, 3, axis=0), 3, axis=1)
    _, copy = talk.photo(encoded(large, 'JPEG'))
    assert max(Image.open(io.BytesIO(copy)).size) == 1024
    assert talk.download('label.png')[0] == 409
    talk.look_for(WORDS)
    found = talk.heard('result')
    status, label = talk.download('label.png')
    labels = np.asarray(Image.open(io.BytesIO(label)))
    assert (status, labels.shape) == (200, large.shape[:2])
    small = Image.fromarray(labels).resize(found['labels'].shape[::-1], Image.Resampling.NEAREST)
    assert (np.asarray(small) == found['labels']).mean() > 0.99
    overlay = np.asarray(Image.open(io.BytesIO(talk.download('overlay.png', 0.0)[1])))
    assert np.abs(overlay[: large.shape[0], : large.shape[1]].astype(int) - large).mean() < 3
    report = json.loads(talk.download('result.json')[1])
    assert (report['width'], report['height']) == large.shape[1::-1]
    assert [one['name'] for one in report['classes']] == ['cup', 'spoon', 'table']
    assert report['classes'][0]['share'] == pytest.approx((labels == 0).mean(), abs=1e-5)


def test_a_photo_without_labels_yet_is_not_downloaded_with_those_before(
    talk: Talk, desk: ModelDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk.photo(encoded(COFFEE), 1)
    talk.look_for(WORDS)
    talk.heard('result')
    with monkeypatch.context() as patch:
        patch.setattr(desk, '_frames', Mock())  # A model that is busy.
        assert talk.photo(encoded(COFFEE[:90]), 2)[0] == 200
        assert talk.download('label.png')[0] == 409


def test_photos_of_one_page_are_taken_one_after_the_other(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    second = threading.Event()
    body, read = app._body, app.read_photo

    async def noted_body(request: Any) -> bytes:  # noqa: ANN401 - starlette's
        begun.append('body')
        if begun.count('body') > 1:
            second.set()
        return await body(request)

    def noted_read(data: bytes) -> Any:  # noqa: ANN401 - an array
        begun.append('read')
        second.wait(0.5)  # Without end if the second one waits for this one.
        return read(data)

    monkeypatch.setattr(app, '_body', noted_body)
    monkeypatch.setattr(app, 'read_photo', noted_read)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda number: talk.photo(encoded(COFFEE), number)[0], (1, 2)))
    assert (answers, begun) == ([200, 200], ['body', 'read', 'body', 'read'])


def test_frames_are_labelled_and_smoothed(talk: Talk, segmenter: Segmenter) -> None:
    frame = encoded(COFFEE, 'JPEG')
    talk.frame(frame, 1, 0.0)
    assert talk.heard('idle', 'result')['type'] == 'idle'  # There are no words yet.
    talk.look_for(WORDS, 1, smoothing=0.9)
    assert talk.heard('result')['live'] is False
    shifted = encoded(np.roll(COFFEE, 3, axis=1), 'JPEG')
    talk.frame(frame, 2, 0.0)
    assert talk.heard('result')['image'] == 2
    talk.frame(shifted, 3, 0.1)
    smooth = talk.heard('result')
    talk.look_for(WORDS, 2, smoothing=0.0)
    talk.heard('result')
    talk.frame(shifted, 4, 0.2)
    plain = talk.heard('result')
    assert (smooth['live'], plain['live']) == (True, True)
    assert not np.array_equal(smooth['labels'], plain['labels'])
    pixels = np.array(Image.open(io.BytesIO(shifted)).convert('RGB'))
    words = Vocabulary.parse(WORDS)
    assert np.array_equal(plain['labels'], segmenter.segment(pixels, words).labels)


@pytest.mark.parametrize(
    ('box', 'fields'),
    [
        ('words', {'words': 'cat, cat'}),
        ('words', {'words': ' , '}),
        ('words', {'words': 'a' * 70_000}),
        ('words', {'words': '[1, 2]'}),
        ('words', {'words': 'not a cat'}),
        ('words', {'words': None}),
        ('words', {'words': 'word ' * 3000}),
        ('negatives', {'words': 'cat', 'negatives': 'not a dog'}),
        ('negatives', {'words': 'cat', 'negatives': ['dog']}),
        ('threshold', {'words': 'cat', 'threshold': 1.5}),
        ('threshold', {'words': 'cat', 'threshold': 'much'}),
        ('threshold', {'words': 'cat', 'threshold': 10**309}),
        ('smoothing', {'words': 'cat', 'smoothing': -1}),
    ],
)
def test_an_error_names_its_box_in_one_line_and_the_words_before_stay(
    talk: Talk, box: str, fields: dict[str, object]
) -> None:
    talk.photo(encoded(COFFEE))
    talk.look_for('cup')
    talk.heard('result')
    talk.say('settings', number=2, **fields)
    error = talk.heard('error')
    assert (error['box'], '\n' in error['text']) == (box, False)
    assert 0 < len(error['text']) < 400
    talk.photo(encoded(COFFEE[:, ::-1]), 2)
    assert talk.heard('result')['classes'][0]['name'] == 'cup'


@pytest.mark.parametrize(
    'message',
    [
        '',
        'no json',
        '[' * 100_000,
        '[]',
        '{"type": "x"}',
        '{"type": ["x"]}',
        '{"type": "hover", "row": -1}',
        '{"type": "hover", "row": 1e9}',
        '{"type": "point", "x": 2, "y": 0}',
        '{"type": "point", "x": NaN, "y": 0}',
        b'',
        b'short',
        b'\0' * 12 + b'no picture',
        b'\0\0\0\0' + b'\xff' * 8 + b'x',
    ],
)
def test_messages_of_no_sense_are_refused_and_the_page_goes_on(
    talk: Talk, message: str | bytes
) -> None:
    talk.socket.send(message)
    if message != b'' and message != '':
        assert talk.heard('error')['text']
    talk.photo(encoded(COFFEE))
    talk.look_for('cup')
    assert talk.heard('result')['classes'][0]['name'] == 'cup'


def test_pages_are_told_apart_and_unknown_ones_refused(address: str) -> None:
    with Talk(address) as one, Talk(address) as other:
        one.photo(encoded(COFFEE))
        other.photo(encoded(data.chelsea()))
        one.look_for('cup')
        other.look_for('cat')
        assert one.heard('result')['classes'][0]['name'] == 'cup'
        found = other.heard('result')
        assert found['labels'].shape == data.chelsea().shape[:2]
        assert one.session != other.session
    assert asked(address, '/download/label.png?session=guess')[0] == 410
    path = '/photo?session=guess&number=1'
    assert asked(address, path, method='POST', body=encoded(COFFEE))[0] == 410


def test_a_reloaded_page_gets_its_photo_and_labels_again(address: str) -> None:
    with Talk(address) as first:
        first.photo(encoded(COFFEE), 5)
        first.look_for('cup', 2)
        first.heard('result')
    with Talk(address, first.session) as again:
        assert again.session == first.session
        assert again.heard('result')['image'] == 5
        status, body, headers = asked(address, f'/photo?session={again.session}')
        assert (status, headers['x-number']) == (200, '5')
        assert Image.open(io.BytesIO(body)).size == COFFEE.shape[1::-1]


def test_a_page_that_takes_nothing_holds_no_other(address: str) -> None:
    noise = encoded(np.random.default_rng(0).integers(0, 256, (900, 1000, 3), np.uint8), 'JPEG')
    with Talk(address) as slow, Talk(address) as other:
        slow.look_for(WORDS)
        slow.heard('answer')
        # From here on nothing is read of what comes for it.
        stop = threading.Event()

        def press() -> None:
            number = 0
            with suppress(ConnectionClosed):  # It ends with the page.
                while not stop.is_set():
                    number += 1
                    slow.frame(noise, number, number / 30)

        flood = threading.Thread(target=press, daemon=True)
        flood.start()
        other.photo(encoded(COFFEE))
        for number in range(1, 6):
            other.look_for(f'cup, thing {number}', number)
            assert other.heard('result')['asked'] == number
        stop.set()
        slow.socket.close_socket()
        flood.join(10)


def test_only_so_many_pages_are_open_at_once(address: str) -> None:
    open_pages: list[Talk] = []
    try:
        open_pages += [Talk(address) for _ in range(MAX_SESSIONS)]
        with pytest.raises(ConnectionClosed, match='1013'):
            Talk(address)
        left = open_pages.pop()
        left.socket.close()
        open_pages.append(Talk(address))
        with pytest.raises(ConnectionClosed, match='1013'):
            Talk(address, left.session)  # It comes back while others have its place.
    finally:
        for page in open_pages:
            page.socket.close()

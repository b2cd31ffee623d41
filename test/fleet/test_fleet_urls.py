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
"""Bags on S3, as moto stands in for it: read, labelled, written, and gone on with."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from bag_helpers import camera_bag, ColorSegmenter, content, hashes
from commands import answer_of
from fleet_helpers import Fleet, WORDS
import pytest
from zegclip_core.bags.added import AddedTopics
from zegclip_core.cli import label_bags
from zegclip_core.errors import BagError
from zegclip_core.fleet.finding import Task
from zegclip_core.fleet.places import at_hand
from zegclip_core.fleet.work import done_before, Work, Worker
from zegclip_core.text.vocabulary import Vocabulary

pytest.importorskip('s3fs')
moto_server = pytest.importorskip('moto.server')


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a store with an empty bucket, which URLs lead to."""
    import s3fs

    server = moto_server.ThreadedMotoServer(ip_address='127.0.0.1', port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name in ('AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY'):
        monkeypatch.setenv(name, 'testing')
    monkeypatch.setenv('AWS_DEFAULT_REGION', 'us-east-1')
    monkeypatch.setenv('AWS_ENDPOINT_URL', f'http://{host}:{port}')
    s3fs.S3FileSystem.clear_instance_cache()
    system = s3fs.S3FileSystem()
    system.mkdir('fleet')
    yield system
    system.rm('fleet', recursive=True)  # The stand-in keeps its buckets in this process.
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture
def fleet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Fleet:
    monkeypatch.setattr(label_bags, 'load_segmenter', a_segmenter)
    more = ('--cache', tmp_path / 'cache', '--manifest', tmp_path / 'manifest.csv')
    return lambda *arguments: answer_of(capsys, 'label-bags', *arguments, *WORDS, *more)


def a_segmenter(args: object) -> ColorSegmenter:
    del args
    return ColorSegmenter()


def test_bags_come_from_a_bucket_and_go_to_one(
    fleet: Fleet, store: Any, tmp_path: Path  # noqa: ANN401
) -> None:  # fmt: skip
    for number in range(2):
        camera_bag(tmp_path / 'in' / f'drive{number}', frames=number + 2)
    (tmp_path / 'in' / 'bad.mcap').write_bytes(b'no bag')
    store.put(str(tmp_path / 'in'), 'fleet/in', recursive=True)
    code, text, err = fleet('s3://fleet/in', '--out', 's3://fleet/out')
    assert (code, '2 of 3 bags labelled, 1 failed' in text) == (2, True)
    assert 's3://fleet/in/bad.mcap: failed: Cannot read the bag' in err
    assert fleet(tmp_path / 'in', '--out', tmp_path / 'single')[0] == 2
    for number in range(2):
        name = f'drive{number}'
        store.get(f'fleet/out/{name}', str(tmp_path / 'got' / name), recursive=True)
        assert hashes(tmp_path / 'got' / name) == hashes(tmp_path / 'single' / name)
        assert len(content(tmp_path / 'got' / name)) == 10 + 2 * number
    # What was fetched and written is not kept, nor is the bag that failed.
    assert not list((tmp_path / 'cache').rglob('*'))
    code, text, _ = fleet('s3://fleet/in', '--out', 's3://fleet/out', '--retries', 0)
    assert (code, '2 of them before this run' in text) == (2, True)


def test_an_upload_that_breaks_off_goes_on_without_the_model(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch  # noqa: ANN401
) -> None:  # fmt: skip
    camera_bag(tmp_path / 'in' / 'drive', frames=3)
    store.put(str(tmp_path / 'in'), 'fleet/in', recursive=True)
    task, cache = Task('s3://fleet/in/drive', 's3://fleet/out/drive'), tmp_path / 'cache'
    segmenter = ColorSegmenter()
    work = Work(
        topics=(),
        added=AddedTopics(Vocabulary.parse(WORDS[1])),
        load=lambda _: segmenter,
        settings={'--model': 'stand-in'},
        cache=cache,
    )

    def label(work: Work) -> str:
        return Worker(work).label(task).state

    upload = store.put_file
    with monkeypatch.context() as patch:
        patch.setattr(
            store, 'put_file', lambda file, to: upload(file, to) if 'mcap' in to else 1 / 0
        )
        assert label(work) == 'failed'
        assert done_before(task, work) is None
    # The recording is not needed any more, the labelled bag is.
    assert {path.name for path in cache.rglob('*') if path.is_file()} == {
        'drive.mcap',
        'metadata.yaml',
    }
    assert len(list(cache.iterdir())) == 1
    assert segmenter.seen == 3
    assert (label(work), segmenter.seen) == ('done', 3)
    assert not list(cache.rglob('*'))
    local = Task(str(tmp_path / 'in' / 'drive'), str(tmp_path / 'single' / 'drive'))
    Worker(work).label(local)
    store.get('fleet/out/drive', str(tmp_path / 'got'), recursive=True)
    assert content(tmp_path / 'got') == content(tmp_path / 'single' / 'drive')
    # What waits with other labels is not taken.
    with monkeypatch.context() as patch:
        patch.setattr(store, 'put_file', lambda *_: 1 / 0)
        label(work)
    other = replace(work, every=2)
    assert (label(other), segmenter.seen) == ('done', 11)


@pytest.mark.parametrize('ended', [True, False])
def test_a_copy_of_a_recording_outlives_the_end_of_its_process_alone(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: bool  # noqa: ANN401
) -> None:  # fmt: skip
    camera_bag(tmp_path / 'drive', frames=3)
    store.put(str(tmp_path / 'drive'), 'fleet/drive', recursive=True)
    error = KeyboardInterrupt if ended else BagError
    copies = []

    def use() -> None:
        with at_hand('s3://fleet/drive', tmp_path / 'cache') as path:
            copies.append(path)
            assert hashes(path) == hashes(tmp_path / 'drive')
            raise error

    with pytest.raises(error):
        use()
    assert copies[0].exists() == ended
    if ended:
        monkeypatch.setattr(store, 'get', lambda *_, **__: 1 / 0)
        with at_hand('s3://fleet/drive', tmp_path / 'cache') as again:
            assert hashes(again) == hashes(tmp_path / 'drive')
    assert not list((tmp_path / 'cache').rglob('*'))


@pytest.mark.parametrize('changed', ['a message more', 'another byte', 'a file more'])
def test_the_copy_of_a_recording_that_has_changed_since_is_not_taken(
    store: Any, tmp_path: Path, changed: str  # noqa: ANN401
) -> None:  # fmt: skip
    bag = camera_bag(tmp_path / 'drive', frames=3)
    store.put(str(bag), 'fleet/drive', recursive=True)
    url, cache = 's3://fleet/drive', tmp_path / 'cache'
    with pytest.raises(KeyboardInterrupt), at_hand(url, cache):
        raise KeyboardInterrupt
    if changed == 'a message more':
        camera_bag(tmp_path / 'longer' / 'drive', frames=4)
        bag = tmp_path / 'longer' / 'drive'
    elif changed == 'another byte':
        file = bag / 'metadata.yaml'
        file.write_bytes(file.read_bytes().replace(b'a', b'b', 1))
    else:
        (bag / 'notes.txt').write_text('of the driver', encoding='utf-8')
    store.put(f'{bag}/', 'fleet/drive', recursive=True)
    with at_hand(url, cache) as again:
        assert hashes(again) == hashes(bag)
        assert len(list(cache.rglob('drive'))) == 1
    assert not list(cache.rglob('*'))


def test_a_single_file_of_a_bucket_is_a_bag(
    fleet: Fleet, store: Any, tmp_path: Path  # noqa: ANN401
) -> None:  # fmt: skip
    bag = camera_bag(tmp_path / 'in', 'sqlite3')
    store.put_file(str(bag / 'in.db3'), 'fleet/a/run.db3')
    code, _, err = fleet('s3://fleet/a/run.db3', '--out', tmp_path / 'out')
    assert (code, err) == (0, '')
    assert len(content(tmp_path / 'out' / 'run')) == 18


@pytest.mark.parametrize('url', ['s3://fleet/gone', 's3://nobody/x', 'nonsense://x/y'])
def test_what_is_not_there_gets_one_line(
    fleet: Fleet,
    store: Any,  # noqa: ANN401
    url: str,
) -> None:
    del store
    code, _, err = fleet(url, '--out', 'nowhere')
    assert code == 2
    assert err.count('\n') == 1
    assert url in err

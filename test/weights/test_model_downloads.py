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
"""CLIP by ``NAME/TAG`` is downloaded once; without a network, one line says what to do."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
import threading

import huggingface_hub
import open_clip
import pytest
from tiny_clips import NAME, tiny_clip, write_tiny_clip
from tiny_models import published_state
import torch
from zegclip_core.errors import TowerError
from zegclip_core.loading import load_model
from zegclip_core.weights import clip as clip_weights
from zegclip_core.weights.checkpoint import save_checkpoint, with_settings
from zegclip_core.weights.published import convert_published

TAG = 'seeded'
REPOSITORY = 'someone/tiny'
WEIGHTS = 'open_clip_model.safetensors'
COMMIT = 'c' * 40


@pytest.fixture(scope='module')
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_clip(tmp_path_factory.mktemp('weights') / WEIGHTS)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Register a tag of the tiny model; the hub's cache is empty."""
    tiny_clip()
    tag = open_clip.pretrained._pcfg(
        hf_hub=f'{REPOSITORY}/', quick_gelu=True, mean=(0.0, 0.5, 1.0)
    )
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, NAME, {TAG: tag})
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


class Hub(ThreadingHTTPServer):
    """A model hub with one file.

    Attributes:
        content: Of the file.
        gets: Paths whose content was sent.
        asked: How often it was asked for anything.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(('127.0.0.1', 0), HubHandler)
        self.content = content
        self.gets: list[str] = []
        self.asked = 0


class HubHandler(BaseHTTPRequestHandler):
    """Answers as the hub does for a small file."""

    server: Hub

    def do_HEAD(self) -> None:
        self.server.asked += 1
        found = self.path == f'/{REPOSITORY}/resolve/main/{WEIGHTS}'
        self.send_response(200 if found else 404)
        self.send_header('ETag', '"abc"')
        self.send_header('X-Repo-Commit', COMMIT)
        self.send_header('Content-Length', str(len(self.server.content) if found else 0))
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        if self.command == 'GET' and self.path.endswith(WEIGHTS):
            self.server.gets.append(self.path)
            self.wfile.write(self.server.content)

    def log_message(self, *args: object) -> None:
        """Be quiet."""


@pytest.fixture
def hub(local: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub(local.read_bytes()) as server:
        endpoint = f'http://127.0.0.1:{server.server_port}'
        constants = huggingface_hub.constants
        monkeypatch.setattr(constants, 'ENDPOINT', endpoint)
        monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
        template = endpoint + '/{repo_id}/resolve/{revision}/{filename}'
        monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE', template)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_tag_is_downloaded_once_with_a_progress_bar(
    cache: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv('TQDM_POSITION', '-1')  # Bars also where there is no terminal.
    loaded = load_model(f'{NAME}/{TAG}')
    assert len(hub.gets) == 1
    assert len(list(cache.glob(f'models--*/snapshots/*/{WEIGHTS}'))) == 1
    assert WEIGHTS in capfd.readouterr().err
    asked = hub.asked
    again = load_model(f'{NAME}/{TAG}')
    assert hub.asked == asked
    for one, other in zip(loaded.network.parameters(), again.network.parameters(), strict=True):
        assert torch.equal(one, other)


def test_pixels_and_activation_of_a_tag_are_the_tags(cache: Path, local: Path) -> None:
    folder = cache / 'models--someone--tiny' / 'snapshots' / 'main'
    folder.mkdir(parents=True)
    (folder / WEIGHTS).symlink_to(local)
    vision = load_model(f'{NAME}/{TAG}').config.vision
    assert vision.mean == (0.0, 127.5, 255.0)
    assert vision.std == pytest.approx((68.5005327, 66.6321579, 70.32316305))
    assert vision.activation == 'quick_gelu'


def test_offline_error_says_what_to_fetch_and_where_it_is_found_then(
    cache: Path, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip_weights, 'hub_is_reachable', lambda: False)
    with pytest.raises(TowerError) as caught:
        load_model(f'{NAME}/{TAG}')
    message = str(caught.value)
    assert '\n' not in message
    assert f'/{REPOSITORY}/resolve/main/{WEIGHTS}' in message
    folder = Path(message.partition('the folder ')[2].partition('. ')[0])
    name = f'{NAME}-quickgelu@{WEIGHTS}'
    assert message.endswith(f'it is used as {name}.')
    folder.mkdir(parents=True)
    (folder / WEIGHTS).write_bytes(local.read_bytes())
    placed = load_model(f'{NAME}/{TAG}')
    monkeypatch.chdir(folder)
    named = load_model(name)
    words = [each.text_encoder.encode_phrases(['bus']) for each in (placed, named)]
    assert torch.equal(*words)


def test_missing_clip_of_a_checkpoint_can_be_named_apart(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip_weights, 'hub_is_reachable', lambda: False)
    path, tower = tmp_path / 'voc.safetensors', f'open_clip:{NAME}/{TAG}'
    checkpoint = convert_published(published_state())
    save_checkpoint(with_settings(checkpoint, image_tower=tower, text_tower=tower), path)
    with pytest.raises(TowerError) as caught:
        load_model(str(path))
    assert str(caught.value).endswith(f'{path}+{NAME}-quickgelu@{WEIGHTS}.')

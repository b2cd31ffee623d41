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
"""What towers say where there is no network, no answer, or no weights to be had."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
import socket
import threading
import time

import huggingface_hub
import open_clip
import pytest
from zegclip_core.errors import TowerError
from zegclip_core.text.encoder import load_text_tower
from zegclip_core.weights import catalogue, timm_towers
from zegclip_core.weights import clip as clip_weights
from zegclip_core.weights.image_towers import load_image_tower


def test_without_a_network_a_missing_tag_says_what_to_fetch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_CACHE', str(tmp_path))
    monkeypatch.setattr(clip_weights, 'hub_is_reachable', lambda: False)
    monkeypatch.setattr(open_clip, 'download_pretrained', lambda cfg: pytest.fail('tried'))
    with pytest.raises(TowerError) as caught:
        load_text_tower('open_clip:ViT-B-16/openai')
    message = str(caught.value)
    assert 'fetch https://' in message
    assert 'open_clip_model.safetensors' in message
    assert f'into the folder {tmp_path}' in message
    assert '\n' not in message


def test_failed_download_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(tag_config: object) -> None:
        raise OSError('disk full\nand more')

    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_CACHE', str(tmp_path))
    monkeypatch.setattr(clip_weights, 'hub_is_reachable', lambda: True)
    monkeypatch.setattr(open_clip, 'download_pretrained', fail)
    with pytest.raises(TowerError, match='disk full') as caught:
        load_text_tower('open_clip:ViT-B-16/openai')
    assert '\n' not in str(caught.value)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve what refuses every request, which is an answer; return its address."""
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', False)
    monkeypatch.setattr(BaseHTTPRequestHandler, 'log_message', lambda *_: None)
    with HTTPServer(('127.0.0.1', 0), BaseHTTPRequestHandler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f'http://127.0.0.1:{httpd.server_port}'
        httpd.shutdown()
        thread.join()


def test_reach_of_the_hub_is_told(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, 'ENDPOINT', server)
    assert catalogue.hub_is_reachable()
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', True)
    assert not catalogue.hub_is_reachable()


def test_a_hub_that_does_not_answer_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', False)
    monkeypatch.setattr(catalogue, 'REACH_TIMEOUT', 0.2)
    with socket.create_server(('127.0.0.1', 0)) as silent:
        endpoint = f'http://127.0.0.1:{silent.getsockname()[1]}'
        monkeypatch.setattr(huggingface_hub.constants, 'ENDPOINT', endpoint)
        start = time.monotonic()
        assert not catalogue.hub_is_reachable()
    assert not catalogue.hub_is_reachable()
    assert time.monotonic() - start < 10


def test_a_proxy_is_tried_in_place_of_the_hub(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, 'ENDPOINT', 'http://hub.invalid')
    for name in ('no_proxy', 'NO_PROXY', 'http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(name, raising=False)
    try:
        for proxy, reached in ((server, True), ('http://127.0.0.1:1', False)):
            monkeypatch.setenv('http_proxy', proxy)
            huggingface_hub.close_session()  # The next one reads the environment anew.
            assert catalogue.hub_is_reachable() == reached
    finally:
        huggingface_hub.close_session()


@pytest.mark.parametrize('name', ['vit_tiny_patch16_224.nothing', 'vit_small_patch16_36x1_224'])
def test_a_timm_model_without_weights_is_one_line(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_CACHE', str(tmp_path))
    monkeypatch.setattr(timm_towers, 'hub_is_reachable', lambda: False)
    with pytest.raises(TowerError, match=f'timm:{name}') as caught:
        load_image_tower(f'timm:{name}')
    assert '\n' not in str(caught.value)

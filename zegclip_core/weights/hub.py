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
"""The model hub and its cache on this machine."""

from pathlib import Path
import socket
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

REACH_TIMEOUT = 3.0
"""How long to try to reach the model hub before a download is given up, in seconds."""
_REVISION = 'main'
_PORTS = {'http': 80, 'https': 443}


def cached_hub_file(repository: str, names: list[str]) -> Path | None:
    """Return the first of a hub repository's files that lies in the local cache, if any."""
    from huggingface_hub import try_to_load_from_cache

    for name in names:
        found = try_to_load_from_cache(repository, name)
        if isinstance(found, str):
            return Path(found)
    return None


def cache_root() -> Path:
    """Return where the hub's client keeps what it downloads."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def cache_folder(repository: str) -> Path:
    """Return the folder in which ``cached_hub_file`` finds a file that was put there by hand."""
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(cache_root(), repo_folder_name(repo_id=repository, repo_type='model'))
    downloaded = folder / 'refs' / _REVISION
    revision = downloaded.read_text('utf-8').strip() if downloaded.is_file() else _REVISION
    return folder / 'snapshots' / revision


def hub_url(repository: str, name: str) -> str:
    """Return the address of a file of a hub repository."""
    from huggingface_hub import hf_hub_url

    return str(hf_hub_url(repository, name))


def hub_is_reachable() -> bool:
    """Return whether a download from the model hub can be tried.

    The hub's client retries for half a minute without a network; this tells in a moment.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    host = _first_stop(constants.ENDPOINT)
    try:
        address = (host.hostname or '', host.port or _PORTS.get(host.scheme, 443))
        socket.create_connection(address, timeout=REACH_TIMEOUT).close()
    except (OSError, ValueError):  # A proxy whose port is no number is a ValueError.
        return False
    return True


def _first_stop(address: str) -> SplitResult:
    """Return where a request to an address goes first: to its proxy if it has one."""
    host = urlsplit(address)
    proxies = {} if proxy_bypass(host.hostname or '') else getproxies()
    proxy = proxies.get(host.scheme) or proxies.get('all')
    if not proxy:
        return host
    return urlsplit(proxy if '://' in proxy else f'http://{proxy}')

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

REACH_TIMEOUT = 3.0
"""How long to try to reach the model hub before a download is given up, in seconds."""
_REVISION = 'main'


def cached_hub_file(repository: str, names: list[str]) -> Path | None:
    """Return the first of a hub repository's files that lies in the local cache, if any."""
    from huggingface_hub import try_to_load_from_cache

    found = (try_to_load_from_cache(repository, name) for name in names)
    return next((Path(path) for path in found if isinstance(path, str)), None)


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

    The hub's client retries for half a minute without a network; this asks once, through the
    same proxies and certificates, and gives up after ``REACH_TIMEOUT``.
    """
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=REACH_TIMEOUT)
    except Exception:  # Of the client's HTTP library, which its versions change.
        return False
    return True

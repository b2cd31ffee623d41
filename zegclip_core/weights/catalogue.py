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
"""The CLIPs of open_clip and the model hub that they come from; never imports torch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
import importlib
from importlib.util import find_spec
import json
from pathlib import Path
import sys
from types import ModuleType
from typing import Any

from zegclip_core.weights.about import (
    family_of,
    image_size_of,
    languages_of,
    licence_of,
    why_refused,
)
from zegclip_core.weights.tips import FILE, TAG, TIPS, TOKENIZER_FILE
from zegclip_core.weights.trunks import count_trunk, trunk_of

REACH_TIMEOUT = 3.0
"""How long to try to reach the model hub before a download is given up, in seconds."""
TOKENIZER_FILES = ('tokenizer.json', 'tokenizer_config.json')
"""Of a tokenizer that CLIP's own does not stand in for, the first one first."""
TIMM_FILES = ('model.safetensors', 'pytorch_model.bin')
"""Names that weights of timm's may have, the best first."""
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


_BOTH = {'width', 'layers', 'mlp_ratio', 'ls_init_value'}
_PLAIN_VISION = _BOTH | {'image_size', 'head_width', 'patch_size', 'patch_dropout'}
_PLAIN_TEXT = _BOTH | {'context_length', 'vocab_size', 'heads'}
"""What the configuration of a plain ViT and of a plain text transformer may say."""
_TRUNK_VISION = {
    *('image_size', 'timm_model_name', 'timm_model_pretrained', 'timm_pool', 'timm_proj'),
}
"""What the configuration of an image tower of timm's may say."""
_SIGLIP_TEXT = {'no_causal_mask': True, 'pool_type': 'last'}
"""What makes a text transformer one of SigLIP's: it looks both ways, and its last token counts;
its projection has a bias, or there is none."""
_SIGLIP_OWN = {
    *_SIGLIP_TEXT,
    *('proj_bias', 'proj_type', 'hf_tokenizer_name', 'tokenizer_kwargs'),
    *('norm_kwargs', 'act_kwargs'),
}
_PLAIN_VALUES = {'tok', 'argmax', 'linear', 'learnable'}
"""What else may be said, as it is what plain ones do."""
_MLP_RATIO = 4.0  # open_clip's default, as the head width of 64 is
_FLOAT32 = 4


@dataclass(frozen=True)
class CLIPEntry:
    """A CLIP that can be used without training.

    Attributes:
        name: ``NAME/TAG``.
        family: What kind of CLIP it is, such as ``SigLIP 2``.
        licence: Of its weights, as their publisher names it; empty if it is not known.
        languages: What its text tower has learnt: ``English`` or ``many``.
        patch_size: Side of a patch, in pixels.
        image_size: Side of the images that it was made for, in pixels.
        parameters: How many it has, in both towers.
        urls: What is downloaded: the weights, then the tokenizer's files, if it has its own.
        folder: Where the weights are kept on this machine.
        path: The weights on this machine; ``None`` if they would be downloaded.
        gated: Whether the hub gives them only to accounts that accepted their licence.
    """

    name: str
    family: str
    licence: str
    languages: str
    patch_size: int
    image_size: int
    parameters: int
    urls: tuple[str, ...]
    folder: Path
    path: Path | None = None
    gated: bool = False

    @property
    def size(self) -> int:
        """Bytes of its weights; of a download about, which are float32 nearly everywhere."""
        return self.parameters * _FLOAT32 if self.path is None else self.path.stat().st_size


def clip_entries() -> Iterator[CLIPEntry]:
    """Return every CLIP of open_clip that can be used without training, in open_clip's order."""
    paths = (open_clip_folder() / 'model_configs').glob('*.json')
    configs = {path.stem: json.loads(path.read_text('utf-8')) for path in paths}
    tags = _open_clip_module('pretrained')
    for name, tag in tags.list_pretrained():
        config = configs.get(name)
        # The same weights again, for those who leave the activation to the name.
        if config is None or config.get('quick_gelu') or unusable(config):
            continue
        yield _entry(name, tag, config, hub_files(tags.get_pretrained_cfg(name, tag)))


def _entry(
    name: str, tag: str, config: Mapping[str, Any], hub: tuple[str, list[str]]
) -> CLIPEntry:
    """Return what is known of a CLIP whose weights are one of some files of the hub."""
    repository, files = hub
    path = cached_hub_file(repository, files)
    urls = [hub_url(repository, files[0] if path is None else path.name)]
    tokenizer = config['text_cfg'].get('hf_tokenizer_name')
    if tokenizer:
        urls += [hub_url(tokenizer, file) for file in TOKENIZER_FILES]
    return CLIPEntry(
        f'{name}/{tag}',
        family_of(name, tag),
        licence_of(tag),
        languages_of(name),
        patch_size(config),
        image_size_of(config),
        count_parameters(config),
        tuple(urls),
        cache_folder(repository),
        path,
    )


def tips_entries() -> Iterator[CLIPEntry]:
    """Return every model of TIPSv2, the smallest first."""
    for name, model in TIPS.items():
        path = cached_hub_file(model.repository, [FILE])
        yield CLIPEntry(
            f'{name}/{TAG}',
            'TIPSv2',
            licence_of(TAG),
            'English',
            model.patch_size,
            image_size_of(model.config),
            model.parameters,
            tuple(hub_url(model.repository, file) for file in (FILE, TOKENIZER_FILE)),
            cache_folder(model.repository),
            path,
        )


def tags_of(name: str) -> list[str]:
    """Return the tags of a model, the first one first; none of an unknown one."""
    if name in TIPS:
        return [TAG]
    pairs = _open_clip_module('pretrained').list_pretrained()
    return [tag for model, tag in pairs if model == name]


def unusable(config: Mapping[str, Any]) -> str | None:
    """Return why a CLIP with a configuration of open_clip's cannot be used without training."""
    return unusable_image(config) or unusable_text(config)


def unusable_image(config: Mapping[str, Any]) -> str | None:
    """Return why a CLIP's image tower is no plain ViT, if it is none."""
    vision = config['vision_cfg']
    if not isinstance(vision.get('layers', 0), int):
        return 'the image tower is no ViT'
    known = _PLAIN_VISION if trunk_of(vision) is None else _TRUNK_VISION
    return _own(vision, known, 'image tower')


def unusable_text(config: Mapping[str, Any]) -> str | None:
    """Return why a CLIP's text tower is no plain text transformer nor SigLIP's, if so."""
    text = config['text_cfg']
    known = _PLAIN_TEXT | _SIGLIP_OWN if is_siglip_text(text) else _PLAIN_TEXT
    return _own(text, known, 'text tower')


def is_siglip_text(text: Mapping[str, Any]) -> bool:
    """Return whether a ``text_cfg`` of open_clip's is that of a text tower of SigLIP's."""
    projected = bool(text.get('proj_bias')) or text.get('proj_type') == 'none'
    return projected and all(text.get(key) == value for key, value in _SIGLIP_TEXT.items())


def _own(tower: Mapping[str, Any], plain: set[str], what: str) -> str | None:
    """Return the first setting of a tower that plain ones do not have."""
    own = [
        key
        for key, value in tower.items()
        if value and key not in plain and str(value) not in _PLAIN_VALUES
    ]
    if not own:
        return None
    setting, value = own[0], tower[own[0]]
    return f'the {what} has its own {setting} ({value}{why_refused(setting, value)})'


def count_parameters(config: Mapping[str, Any]) -> int:
    """Return how many parameters a CLIP that is not ``unusable`` has, by its configuration."""
    vision, text, dim = config['vision_cfg'], config['text_cfg'], config['embed_dim']
    words = text['vocab_size'] + text['context_length']
    text_ends = (words + 2) * text['width']
    if text.get('proj_type') != 'none':
        text_ends += (text['width'] + bool(text.get('proj_bias'))) * dim
    logits = 2 if 'init_logit_bias' in config else 1
    return int(_image_parameters(vision, dim) + _blocks(text) + text_ends + logits)


def patch_size(config: Mapping[str, Any]) -> int:
    """Return the side of a patch, in pixels, of a CLIP that is not ``unusable``."""
    vision = config['vision_cfg']
    trunk = trunk_of(vision)
    return int(vision['patch_size'] if trunk is None else trunk.patch_size)


def _image_parameters(vision: Mapping[str, Any], dim: int) -> int:
    """Return how many parameters an image tower with a joint space of ``dim`` has."""
    size, trunk = vision['image_size'], trunk_of(vision)
    height, wide = (size, size) if isinstance(size, int) else size
    if trunk is not None:
        return count_trunk(trunk, (height // trunk.patch_size) * (wide // trunk.patch_size), dim)
    width, patch = vision['width'], vision['patch_size']
    positions = 1 + (height // patch) * (wide // patch)
    ends = 3 * patch**2 * width + (1 + positions + 4 + dim) * width
    return _blocks(vision) + int(ends)


def _blocks(tower: Mapping[str, Any]) -> int:
    """Return how many parameters the transformer blocks of a tower have."""
    width = tower['width']
    hidden = int(width * tower.get('mlp_ratio', _MLP_RATIO))
    attention = 4 * width**2 + 4 * width
    feed_forward = 2 * width * hidden + hidden + width
    scales = 2 * width if tower.get('ls_init_value') else 0
    return int(tower['layers'] * (attention + feed_forward + 4 * width + scales))


def hub_files(tag_config: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return the hub repository of a tag and its possible weights files, the best first."""
    repository, _, file = str(tag_config.get('hf_hub', '')).rpartition('/')
    constants = _open_clip_module('constants')
    if not file:
        return repository, [constants.HF_SAFE_WEIGHTS_NAME, constants.HF_WEIGHTS_NAME]
    return repository, [*dict.fromkeys((f'{Path(file).stem}.safetensors', file))]


def _open_clip_module(name: str) -> Any:  # noqa: ANN401 - a module
    """Return a copy of one of open_clip's modules, without what the package itself imports.

    open_clip takes seconds to import, as it imports torch, which its tables do not need.
    """
    package = ModuleType('_open_clip_tables')
    package.__path__ = [str(open_clip_folder())]
    sys.modules.setdefault(package.__name__, package)
    # The tags ask whether this can be imported, which would import torch, and go on without.
    blocked = {'safetensors.torch'} - sys.modules.keys()
    sys.modules.update(dict.fromkeys(blocked))  # type: ignore[arg-type]
    try:
        return importlib.import_module(f'{package.__name__}.{name}')
    finally:
        for key in blocked:
            del sys.modules[key]


def open_clip_folder() -> Path:
    """Return where open_clip is installed."""
    spec = find_spec('open_clip')
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError('No module named open_clip', name='open_clip')
    return Path(spec.submodule_search_locations[0])

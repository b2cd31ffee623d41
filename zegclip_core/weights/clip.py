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
"""CLIP's weights: open_clip's tags, and files in OpenAI's or open_clip's layout; TIPSv2's too."""

from collections.abc import Mapping
from dataclasses import dataclass, field
import logging
import math
from pathlib import Path
from typing import Any
import zipfile

from safetensors.torch import load_file
import torch
from torch import Tensor
from zegclip_core.errors import TowerError
from zegclip_core.files import user_path
from zegclip_core.weights.about import nearest_names
from zegclip_core.weights.catalogue import (
    cache_folder,
    cached_hub_file,
    hub_files,
    hub_is_reachable,
    hub_url,
    unusable,
)
from zegclip_core.weights.families import (
    first_line,
    Names,
    reading,
    rename_weights,
    square_grid,
    tensors_in,
    TowerFamily,
)
from zegclip_core.weights.names import TowerReference
from zegclip_core.weights.tips import tips_model

logger = logging.getLogger(__name__)

_OPENAI_MARKS = ('input_resolution', 'context_length', 'vocab_size')
"""Entries beside the parameters that only OpenAI's archives carry."""
NAMES: Names = {
    'visual.**': 'visual.**',
    **dict.fromkeys((*_OPENAI_MARKS, 'attn_mask', 'text.attn_mask')),
    **dict.fromkeys(('text_decoder.**',)),
    'logit_scale': 'logit_scale',
    'logit_bias': 'logit_bias',
    'text.**': 'text.**',  # open_clip's CustomTextCLIP
    # The release of ZegCLIP keeps CLIP's text tower beside its own parts.
    'text_encoder.**': 'text.**',
    **dict.fromkeys(('backbone.**', 'decode_head.**')),
    '**': 'text.**',
}
"""Of both towers: ``visual.*`` for the image tower and ``text.*`` for the text tower; beside them
the logarithm of the cosines' factor and, for SigLIP, what is added to the logits."""
TIPS_NAMES: Names = {
    'vision_encoder.**': 'visual.**',
    'text_encoder.**': 'text.**',
    'temperature': 'temperature',
}
"""Of both towers of TIPSv2, and what cosines are divided by, which published files lack."""
CLIP = TowerFamily(
    kind="a ViT of CLIP's kind",
    mark='conv1.weight',
    names={'**': '**'},
    needed=('class_embedding',),
    grid=square_grid,
    facts={'head_width': 64},
)
"""The image tower, whose names are those of ``VisionTransformer``."""
_SHOWN = 8
"""How many of the names that are most like an unknown one are told."""


class MissingWeightsError(TowerError):
    """The weights of a tag are not on this machine and cannot be had; says what to do.

    Attributes:
        local_name: Model name, ``NAME@FILE``, of the file that is to be fetched.
    """

    def __init__(
        self, reference: TowerReference, tag_config: Mapping[str, Any], reason: str
    ) -> None:
        repository, (file, *others) = hub_files(tag_config)
        alternative = f' (or {others[0]}, where there is none)' if others else ''
        super().__init__(
            f'The weights of {reference} {reason}: fetch {hub_url(repository, file)}{alternative} '
            f'where there is a network, and put it into the folder {cache_folder(repository)}.'
        )
        # By its name alone, a file would be computed without QuickGELU.
        ending = '-quickgelu' if tag_config.get('quick_gelu') else ''
        self.local_name = f'{reference.name.removesuffix(ending)}{ending}@{file}'


@dataclass(frozen=True)
class CLIPWeights:
    """Weights of a CLIP model and what is needed to build it.

    Attributes:
        reference: What the user named.
        source: The file that was read.
        config: open_clip's model configuration: ``embed_dim``, ``vision_cfg``, ``text_cfg``, ...
        quick_gelu: Whether the weights were trained with QuickGELU instead of GELU.
        state_dict: Parameters of both towers, ``visual.*`` and ``text.*``, with the file's dtypes,
            and ``logit_scale``, ``logit_bias`` or ``temperature``, where the file has them.
        pixels: ``mean`` and ``std`` of the RGB pixels in [0, 255] that they were trained with;
            empty if they are CLIP's own.
    """

    reference: TowerReference
    source: str
    config: dict[str, Any]
    quick_gelu: bool
    state_dict: dict[str, Tensor]
    pixels: dict[str, tuple[float, ...]] = field(default_factory=dict)


def load_clip_weights(reference: TowerReference) -> CLIPWeights:
    """Read the weights that an ``open_clip:`` or ``tips:`` reference names.

    A tag's weights are taken from the local cache; only if they are not there, they are
    downloaded once. Weights from a file are taken to be trained with QuickGELU if the file is
    OpenAI's own archive or open_clip's configuration ``NAME`` says so (``ViT-B-16-quickgelu``).

    Raises:
        TowerError: If the model, tag or file is not known, cannot be had or cannot be read.
    """
    config = clip_config(reference)
    if reference.kind == 'tips':
        return _load_tips(reference, config)
    if reference.path is not None:
        source = user_path(reference.path)
        state_dict, is_openai = read_clip_file(source)
        known = config
    else:
        source, known = _tagged_file(reference)
        state_dict, is_openai = read_clip_file(source)[0], False
    vision, given = config['vision_cfg'], state_dict.get('visual.conv1.weight')
    # Of what is no plain ViT, whoever needs one says so.
    if given is not None and 'patch_size' in vision and 'timm_model_name' not in vision:
        patch = int(vision['patch_size'])
        expected = (int(vision.get('width', given.shape[0])), 3, patch, patch)
        if tuple(given.shape) != expected:
            raise TowerError(
                f'Expected {source} to hold the weights of {reference.name}, with '
                f'visual.conv1.weight of shape {expected}, but it has shape {tuple(given.shape)}.'
            )
    quick_gelu = is_openai or bool(known.get('quick_gelu', False))
    logger.info('Read %s (%s).', source, 'QuickGELU' if quick_gelu else 'GELU')
    return CLIPWeights(reference, str(source), config, quick_gelu, state_dict, _pixels(known))


def _pixels(known: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
    """Return mean and std of pixels in [0, 255], where those of pixels in [0, 1] are told."""
    said = {key: known[key] for key in ('mean', 'std') if key in known}
    return {str(key): tuple(255.0 * value for value in said[key]) for key in said}


def _load_tips(reference: TowerReference, config: dict[str, Any]) -> CLIPWeights:
    """Read the weights of a model of TIPSv2."""
    known, path = tips_model(reference.name, reference.tag).tag_config, reference.path
    source = _hub_file(reference, known) if path is None else user_path(path)
    tensors, _, _ = _read_tensors(source)
    expected = f'{source} to hold both towers of TIPSv2, vision_encoder.* and text_encoder.*'
    weights = rename_weights(tensors, TIPS_NAMES, expected=expected)
    for key in ('visual.cls_token', 'text.token_embedding.weight'):
        if key not in weights:
            raise TowerError(f'Expected {expected}, but it lacks {key}.')
    logger.info('Read %s.', source)
    return CLIPWeights(reference, str(source), config, False, weights, _pixels(known))


def temperature_of(weights: CLIPWeights) -> float | None:
    """Return what a model of TIPSv2 divides cosines by, which is part of none of the others."""
    if 'temperature' not in weights.config:
        return None
    found = weights.state_dict.get('temperature')
    return float(weights.config['temperature'] if found is None else found)


def sigmoid_logits(weights: CLIPWeights) -> tuple[float, float] | None:
    """Return the factor of the cosines and the offset of a CLIP that was trained by the sigmoid.

    ``None`` for the others, which were trained by a softmax over the captions.

    Raises:
        TowerError: If the weights should have both, but do not.
    """
    if 'init_logit_bias' not in weights.config:
        return None
    found = [weights.state_dict.get(key) for key in ('logit_scale', 'logit_bias')]
    if any(each is None or each.numel() != 1 for each in found):
        raise TowerError(
            f'Expected {weights.source} to hold logit_scale and logit_bias, one number each, as '
            'SigLIP has them, but it does not.'
        )
    scale, bias = (float(each) for each in found if each is not None)
    return math.exp(scale), bias


def clip_config(reference: TowerReference) -> dict[str, Any]:
    """Return open_clip's configuration of the model that a reference names, or TIPSv2's alike.

    Raises:
        TowerError: If the reference is of another kind or there is no such model.
    """
    if reference.kind == 'tips':
        return tips_model(reference.name, reference.tag).config
    import open_clip  # takes seconds, and a model of another kind never needs it

    if reference.kind != 'open_clip':
        raise TowerError(f'Expected a tower named open_clip:NAME/..., but got {reference}.')
    name, known = reference.name, open_clip.list_models()
    if name not in known:
        usable = (each for each in known if not unusable(open_clip.get_model_config(each)))
        near = ', '.join(nearest_names(name, usable, _SHOWN))
        such = f', such as {near},' if near else ''
        raise TowerError(f'Expected a model name of open_clip{such} but got {name!r}.')
    return dict(open_clip.get_model_config(name))


def read_clip_file(path: Path) -> tuple[dict[str, Tensor], bool]:
    """Read CLIP weights from a file: safetensors, a state dict of torch, or a JIT archive.

    Pickled files are read with ``weights_only=True``.

    Returns:
        The parameters of both towers, ``visual.*`` and ``text.*``, and whether the file is
        OpenAI's own archive.

    Raises:
        TowerError: If there is no such file, or it is damaged or holds no CLIP text tower.
    """
    tensors, is_jit, found = _read_tensors(path)
    weights = rename_weights(tensors, NAMES, expected=f'{path} to hold CLIP weights')
    if 'text.token_embedding.weight' not in weights and 'visual.conv1.weight' not in weights:
        raise TowerError(
            f'Expected {path} to hold CLIP weights in the layout of OpenAI or open_clip, with '
            f'keys such as token_embedding.weight, but its first keys are: {found or "none"}.'
        )
    return weights, is_jit or any(key in tensors for key in _OPENAI_MARKS)


def _read_tensors(path: Path) -> tuple[dict[str, Tensor], bool, str]:
    """Read a file's tensors by name, whether it is a JIT archive, and its first keys."""
    if not path.is_file():
        raise TowerError(f'Expected a file with CLIP weights, but there is none at {path}.')
    with reading(f'CLIP weights from {path}', TowerError):
        is_jit = False
        if path.suffix != '.safetensors' and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                is_jit = any(name.endswith('/constants.pkl') for name in archive.namelist())
        if path.suffix == '.safetensors':
            loaded: object = load_file(path)
        elif is_jit:
            # torch.load refuses these; of what they hold only the parameters are used.
            load_archive: Any = torch.jit.load  # not annotated in every version of torch
            loaded = load_archive(str(path), map_location='cpu').state_dict()
        else:
            loaded = torch.load(path, map_location='cpu', weights_only=True)
    found = ', '.join(sorted(map(str, loaded))[:3]) if isinstance(loaded, Mapping) else ''
    return tensors_in(loaded), is_jit, found


def _tagged_file(reference: TowerReference) -> tuple[Path, dict[str, Any]]:
    """Return the file of a tag's weights, downloaded if need be, and what open_clip knows."""
    import open_clip

    tag_config = open_clip.get_pretrained_cfg(reference.name, reference.tag or '')
    if not tag_config:
        tags = open_clip.list_pretrained_tags_by_model(reference.name)
        raise TowerError(
            f'Expected a tag of {reference.name}: {", ".join(tags) or "it has none"}; '
            f'but got {reference.tag!r}.'
        )
    return _hub_file(reference, tag_config), dict(tag_config)


def _hub_file(reference: TowerReference, tag_config: Mapping[str, Any]) -> Path:
    """Return a file of the hub in the local cache, downloaded if need be."""
    cached = cached_hub_file(*hub_files(tag_config))
    if cached is not None:
        return cached
    if not hub_is_reachable():
        reason = 'are not on this machine and the model hub cannot be reached'
        raise MissingWeightsError(reference, tag_config, reason)
    logger.info('Downloading the weights of %s, once.', reference)
    import open_clip

    try:
        return Path(open_clip.download_pretrained(dict(tag_config)))
    except (OSError, RuntimeError, ValueError) as error:
        reason = f'cannot be downloaded ({first_line(error)})'
        raise MissingWeightsError(reference, tag_config, reason) from error

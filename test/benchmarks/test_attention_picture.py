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
"""The picture of attentions shows the weights that CLIP without training really mixes with."""

from benchmarks.attention_picture import attention_weights, last_queries_and_keys
import numpy as np
import pytest
import torch
from zegclip_core.model.training_free import Attention, ATTENTIONS, neighbourhood, run_last_block
from zegclip_core.model.vit import VisionConfig, VisionTransformer


@pytest.mark.parametrize('attention', ATTENTIONS)
def test_weights_that_are_drawn_are_those_of_the_model(attention: Attention) -> None:
    torch.manual_seed(0)
    tower = VisionTransformer(VisionConfig(8, 32, 2, 4, 64, (4, 4), embed_dim=16)).eval()
    image = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    query, key, grid = last_queries_and_keys(tower, image)
    near = neighbourhood(grid, 2.0)
    weights = attention_weights(attention, query, key, near)
    torch.testing.assert_close(weights.sum(-1), torch.ones(4, 16))
    config = tower.config
    pixels = torch.from_numpy(image).float().permute(2, 0, 1)[None]
    mean, std = (torch.tensor(part)[:, None, None] for part in (config.mean, config.std))
    with torch.no_grad():
        x, _ = tower.embed((pixels - mean) / std)
        first, last = tower.blocks
        x = first(x, None)
        _, _, value = (last.ln_1(x) @ last.attn.in_proj_weight.T).chunk(3, dim=-1)
        mixed = weights @ value[0].unflatten(-1, (4, -1)).transpose(0, 1)
        own = last.attn.out_proj(mixed.transpose(0, 1).flatten(1))
        if attention == 'sclip':
            own = 2 * own - last.attn.out_proj.bias
        if attention not in ('key_key', 'naclip'):
            own = x[0] + own
            own = own + last.mlp(last.ln_2(own))
        actual = run_last_block(last, x, attention, near)[0]
    torch.testing.assert_close(own, actual, atol=1e-4, rtol=0)

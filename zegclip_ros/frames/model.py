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
"""The model that the parameters name."""

from dataclasses import replace

from zegclip_core.options import OPTIONS, wait_without_spinning
from zegclip_ros.parameters import NodeParameters
from zegclip_ros.segmenter_like import SegmenterLike


def load_segmenter(parameters: NodeParameters) -> SegmenterLike:
    """Load the model that the parameters name.

    Options that may change at once stay the model's own: they go with each vocabulary.

    Raises:
        ZegCLIPError: If it cannot be loaded; one line says why.
    """
    wait_without_spinning()
    from zegclip_core.segmenter import Segmenter  # Takes seconds: it imports PyTorch.

    own = {name: known.default for name, known in OPTIONS.items() if known.change == 'at once'}
    return Segmenter.load(parameters.model, replace(parameters.options, **own))

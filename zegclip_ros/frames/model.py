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

from typing import cast, TYPE_CHECKING

from zegclip_core.threads import wait_without_spinning
from zegclip_ros.parameters import NodeParameters
from zegclip_ros.segmenter_like import SegmenterLike

if TYPE_CHECKING:
    from zegclip_core.model.training_free import Attention


def load_segmenter(parameters: NodeParameters) -> SegmenterLike:
    """Load the model that the parameters name.

    Raises:
        ZegCLIPError: If it cannot be loaded; one line says why.
    """
    wait_without_spinning()
    from zegclip_core.segmenter import Segmenter  # Takes seconds: it imports PyTorch.

    return Segmenter.load(
        parameters.model,
        backend=parameters.backend,
        device=parameters.device,
        precision=parameters.precision,
        short_side=parameters.short_side or None,
        threads=parameters.threads or None,
        attention=cast('Attention | None', parameters.chosen_attention),
        templates=parameters.chosen_templates,
        candidates=parameters.candidates,
    )

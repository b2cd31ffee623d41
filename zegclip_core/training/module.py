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
"""What the training of a model and that of an alignment have in common."""

from typing import Any

import lightning
import torch
from torch.optim.lr_scheduler import LRScheduler
from zegclip_core.model.alignment import AlignedTowers
from zegclip_core.model.zegclip import ZegCLIP
from zegclip_core.settings import Settings
from zegclip_core.training.checkpoints import NETWORK, provenance, RECORD
from zegclip_core.weights.checkpoint import check_keys


class TrainedPart(lightning.LightningModule):
    """Trains a part of a network; its checkpoints hold that part only, and where it comes from."""

    def __init__(self, network: ZegCLIP | AlignedTowers, config: Settings) -> None:
        super().__init__()
        self.network: Any = network
        # Once: checkpoints tell of the sources that were loaded, not of those at their own time.
        self.provenance = provenance(config)
        self.validated = 0
        """The step of the last validation."""

    def _trained(self) -> set[str]:
        """Return the names of what is trained, as a checkpoint has them."""
        return {NETWORK + name for name in self.network.trained_names()}

    def with_course(self, optimizer: torch.optim.Optimizer, course: LRScheduler) -> dict[str, Any]:
        """Return what Lightning takes for an optimiser whose rates change with each step."""
        return {
            'optimizer': optimizer,
            'lr_scheduler': {'scheduler': course, 'interval': 'step'},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what is trained only, and say where it comes from."""
        trained, state = self._trained(), checkpoint['state_dict']
        checkpoint['state_dict'] = {key: state[key] for key in state if key in trained}
        checkpoint[RECORD] = self.record()

    def record(self) -> dict[str, Any]:
        """Return what is stored beside the weights: how they were made, and their figures."""
        metrics = self.trainer.callback_metrics
        figures = {k: round(float(v), 4) for k, v in metrics.items() if k.startswith('val/')}
        return {
            **self.provenance,
            'steps': self.trainer.global_step,
            'validation': figures,
            'validation_step': self.validated,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put back the frozen weights, which checkpoints lack, so that the rest loads strictly."""
        state, found = self.state_dict(), checkpoint['state_dict']
        check_keys('The checkpoint', {key: state[key] for key in self._trained()}, found)
        checkpoint['state_dict'] = {**state, **found}

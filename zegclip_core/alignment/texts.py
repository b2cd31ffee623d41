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
"""Text embeddings of many texts, computed once and kept on disk."""

from collections.abc import Sequence
from dataclasses import dataclass
import hashlib
import json
import os
from pathlib import Path

from filelock import FileLock
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm
from zegclip_core.text.encoder import TextEncoder

_CHUNK = 512


@dataclass(frozen=True)
class TextStore:
    """Encodes texts with a text tower and its templates, and keeps the result in a folder."""

    folder: Path
    encoder: TextEncoder

    def phrases(self, texts: Sequence[str]) -> Tensor:
        """Return embeddings of words, put into the templates: normalised, float32 ``(N, D)``."""
        return self._kept(texts, 'phrases')

    def sentences(self, texts: Sequence[str]) -> Tensor:
        """Return embeddings of texts as they are: normalised, float32 ``(N, D)``."""
        return self._kept(texts, 'sentences')

    def _kept(self, texts: Sequence[str], kind: str) -> Tensor:
        """Return the embeddings that are on disk, or compute and write them, as float16."""
        key = [self.encoder.tower.name, self.encoder.templates, kind, list(texts)]
        name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
        path = self.folder / f'{name}.npy'
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix('.lock')):
            if not path.is_file():
                partial = path.with_suffix('.partial.npy')
                np.save(partial, self._encoded(texts, kind).numpy().astype(np.float16))
                os.replace(partial, path)
        return torch.from_numpy(np.load(path).astype(np.float32))

    def _encoded(self, texts: Sequence[str], kind: str) -> Tensor:
        if not texts:
            return torch.zeros(0, self.encoder.embed_dim)
        starts = tqdm(range(0, len(texts), _CHUNK), f'text embeddings of {kind}')
        chunks = (texts[start:][:_CHUNK] for start in starts)
        if kind == 'phrases':
            return torch.cat([self.encoder.encode_phrases(chunk) for chunk in chunks])
        return torch.cat([self.encoder.tower.encode(chunk) for chunk in chunks])

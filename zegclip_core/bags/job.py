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
"""What is to be done with a bag."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from zegclip_core.bags.added import AddedTopics

if TYPE_CHECKING:
    from zegclip_core.segmenter import Segmenter


def named_topics(topics: Sequence[str]) -> str:
    """Return which topics a user asks for by names and patterns, as text: the same for the same.

    Example:
        >>> named_topics(['rear/image', '/front*']), named_topics([])
        ('/front*, /rear/image', 'all cameras')

    """
    return ', '.join(sorted({f'/{one.lstrip("/")}' for one in topics})) or 'all cameras'


@dataclass(frozen=True)
class LabelJob:
    """What is to be labelled, how, and where it goes.

    Attributes:
        source: The recorded bag.
        target: The labelled bag, which does not exist yet.
        topics: The topics with the images, or patterns of them; none take all cameras.
        added: The topics that are added for a camera, with the classes.
        load: Loads the model; called when the first image that needs it is there.
        settings: What else the labels depend on, by the name of the option that sets it.
        storage: ``mcap`` or ``sqlite3``; ``None`` takes that of the source.
        compress: Whether the chunks of an MCAP are compressed.
        every: Of how many images of a topic one is labelled.
        quiet: Whether to show no progress.
    """

    source: Path
    target: Path
    topics: tuple[str, ...]
    added: AddedTopics
    load: 'Callable[[], Segmenter]'
    settings: dict[str, str] = field(default_factory=dict)
    storage: str | None = None
    compress: bool = False
    every: int = 1
    quiet: bool = False

    @property
    def partial(self) -> Path:
        """Folder of an unfinished run, beside the target."""
        return self.target.with_name(f'{self.target.name}.partial')

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
"""What stands behind the page: something that labels images with words."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from zegclip_core.images.checks import RgbImage
from zegclip_core.web.sessions import Session
from zegclip_core.web.settings import Settings

Download = Literal['label.png', 'overlay.png', 'result.json']


@dataclass(frozen=True)
class About:
    """What the page is told once.

    Attributes:
        kind: ``model``: pages bring their own images; ``node``: all see those of a robot.
        model: Name of the model, or of the node.
        threshold: The threshold where the page asks for none.
        negatives: The negative words where the page asks for none.
        short_side: Short side that images are brought to [px]; 0 if nobody knows.
    """

    kind: Literal['model', 'node']
    model: str
    threshold: float = 0.0
    negatives: tuple[str, ...] = ()
    short_side: int = 0


class Desk(Protocol):
    """Answers pages; results are posted into their outboxes.

    All methods but those that say so are called in the loop of the server and return at once.
    What a page got wrong is raised as a ``ZegCLIPError``.
    """

    @property
    def about(self) -> About:
        """What it is."""

    def join(self, session: Session) -> None:
        """Take note of a page that was opened, or opened again."""

    def forget(self, session: Session) -> None:
        """Let go of a page that was closed and is not coming back."""

    def ask(self, session: Session, settings: Settings) -> None:
        """Look for other words, or in another way."""

    def show(self, session: Session, number: int, image: RgbImage, original: bytes) -> None:
        """Label a photo, given as the copy that the page shows and as the file itself."""

    def shown(self, session: Session) -> tuple[int, RgbImage] | None:
        """Return the page's own image with its number, for a page that was reloaded."""

    def frame(self, session: Session, number: int, seconds: float, data: bytes) -> None:
        """Label a frame of the page's camera or video."""

    def hover(self, session: Session, row: int | None) -> None:
        """Send the score map of a word, and with each frame again; in a thread of its own."""

    def point(self, session: Session, x: float, y: float) -> dict[str, Any]:
        """Return what is at a place, in [0, 1) of width and height; in a thread of its own."""

    def download(self, session: Session, what: Download, alpha: float) -> bytes:
        """Return a file; in a thread of its own."""

    def close(self) -> None:
        """End its threads."""

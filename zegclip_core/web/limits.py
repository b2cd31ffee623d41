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
"""Where the page is unless told otherwise, what it takes at most, and what it keeps."""

HOST = '127.0.0.1'
"""Address that the page listens at: this machine alone."""
PORT = 8017

MAX_UPLOAD = 20 * 2**20
"""Most bytes of an uploaded photo."""
MAX_PIXELS = 40_000_000
"""Most pixels of an uploaded photo."""
MAX_FRAME = 2 * 2**20
"""Most bytes of a message over the socket, of which frames of a camera are the largest."""
MAX_FRAME_SIDE = 2048
"""Longest side of such a frame [px]."""
SHOWN_SIDE = 1024
"""Longest side of the copy of a photo that the page shows and that is labelled [px]."""
MAP_SIDE = 512
"""Longest side of score maps [px]."""
MAP_VALUES = 2**21
"""Most scores of all words' maps together; with many words they are smaller."""
MAX_SESSIONS = 16
"""Most pages that are open at once."""
KEPT = 60.0
"""Seconds that a page's photo and words are kept after it was closed, as it may be reloaded."""
SEND_TIMEOUT = 30.0
"""Seconds after which a page that takes nothing is given up."""

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
"""One log line for every kind of rejected message, however often it comes."""

from collections.abc import Callable
from dataclasses import dataclass
import threading
import time

INTERVAL = 5.0
"""Seconds for which the same reason is not logged again."""
_MOST_REASONS = 100
"""Reasons that are told apart in one interval; further ones count as one."""
_LONGEST = 400


def shortened(text: str, longest: int = _LONGEST) -> str:
    """Return a text in one line of at most ``longest`` characters."""
    line = ' '.join(text[: 2 * longest].split())
    return line if len(line) <= longest and len(text) <= 2 * longest else f'{line[:longest]}...'


@dataclass
class _Reason:
    """When a reason was last logged and how often it was suppressed since."""

    logged: float
    suppressed: int = 0


class RejectionLog:
    """Logs why messages are rejected, the same reason at most once an interval.

    rclpy throttles by the place of the call, so that one fault would hide another.

    Args:
        write: Gets each line.
        clock: Returns seconds that only grow.
    """

    def __init__(
        self, write: Callable[[str], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write = write
        self._clock = clock
        self._lock = threading.Lock()
        self._reasons: dict[str, _Reason] = {}

    def report(self, what: str, error: BaseException) -> None:
        """Log that a message was rejected, unless the same was logged just now.

        Args:
            what: What was rejected, such as ``'image'``.
            error: Why.
        """
        line = f'Rejected the {what}: {shortened(str(error))}'
        now = self._clock()
        with self._lock:
            if line not in self._reasons and len(self._reasons) >= _MOST_REASONS:
                self._reasons = {
                    key: reason
                    for key, reason in self._reasons.items()
                    if now - reason.logged < INTERVAL
                }
            many = line not in self._reasons and len(self._reasons) >= _MOST_REASONS
            key = 'others' if many else line
            known = self._reasons.get(key)
            if known is not None and now - known.logged < INTERVAL:
                known.suppressed += 1
                return
            self._reasons[key] = _Reason(now)
        if known is not None and known.suppressed:
            line = f'{line} ({known.suppressed} more since the last such line)'
        self._write(line)

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
"""Do the work that comes first in a thread, while what comes after it goes on."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
import queue
import threading
from typing import TypeVar

Item = TypeVar('Item')


@dataclass(frozen=True)
class _End:
    """What stands after the last item, with the error that ended them, if there was one."""

    error: BaseException | None


def ahead(items: Iterable[Item], size: int) -> Iterator[Item]:
    """Yield the items, the next few of which are made in a thread meanwhile.

    Args:
        items: What is gone through in the thread.
        size: How many items wait at most.

    Raises:
        BaseException: Whatever going through the items raises, after the items before it.

    Example:
        >>> list(ahead(range(3), size=2))
        [0, 1, 2]

    """
    slots: queue.Queue[Item | _End] = queue.Queue(size)
    stopped = threading.Event()
    thread = threading.Thread(target=_fill, args=(items, slots, stopped), daemon=True)
    thread.start()
    try:
        while not isinstance(item := slots.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stopped.set()
        thread.join()


def _fill(
    items: Iterable[Item], slots: 'queue.Queue[Item | _End]', stopped: threading.Event
) -> None:
    """Put the items into the slots until there is no more, or nobody wants them."""
    error = None
    try:
        for item in items:
            if not _put(item, slots, stopped):
                return
    except BaseException as caught:
        error = caught
    _put(_End(error), slots, stopped)


def _put(item: Item | _End, slots: 'queue.Queue[Item | _End]', stopped: threading.Event) -> bool:
    """Wait for a free slot; return whether there was one before nobody wanted it."""
    while not stopped.is_set():
        try:
            slots.put(item, timeout=0.05)
        except queue.Full:
            continue
        return True
    return False

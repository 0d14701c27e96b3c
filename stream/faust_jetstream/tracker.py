"""Which events of a topic partition are delivered, and which of them are done."""

from collections import deque
from collections.abc import Callable
from typing import Any


class OffsetTracker:
    """Events in the order of delivery; the done ones at the front are safe to commit.

    Takes the place of faust's per-partition sets and interval trees: offsets are stream
    sequences, holes are normal, and delivery order is all that matters. faust's stream
    iterators call :meth:`add` (also its compiled one, which inlines the acknowledgement).
    """

    __slots__ = ("_done", "_on_progress", "active", "position", "queue")

    def __init__(self, position: int, on_progress: Callable[["OffsetTracker"], None]) -> None:
        self.queue: deque[int] = deque()
        self.position = position
        self.active = True
        self._done: set[int] = set()
        self._on_progress = on_progress

    @property
    def safe(self) -> int:
        """Offset to read from after a crash: everything below is done."""
        return self.queue[0] if self.queue else self.position

    def deliver(self, offset: int) -> None:
        """An event goes to the agents."""
        self.queue.append(offset)
        self.position = offset + 1

    def add(self, offset: int) -> None:
        """An event is done. Unknown and repeated offsets are ignored."""
        queue = self.queue
        if not queue or offset < queue[0] or not self.active:
            return
        if queue[0] == offset:
            queue.popleft()
            done = self._done
            while queue and queue[0] in done:
                done.discard(queue.popleft())
            self._on_progress(self)
        else:
            self._done.add(offset)

    def __contains__(self, offset: object) -> bool:
        return offset in self._done


class _Ignore:
    """Stands for the trackers and lists of partitions that are not ours any more."""

    def add(self, offset: int) -> None: ...

    def append(self, offset: int) -> None: ...

    def __contains__(self, offset: object) -> bool:
        return False

    def __bool__(self) -> bool:
        return False


IGNORE = _Ignore()


class TrackerIndex(dict[Any, Any]):
    """``Consumer._acked_index``: topic partition to tracker."""

    def __missing__(self, key: Any) -> Any:
        return IGNORE


class IgnoreIndex(dict[Any, Any]):
    """``Consumer._acked`` and ``_committed_offset``, which the trackers make superfluous."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self._value = value

    def __missing__(self, key: Any) -> Any:
        return self._value

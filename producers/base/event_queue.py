"""The bounded way from the observers' threads to the loop: the :class:`EventSink` they are given.

The loop takes everything at once, under the lock. So a watermark never overtakes an event that was
handed over before it, although the two don't share a queue.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from producers.base.settings import Policy
from stream.contract.event import Event

QUEUE_FULL = "queue_full"
PLACE_CHARACTERS = 1024
"""An event with content (a snapshot) takes one more place in the queue for each so many of its
characters, so that the bound on events is one on memory, too."""
STOPPED = "producer_stopped"


@dataclass(slots=True)
class Loss:
    """A report of events that were lost before they had a seq."""

    kind: str
    reason: str
    stage: str
    count: int | None
    first_ts: str | None = None
    last_ts: str | None = None
    detail: str = ""

    @property
    def key(self) -> tuple[str, str, str, bool]:
        """Reports with the same key are one loss; known and unknown counts never mix."""
        return self.kind, self.reason, self.stage, self.count is None

    def merge(self, other: "Loss") -> None:
        """Add another report of the same key."""
        if self.count is not None and other.count is not None:
            self.count += other.count
        starts = [each for each in (self.first_ts, other.first_ts) if each]
        ends = [each for each in (self.last_ts, other.last_ts) if each]
        self.first_ts = min(starts, default=None)
        self.last_ts = max(ends, default=None)
        self.detail = other.detail or self.detail


class Events(NamedTuple):
    """Events of one kind, in order."""

    kind: str
    events: list[Event]


class Taken(NamedTuple):
    """All that was handed over since the last time."""

    events: list[Events]
    watermarks: dict[str, int]
    filtered: Counter[str]
    losses: list[Loss]


def places(event: Event) -> int:
    """How much of the queue an event takes."""
    return 1 + len(getattr(event, "content", "")) // PLACE_CHARACTERS


class EventQueue:
    """Takes from any thread, gives to the loop. Implements :class:`EventSink`."""

    def __init__(self, limit: int, policy: Policy, wake: Callable[[], None]) -> None:
        """``limit`` is in places, see :func:`places`.

        ``wake`` is called from any thread when something is there.
        """
        self._limit = limit
        self._policy = policy
        self._wake = wake
        self._events: deque[Events] = deque()
        self._size = 0
        self._watermarks: dict[str, int] = {}
        self._filtered: Counter[str] = Counter()
        self._losses: dict[tuple[str, str, str, bool], Loss] = {}
        self._woken = False
        self._closed = False
        self._room = threading.Condition(threading.Lock())

    @property
    def size(self) -> int:
        """Places taken in the queue: its events, and more for those with content."""
        return self._size

    @property
    def limit(self) -> int:
        """Places that there are."""
        return self._limit

    def emit(self, kind: str, event: Event) -> None:
        """Hand over one event."""
        taken = places(event)
        with self._room:
            full = self._size + taken > self._limit or self._closed
            if full and not self._make_room(kind, taken, 1):
                return
            if self._events and self._events[-1].kind == kind:
                self._events[-1].events.append(event)
            else:
                self._events.append(Events(kind, [event]))
            self._size += taken
            self._notify()

    def emit_many(self, kind: str, events: list[Event]) -> None:
        """Hand over several events of one kind, in order."""
        if not events:
            return
        taken = sum(map(places, events))
        with self._room:
            full = self._size + taken > self._limit or self._closed
            if full and not self._make_room(kind, taken, len(events)):
                return
            if self._events and self._events[-1].kind == kind:
                self._events[-1].events.extend(events)
            else:
                self._events.append(Events(kind, list(events)))
            self._size += taken
            self._notify()

    def filtered(self, kind: str, count: int = 1) -> None:
        """Count events that were left out on purpose."""
        with self._room:
            self._filtered[kind] += count

    def lost(
        self,
        kind: str,
        reason: str,
        count: int | None,
        *,
        stage: str = "kernel",
        first_ts: str | None = None,
        last_ts: str | None = None,
        detail: str = "",
    ) -> None:
        """Report events that were lost before they were handed over."""
        with self._room:
            self._add_loss(Loss(kind, reason, stage, count, first_ts, last_ts, detail))

    def watermark(self, kind: str, microseconds: int) -> None:
        """Promise that no later event of this kind carries an earlier time."""
        with self._room:
            if microseconds > self._watermarks.get(kind, 0):
                self._watermarks[kind] = microseconds

    def take(self) -> Taken:
        """Everything that was handed over. Called by the loop."""
        with self._room:
            taken = Taken(
                list(self._events), self._watermarks, self._filtered, list(self._losses.values())
            )
            self._events = deque()
            self._watermarks = {}
            self._filtered = Counter()
            self._losses = {}
            self._size = 0
            self._woken = False
            self._room.notify_all()
        return taken

    def close(self) -> None:
        """Take no more: what comes from now on counts as lost, and nobody waits."""
        with self._room:
            self._closed = True
            self._room.notify_all()

    def _notify(self) -> None:
        if not self._woken:
            self._woken = True
            self._wake()

    def _make_room(self, kind: str, taken: int, count: int) -> bool:
        """Apply the policy; False if these events are dropped, and counted."""
        # What is larger than the whole queue goes in alone.
        while not self._closed and self._size and self._size + taken > self._limit:
            if self._policy == "block":
                self._notify()
                self._room.wait()
            elif self._policy == "drop_oldest":
                self._drop_oldest(self._size + taken - self._limit)
            else:
                self._add_loss(Loss(kind, QUEUE_FULL, "observer", count))
                return False
        if self._closed:
            self._add_loss(Loss(kind, STOPPED, "observer", count))
            return False
        return True

    def _drop_oldest(self, excess: int) -> None:
        oldest = self._events[0]
        dropped = freed = 0
        while freed < excess and dropped < len(oldest.events):
            freed += places(oldest.events[dropped])
            dropped += 1
        del oldest.events[:dropped]
        if not oldest.events:
            self._events.popleft()
        self._size -= freed
        self._add_loss(Loss(oldest.kind, QUEUE_FULL, "observer", dropped))

    def _add_loss(self, loss: Loss) -> None:
        found = self._losses.get(loss.key)
        if found is None:
            self._losses[loss.key] = replace(loss)
        else:
            found.merge(loss)
        self._notify()

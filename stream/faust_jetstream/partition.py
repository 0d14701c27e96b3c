"""One partition as its owner holds it: tables, results, positions, and what is not committed.

The rule that everything here serves: what a commit writes is the effect of exactly the events
below the offsets it writes. A commit is therefore *cut* at a moment when no event has changed
state without being done, and what is cut is encoded at once, so that agents can go on.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import orjson
from faust.agents.agent import current_agent
from faust.streams import _current_event
from faust.types import TP

from .atomic import BatchMessage
from .errors import BatchTooLargeError, FencedError, StaleEventError
from .names import check_subject, key_token
from .tracker import OffsetTracker
from .wire import header_block

if TYPE_CHECKING:
    from .table import PartitionTable

_NO_EVENT = object()


class Cut:
    """One commit, encoded: the batch's messages, the offsets, its number, and where results go.

    The last messages of a batch are its results, in the order of ``results`` (their subjects),
    and the offset record.
    """

    __slots__ = ("messages", "number", "offsets", "results")

    def __init__(
        self,
        number: int,
        messages: list[BatchMessage],
        offsets: dict[str, int],
        results: list[str],
    ) -> None:
        self.number = number
        self.messages = messages
        self.offsets = offsets
        self.results = results


class Partition:
    """State of one owned partition. Made anew whenever it is acquired or rolled back.

    ``offsets`` is the committed position per topic, ``sequence`` the state stream's last
    sequence (what the next batch expects), ``commits`` the number of the last commit.
    """

    def __init__(
        self,
        number: int,
        root: str,
        *,
        generation_now: Callable[[], int],
        limit: int,
        soft_limit: int,
        tombstone_headers: bytes,
    ) -> None:
        self.number = number
        self.root = root
        self.tables: dict[str, PartitionTable] = {}
        self.offsets: dict[str, int] = {}
        self.sequence = 0
        self.commits = 0
        self.epoch = ""
        self.alive = True
        self.failure: Exception | None = None
        self.trackers: dict[TP, OffsetTracker] = {}
        self.cuts: deque[Cut] = deque()
        self.cut_wanted = False
        self.cut_wanted_since = 0.0
        self.work = asyncio.Event()
        self.progress = asyncio.Event()
        self.last_commit = time.monotonic()
        self.snapshot_hooks: list[Callable[[int], None]] = []
        self.wake_drain: Callable[[], None] = lambda: None
        self.on_failure: Callable[[Exception], None] = lambda error: None
        self.low_water = 0
        self._generation_now = generation_now
        self._limit = limit
        self._soft_limit = soft_limit
        self._tombstone_headers = tombstone_headers
        self._outbox: list[tuple[str, bytes, bytes]] = []
        self._touched: dict[TP, int] = {}
        self._last_event: Any = _NO_EVENT
        self._cut_number = 0
        self._cut_offsets: dict[str, int] = {}
        self._cutting = False

    # -- what agents do -----------------------------------------------------------------

    def touch(self) -> None:
        """Note that the event in process (if any) changes this partition.

        Raises :exc:`StaleEventError` if the event belongs to an earlier assignment.
        """
        event = _current_event.get(None)
        if event is not self._last_event:
            self._touch(event)
        elif not self.alive:
            raise StaleEventError(self.number)

    def _touch(self, reference: Any) -> None:
        if not self.alive:
            raise StaleEventError(self.number)
        event = reference() if reference is not None else None
        message = getattr(event, "message", None)
        tp = getattr(message, "tp", None)
        if message is None or tp not in self.trackers:
            # A timer changes state between events. An agent without a current event is inside
            # take(), say: then any event delivered so far may be the one behind the change.
            if current_agent() is not None:
                for tp, tracker in self.trackers.items():
                    if tracker.queue:
                        self._touched[tp] = tracker.queue[-1]
                self._last_event = _NO_EVENT
            return
        if message.generation_id != self._generation_now():
            raise StaleEventError(self.number)
        if message.offset > self._touched.get(tp, -1):
            self._touched[tp] = message.offset
        self._last_event = reference

    def send(self, subject: str, payload: bytes, headers: Mapping[str, str] | None) -> None:
        """Add a result to the next commit."""
        self.touch()
        self._outbox.append((check_subject(subject), payload, header_block(headers)))

    def forget_event(self) -> None:
        """Look at the next event anew: the generation has changed."""
        self._last_event = _NO_EVENT

    # -- when it can be committed ---------------------------------------------------------

    @property
    def pending(self) -> int:
        """Messages the next commit holds by now, without its offset record."""
        return len(self._outbox) + sum(len(table.dirty) for table in self.tables.values())

    @property
    def room(self) -> int:
        """Changes that still fit into the next commit."""
        return self._limit - 1 - self.pending

    @property
    def consistent(self) -> bool:
        """Whether every event that changed something is done."""
        trackers = self.trackers
        return all(
            tp not in trackers or offset < trackers[tp].safe for tp, offset in self._touched.items()
        )

    @property
    def positions(self) -> dict[str, int]:
        """Offset per topic below which every event is done."""
        return {tp.topic: tracker.safe for tp, tracker in self.trackers.items()}

    @property
    def uncut(self) -> bool:
        """Whether there is anything that no cut holds yet."""
        return self.pending > 0 or any(
            self._cut_offsets.get(topic, self.offsets.get(topic, 0)) != offset
            for topic, offset in self.positions.items()
        )

    @property
    def clean(self) -> bool:
        """Whether memory equals what the server holds, so that the partition can be kept."""
        return self.alive and not self.cuts and self.pending == 0 and self.consistent

    @property
    def held(self) -> bool:
        """Whether delivery must pause until commits catch up, or until a cut is possible."""
        if len(self.cuts) >= 2 or not self.alive:
            return True
        if self.cut_wanted and time.monotonic() - self.cut_wanted_since > 0.05:
            return True
        return self.pending >= self._soft_limit and not self.consistent

    @property
    def next_commit(self) -> int:
        """The number the next cut will get."""
        return max(self.commits, self._cut_number) + 1

    def on_progress(self, tracker: OffsetTracker) -> None:
        """An event is done; called in the midst of faust's acknowledgement."""
        if self.cut_wanted or self.pending >= self._soft_limit:
            self.try_cut()
        if len(tracker.queue) == self.low_water or not tracker.queue:
            self.wake_drain()

    def want_cut(self) -> None:
        """Cut now, or as soon as the partition is consistent."""
        if not self.try_cut() and not self.cut_wanted:
            self.cut_wanted = True
            self.cut_wanted_since = time.monotonic()

    def try_cut(self) -> bool:
        """Cut if possible; True also if there is nothing to cut."""
        if not self.alive or self._cutting:
            return True
        if not self.consistent:
            return False
        if self.cut_wanted:
            self.cut_wanted = False
            self.wake_drain()
        if not self.uncut:
            self.progress.set()
            return True
        self._cutting = True
        try:
            self._cut()
        except Exception as error:
            self.fail(error)
        finally:
            self._cutting = False
        self.progress.set()
        return True

    # -- the cut --------------------------------------------------------------------------

    def _cut(self) -> None:
        for hook in self.snapshot_hooks:
            hook(self.number)
        number = self.next_commit
        messages: list[BatchMessage] = []
        for table in self.tables.values():
            self._cut_table(table, messages)
        outbox, self._outbox = self._outbox, []
        for index, (subject, payload, headers) in enumerate(outbox):
            place = f"{self.root}.out.{number}.{index}.{subject}"
            messages.append(BatchMessage(place, payload, headers))
        offsets = {**self.offsets, **self._cut_offsets, **self.positions}
        record = {"commit": number, "offsets": offsets}
        messages.append(BatchMessage(f"{self.root}.offset", orjson.dumps(record)))
        if len(messages) > self._limit:
            raise BatchTooLargeError(self.number, len(messages), self._limit)
        self._touched.clear()
        self._last_event = _NO_EVENT
        self._cut_number = number
        self._cut_offsets = offsets
        self.cuts.append(Cut(number, messages, offsets, [result[0] for result in outbox]))
        self.work.set()

    def _cut_table(self, table: "PartitionTable", messages: list[BatchMessage]) -> None:
        if not table.dirty:
            return
        encode_key, encode = table.key_codec.encode, table.codec.encode
        root = f"{self.root}.t.{table.token}."
        for key in table.dirty:
            subject = root + key_token(encode_key(key))
            if key in table:
                payload = encode(table[key])
                if not payload:
                    raise ValueError(
                        f"the codec of table {table.name} gave no bytes for key {key!r}; an empty "
                        "payload marks a deleted key, so encode values as at least one byte"
                    )
                messages.append(BatchMessage(subject, payload))
            else:
                messages.append(BatchMessage(subject, b"", self._tombstone_headers))
        table.dirty.clear()

    def committed(self, cut: Cut, sequence: int) -> None:
        """The server has the cut, whose last message got ``sequence``."""
        self.sequence = sequence
        self.commits = cut.number
        self.offsets = dict(cut.offsets)
        self.last_commit = time.monotonic()
        self.cuts.popleft()
        self.progress.set()
        if len(self.cuts) == 1:
            self.wake_drain()

    # -- the end ----------------------------------------------------------------------------

    def fail(self, error: Exception) -> None:
        """Nothing of this partition is written any more; its memory is not to be trusted."""
        if not self.alive:
            return
        self.failure = error
        self.discard()
        self.on_failure(error)

    def discard(self) -> None:
        """Refuse all further changes, and forget what is not committed."""
        self.alive = False
        for tracker in self.trackers.values():
            tracker.active = False
        self.cuts.clear()
        self._outbox.clear()
        self._last_event = _NO_EVENT
        self.work.set()
        self.progress.set()

    @property
    def fenced(self) -> bool:
        """Whether another worker took the partition over."""
        return isinstance(self.failure, FencedError)

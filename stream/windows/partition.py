"""All windows of one partition: a state machine without a clock, a broker or a thread.

Batches and progress records go in, in the order of the log. Rows come out when they are asked for:
final ones once, with the commit that closes or corrects their window, and provisional ones as
often as somebody asks. What a last row says depends on the log alone.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol

from stream.contract.buckets import WINDOW_SECONDS
from stream.contract.owner import Owner
from stream.contract.state import StateStore
from stream.contract.subjects import escape_token, unescape_token
from stream.contract.timestamps import parse_timestamp
from stream.windows.boots import Missing
from stream.windows.counting import count, count_and_remember, runs
from stream.windows.kinds import BUCKET_KINDS
from stream.windows.lane import Lane
from stream.windows.rows import encode_rows, pack_rows
from stream.windows.settings import WindowSettings
from stream.windows.window import Window

WINDOWS_PER_BATCH: Final = 200
"""Different windows that one batch may change, so that a commit always fits. A producer's batch
spans seconds; only wrong clocks make more."""
CLOSES_PER_STEP: Final = 150
"""Windows closed, or dropped, because of one message; the rest follows with the next ones."""
FOLLOWERS: Final = ("loss",)
"""Kinds whose producers may not speak of them in progress records; they follow the node's clock."""
PROVISIONAL_SECONDS: Final = 1.0
"""How often an open window's rows are published at most."""


class Promise(Protocol):
    """What is read of a progress record."""

    ts: str
    node: str
    boot: str
    producer: str
    watermark: str
    next_seq: int
    oldest_age_ms: int
    closing: bool


class Added(NamedTuple):
    """What could not be counted of a batch; places in it."""

    too_late: list[int]
    """Their window can't be corrected any more."""
    too_many: list[int]
    """They spread over too many windows."""


class Gap(NamedTuple):
    """Events that a producer sent and that never came."""

    node: str
    kind: str
    missing: Missing


class RowMessage(NamedTuple):
    """Rows of one kind and node, as one message."""

    kind: str
    node: str
    payload: bytes


class WindowCounts:
    """Totals since the worker took the partition over."""

    def __init__(self) -> None:
        self.repeats = 0
        """Events that had come before."""
        self.late = 0
        """Events that corrected a closed window."""
        self.too_late = 0
        self.clamped = 0
        self.final_rows = 0
        self.provisional_rows = 0


_NOTHING: Final = Added([], [])


class PartitionWindows:
    """Windows of one partition. Its state lies in ``store``, and is taken up from there."""

    def __init__(
        self,
        store: StateStore,
        settings: WindowSettings | None = None,
        *,
        from_the_middle: bool = False,
        now: float = 0.0,
    ) -> None:
        self._store = store
        self._settings = settings or WindowSettings()
        self._from_the_middle = from_the_middle
        """The log is a part of a longer one: what a boot sent before its first batch is not
        missing."""
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._by_node: dict[str, list[Lane]] = {}
        self._unsent: dict[Window, Lane] = {}
        self._fresh: set[Lane] = set()
        self._behind: dict[Lane, None] = {}
        self._budget = CLOSES_PER_STEP
        self.counts = WindowCounts()
        self.now = now
        """Monotonic seconds; the owner sets it. Only the idle decision and the pace of provisional
        rows depend on it."""
        self._restore()

    # -- in -------------------------------------------------------------------------------

    def observe(
        self, node: str, kind: str, boot: str, first: int, last: int
    ) -> list[tuple[int, int]] | None:
        """Note that seqs came; gives those that are new, or None for a boot long forgotten."""
        lane = self._lane(node, kind)
        if self._from_the_middle:
            lane.begins_at(boot, first)
        fresh = lane.observe(boot, first, last)
        self._mark(lane)
        self.counts.repeats += last - first + 1 - sum(b - a + 1 for a, b in fresh or ())
        return fresh

    def lost(self, node: str, kind: str, boot: str, first: int, last: int) -> None:
        """A loss event says that these seqs won't come."""
        lane = self._lane(node, kind)
        lane.lost(boot, first, last)
        self._mark(lane)

    def add(
        self,
        node: str,
        kind: str,
        events: Sequence[Any],
        owners: Sequence[Owner],
        seconds: Sequence[int],
    ) -> Added:
        """Count a batch of new events; the lists are parallel."""
        lane = self._lane(node, kind)
        lane.heard = self.now
        bucket_kind = lane.bucket_kind
        if bucket_kind is None:
            return _NOTHING
        added = Added([], [])
        changed: set[Window] = set()
        plain = lane.memory is None and bucket_kind.variant is None
        for second, start, end in runs(seconds):
            window = self._window_at(lane, second, changed)
            if window is None:
                gone = lane.is_gone(second // WINDOW_SECONDS)
                (added.too_late if gone else added.too_many).extend(range(start, end))
                continue
            late = lane.is_late(window)
            if late:
                self.counts.late += end - start
            if plain:
                count(window, events[start:end], owners[start:end], late)
            else:
                run = events[start:end], owners[start:end]
                count_and_remember(lane, window, *run, second, changed)
        self.counts.too_late += len(added.too_late)
        self._changed(lane, changed)
        return added

    @staticmethod
    def _window_at(lane: Lane, second: int, changed: set[Window]) -> Window | None:
        """Where an event of this time is counted; None where it can't be counted any more."""
        place = second // WINDOW_SECONDS
        if lane.is_ahead(second):
            return lane.window_ahead(place)
        if lane.is_gone(place):
            return None
        window = lane.windows.get(place)
        if len(changed) >= WINDOWS_PER_BATCH and window not in changed:
            return None
        window = lane.window(place)
        changed.add(window)
        return window

    def progress(self, event: Promise) -> list[Gap]:
        """Take in a progress record: close what it allows to close."""
        now = parse_timestamp(event.ts)
        lane = self._lane(event.node, event.producer)
        for each in self._by_node[event.node]:
            self._tell_time(each, now)
        lane.heard = self.now
        missing = lane.promise(
            event.boot,
            now,
            event.next_seq,
            parse_timestamp(event.watermark),
            event.oldest_age_ms * 1000,
            event.closing,
        )
        self._mark(lane)
        self._close(lane)
        for follower in self._by_node[event.node]:
            if follower.kind in FOLLOWERS and follower.follow(now):
                self._mark(follower)
                self._close(follower)
        return [Gap(event.node, event.producer, each) for each in missing]

    def _tell_time(self, lane: Lane, now: int) -> None:
        """The node's clock has been heard: events that were ahead of it can be counted."""
        lane.clock = max(lane.clock, now)
        if lane.ahead:
            changed = lane.settle()
            self.counts.clamped += sum(changed.values())
            self._changed(lane, set(changed))

    def step(self) -> None:
        """Go on with closing where there was too much to close at once.

        Call it after each message, and from time to time when none comes.
        """
        for lane in list(self._behind):
            self._close(lane)
        self._budget = CLOSES_PER_STEP

    def close_idle(self) -> bool:
        """Publish the open windows of producers that went silent as final; True if there are any.

        Call it only when the log is read to its end. It changes no count: what comes later counts
        as if this had not happened.
        """
        found = False
        for lane in self._lanes.values():
            if self.now - lane.heard < self._settings.idle_seconds:
                continue
            for window in lane.windows.values():
                if not window.closed and not window.idle:
                    window.idle = window.full = found = True
                    self._to_send(lane, window)
        return found

    # -- out ------------------------------------------------------------------------------

    @property
    def has_final_rows(self) -> bool:
        """Whether :meth:`final_rows` has anything to give."""
        return bool(self._unsent)

    def final_rows(
        self, version: int, messages: int = 200, windows: int = 200
    ) -> Iterator[RowMessage]:
        """Rows of windows that closed or were corrected since they were last sent.

        Of at most so many windows, and about so many messages; the others stay for the next
        commit.
        """
        sent = 0
        while self._unsent and sent < messages and windows > 0:
            lane = next(iter(self._unsent.values()))
            mine = [window for window, each in self._unsent.items() if each is lane][:windows]
            windows -= len(mine)
            for window in mine:
                del self._unsent[window]
            for payload in pack_rows(self._final_rows_of(lane, mine, version)):
                sent += 1
                yield RowMessage(lane.kind, lane.node, payload)

    def _final_rows_of(self, lane: Lane, windows: list[Window], version: int) -> Iterator[bytes]:
        for window in windows:
            window.changed()
            window.unsent = False
            self._store[self._window_key(lane, window.index)] = window
            if not (window.closed or window.idle):
                continue
            touched = window.take_touched()
            wanted = None if window.full else touched
            window.full = False
            for row in encode_rows(lane.kind, lane.node, window, wanted, version, final=True):
                self.counts.final_rows += 1
                yield row

    def provisional_rows(self, version: int) -> Iterator[RowMessage]:
        """Rows of open windows that changed since they were last given; about once a second."""
        for lane in [each for each in self._fresh if each.next_provisional <= self.now]:
            self._fresh.discard(lane)
            lane.next_provisional = self.now + PROVISIONAL_SECONDS
            for payload in pack_rows(self._provisional_rows_of(lane, version)):
                yield RowMessage(lane.kind, lane.node, payload)

    def _provisional_rows_of(self, lane: Lane, version: int) -> Iterator[bytes]:
        for window in lane.windows.values():
            if window.touched and not window.closed:
                wanted = window.take_touched()
                for row in encode_rows(lane.kind, lane.node, window, wanted, version, final=False):
                    self.counts.provisional_rows += 1
                    yield row

    def lanes(self) -> Iterator[Lane]:
        """All lanes, for metrics and tests."""
        yield from self._lanes.values()

    # -- inside ---------------------------------------------------------------------------

    def _changed(self, lane: Lane, changed: set[Window]) -> None:
        for window in changed:
            window.idle = False
            if window.closed:
                self._to_send(lane, window)
            else:
                self._fresh.add(lane)
                self._store[self._window_key(lane, window.index)] = window
        if lane.memory is not None:
            self._store[f"memory/{lane.kind}/{escape_token(lane.node)}"] = lane.memory
        self._mark(lane)
        if lane.pending:
            lane.advance()  # gives up nothing here: only a promise can make others too old
            self._close(lane)

    def _close(self, lane: Lane) -> None:
        due = lane.due()
        for window in due[: self._budget]:
            window.changed()
            window.closed = window.full = True
            self._to_send(lane, window)
            self._budget -= 1
        gone = lane.gone()
        for index in gone[: self._budget]:
            del lane.windows[index]
            key = self._window_key(lane, index)
            if key in self._store:
                del self._store[key]
            self._budget -= 1
        if any(not each.closed for each in due) or any(index in lane.windows for index in gone):
            self._behind[lane] = None
        else:
            self._behind.pop(lane, None)

    def _to_send(self, lane: Lane, window: Window) -> None:
        window.changed()
        window.unsent = True
        self._unsent[window] = lane
        self._store[self._window_key(lane, window.index)] = window

    def _mark(self, lane: Lane) -> None:
        self._store[f"lane/{lane.kind}/{escape_token(lane.node)}"] = lane

    @staticmethod
    def _window_key(lane: Lane, index: int) -> str:
        return f"window/{lane.kind}/{escape_token(lane.node)}/{index}"

    def _lane(self, node: str, kind: str) -> Lane:
        lane = self._lanes.get((node, kind))
        if lane is None:
            lane = Lane(node, kind, BUCKET_KINDS.get(kind), self._settings)
            lane.heard = self.now
            self._lanes[node, kind] = lane
            self._by_node.setdefault(node, []).append(lane)
        return lane

    def _restore(self) -> None:
        found = sorted(
            (key, value if isinstance(value, bytes) else value.dump())
            for key, value in self._store.items()
            if key.startswith(("lane/", "window/", "memory/"))
        )
        for key, stored in found:
            what, kind, token, *rest = key.split("/")
            lane = self._lane(unescape_token(token), kind)
            if what == "lane":
                lane.load(stored)
                self._store.load(key, lane)
            elif what == "memory":
                if lane.bucket_kind is not None and lane.bucket_kind.load_memory is not None:
                    lane.memory = lane.bucket_kind.load_memory(stored)
                    self._store.load(key, lane.memory)
            elif lane.bucket_kind is not None:
                window = Window.load(lane.bucket_kind, int(rest[0]), stored)
                lane.windows[window.index] = window
                self._store.load(key, window)
                if window.unsent:
                    self._unsent[window] = lane
                elif not window.closed:
                    self._fresh.add(lane)

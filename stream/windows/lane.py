"""One lane: the windows of one kind on one node, and the event time that closes them.

The watermark of a lane is what its producer's progress records promise, once everything that they
speak of has come. It never goes back, and nothing on another node or of another kind moves it.
"""

from typing import Any, Final

import msgspec
from msgspec import Struct

from stream.contract.buckets import WINDOW_SECONDS
from stream.contract.owner import HOST_OWNER, Owner
from stream.contract.timestamps import MICROSECONDS
from stream.windows.boots import MAXIMUM_BOOTS, Boot, Missing, StoredBoot
from stream.windows.kinds.base import BucketKind, Memory
from stream.windows.settings import WindowSettings
from stream.windows.window import Window

MAXIMUM_AHEAD: Final = 500
"""Windows far ahead of the clock that wait for its next word; one batch makes a few at most."""
_WINDOW: Final = WINDOW_SECONDS * MICROSECONDS


class _Stored(Struct, array_like=True):
    clock: int
    watermark: int
    own_progress: bool
    forgotten: str
    boots: list[StoredBoot]
    ahead: list[tuple[int, bytes]]


_decoder = msgspec.msgpack.Decoder(_Stored)
_encode = msgspec.msgpack.Encoder().encode


class Lane:
    """Windows, producers and event time of one (node, kind)."""

    def __init__(
        self, node: str, kind: str, bucket_kind: BucketKind | None, settings: WindowSettings
    ) -> None:
        self.node = node
        self.kind = kind
        self.bucket_kind = bucket_kind
        """None for kinds that make no buckets; their seqs are followed all the same."""
        self.windows: dict[int, Window] = {}
        self.memory: Memory | None = (
            bucket_kind.memory() if bucket_kind is not None and bucket_kind.memory else None
        )
        self.heard = 0.0
        """Monotonic seconds at which anything came; for the idle decision alone."""
        self.next_provisional = 0.0
        self.ahead: dict[int, Window] = {}
        """Events far ahead of the node's clock, until its next progress record tells whether the
        clock has stepped or the events are wrong. Not published yet."""
        self.clock = 0
        """The latest time of any progress record of the node; microseconds since the epoch."""
        self.watermark = 0
        self.own_progress = False
        """Whether a progress record ever spoke of this kind."""
        self._boots: dict[str, Boot] = {}
        """By the order in which they were heard of last."""
        self._forgotten = ""
        """The newest boot that was forgotten."""
        self._grace = settings.microseconds(settings.grace_seconds)
        self._lateness = settings.microseconds(settings.allowed_lateness_seconds)
        self._ahead = settings.microseconds(settings.maximum_ahead_seconds)
        self._boot_silence = settings.microseconds(settings.boot_silence_seconds)
        self._fallback = settings.microseconds(settings.fallback_seconds)

    # -- state ----------------------------------------------------------------------------

    def dump(self) -> bytes:
        """For the state: all but windows and memory, which have keys of their own."""
        boots = [boot.store(name) for name, boot in self._boots.items()]
        return _encode(
            _Stored(
                self.clock,
                self.watermark,
                self.own_progress,
                self._forgotten,
                boots,
                [(index, window.dump()) for index, window in self.ahead.items()],
            )
        )

    def load(self, stored: bytes) -> None:
        """Take up what :meth:`dump` gave."""
        content = _decoder.decode(stored)
        self.clock, self.watermark = content.clock, content.watermark
        self.own_progress, self._forgotten = content.own_progress, content.forgotten
        self._boots = {each.boot: Boot.load(each) for each in content.boots}
        if self.bucket_kind is not None:
            self.ahead = {
                index: Window.load(self.bucket_kind, index, window)
                for index, window in content.ahead
            }

    # -- sequences ------------------------------------------------------------------------

    def observe(self, boot_name: str, first: int, last: int) -> list[tuple[int, int]] | None:
        """Note seqs that came; gives those that had not come before.

        None for a boot that was forgotten: what comes of it can't be told from a repeat.
        """
        boot = self._boot(boot_name)
        if boot is None:
            return None
        fresh = boot.seen.missing(first, last)
        boot.seen.add(first, last)
        boot.seen.close_oldest_hole()
        return fresh

    def lost(self, boot_name: str, first: int, last: int) -> None:
        """A loss event says that these seqs won't come."""
        boot = self._boot(boot_name)
        if boot is not None:
            boot.gone.add(first, last)
            boot.gone.close_oldest_hole()

    def begins_at(self, boot_name: str, first: int) -> None:
        """Of a boot that is not known yet: nothing is expected below ``first``."""
        if first > 0 and boot_name not in self._boots:
            boot = self._boot(boot_name)
            if boot is not None:
                boot.gone.add(0, first - 1)

    def _boot(self, name: str) -> Boot | None:
        boot = self._boots.pop(name, None)
        if boot is None:
            if name <= self._forgotten:
                return None
            boot = Boot()
            if len(self._boots) >= MAXIMUM_BOOTS:
                oldest = next(iter(self._boots))
                del self._boots[oldest]
                self._forgotten = max(self._forgotten, oldest)
        self._boots[name] = boot
        return boot

    # -- event time -----------------------------------------------------------------------

    def promise(
        self,
        boot_name: str,
        now: int,
        next_seq: int,
        watermark: int,
        oldest_age: int,
        closing: bool,
    ) -> list[Missing]:
        """Take in a progress record about this kind; times in microseconds."""
        self.own_progress = True
        boot = self._boot(boot_name)
        if boot is None:
            return []
        boot.promise(next_seq, watermark, now, oldest_age, closing)
        return self.advance()

    def advance(self) -> list[Missing]:
        """Move the watermark as far as the promises that hold allow."""
        missing = []
        for name, boot in self._boots.items():
            if boot.pending:
                missing += [Missing(name, *hole) for hole in boot.advance()]
        told = [boot for boot in self._boots.values() if boot.watermark]
        if told:
            latest = max(boot.watermark for boot in told)
            alive = [
                boot.watermark
                for boot in told
                if (not boot.closing or boot.pending)
                and boot.watermark >= latest - self._boot_silence
            ]
            self.watermark = max(self.watermark, min(alive, default=latest))
        return missing

    @property
    def pending(self) -> bool:
        """Whether a promise waits for events that have not come."""
        return any(boot.pending for boot in self._boots.values())

    def follow(self, node_clock: int) -> bool:
        """Without progress records of its own, a lane follows the node's clock at a distance.

        True if that moved it.
        """
        if self.own_progress:
            return False
        before = self.watermark
        self.watermark = max(self.watermark, node_clock - self._fallback)
        return self.watermark != before

    # -- windows --------------------------------------------------------------------------

    @property
    def closing_time(self) -> int:
        """Windows that end by now are closed; microseconds since the epoch."""
        return self.watermark - self._grace

    def is_gone(self, index: int) -> bool:
        """Whether a window can't be corrected any more."""
        return (index + 1) * _WINDOW + self._lateness <= self.closing_time

    def is_late(self, window: Window) -> bool:
        """Whether what comes for a window now comes after its close."""
        return window.end <= self.closing_time

    def is_ahead(self, second: int) -> bool:
        """Whether a time is so far in the future that only a progress record can confirm it."""
        return 0 < self.clock < second * MICROSECONDS - self._ahead

    def window_ahead(self, index: int) -> Window | None:
        """Where events far ahead wait; None if there are too many such windows."""
        window = self.ahead.get(index)
        if window is None and self.bucket_kind is not None and len(self.ahead) < MAXIMUM_AHEAD:
            window = self.ahead[index] = Window(self.bucket_kind, index)
        return window

    def settle(self) -> dict[Window, int]:
        """Count what was ahead: where it says if the clock has got there, else at the clock.

        Gives the windows that changed, and how many events were clamped into each.
        """
        changed: dict[Window, int] = {}
        for index, ahead in self.ahead.items():
            clamped = self.is_ahead(index * WINDOW_SECONDS)
            window = self.window(self.clock // _WINDOW if clamped else index)
            window.take_in(ahead, clamped=clamped)
            count = sum(cell.samples for cell in ahead.cells.values()) if clamped else 0
            changed[window] = changed.get(window, 0) + count
        self.ahead = {}
        return changed

    def window(self, index: int) -> Window:
        """A window that is not gone; a new one may be closed already."""
        window = self.windows.get(index)
        if window is None:
            if self.bucket_kind is None:
                raise LookupError(f"kind {self.kind!r} makes no buckets, so it has no windows")
            window = self.windows[index] = Window(self.bucket_kind, index)
            window.closed = self.is_late(window)
        return window

    def due(self) -> list[Window]:
        """Windows that the watermark has passed and that are still open, oldest first."""
        due = [each for each in self.windows.values() if not each.closed and self.is_late(each)]
        return sorted(due, key=lambda window: window.index)

    def gone(self) -> list[int]:
        """Windows that are kept and need not be any more: nothing can correct them."""
        return [
            index
            for index, each in self.windows.items()
            if each.closed and not each.unsent and self.is_gone(index)
        ]


class LanePlaces:
    """Cells of a lane's windows for one owner; see :class:`~stream.windows.kinds.base.Places`."""

    __slots__ = ("_changed", "_lane", "_own", "_owner", "_variant")

    def __init__(
        self, lane: Lane, changed: set[Window], own: Window, owner: Owner, variant: str
    ) -> None:
        self._lane = lane
        self._changed = changed
        self._own = own
        self._owner = owner
        self._variant = variant

    def cell(self, second: int) -> Any:
        """The owner's cell in the window around a time; None when that is closed for good."""
        return self._cell(second, self._owner, self._variant)

    def node_cell(self, second: int) -> Any:
        """The node's own cell in that window."""
        return self._cell(second, HOST_OWNER, "node")

    def _cell(self, second: int, owner: Owner, variant: str) -> Any:
        index = second // WINDOW_SECONDS
        if index == self._own.index:
            return self._own.cell(owner, variant)
        if self._lane.is_gone(index):
            return None
        window = self._lane.window(index)
        cell = window.cell(owner, variant)
        if self._lane.is_late(window):
            cell.late += 1
        self._changed.add(window)
        return cell

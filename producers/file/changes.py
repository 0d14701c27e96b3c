"""The queue between the kernel and us: it merges what happens to one path until it rests."""

import os
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition
from typing import Final, Literal

from watchdog.observers.api import ObservedWatch

from producers.file.events import (
    FileDeleted,
    FileMoved,
    FolderCreated,
    FolderDeleted,
    FolderMoved,
    KernelEvent,
    QueueOverflowed,
)
from producers.file.rules import Rules

_WAIT_FOR_ROOM: Final = 0.05


@dataclass(slots=True, eq=False)
class Change:
    """Something happened to this path; what it was, its settling finds out on the disk."""

    path: bytes
    last_us: int
    """When the last event was read, microseconds since the epoch."""
    quiet_since: float
    """The same on the monotonic clock."""
    first: float
    """When the first event was read, on the monotonic clock."""
    pid: int = 0
    """Who did it last; 0 where that's not known."""
    gone: bool = False
    """The last event took the name away."""
    moved_from: bytes = b""
    moved_to: bytes = b""
    found: bool = False
    """A first scan came upon it, and no event of the kernel has told of it since."""
    events: int = 0
    """Events of the kernel that were merged into this one."""
    taken: bool = False
    retries: int = 0


@dataclass(slots=True, frozen=True)
class FolderChange:
    """Something happened to a whole folder."""

    kind: Literal["created", "deleted", "moved", "overflowed"]
    root: bytes
    path: bytes
    old_path: bytes
    read_us: int
    pid: int
    may_hold_files: bool = True


class Changes:
    """Takes the place of watchdog's event queue: bounded, and one entry per path.

    A path settles after ``quiet`` seconds without an event, or ``maximum_delay`` after its first.
    At ``limit`` paths the oldest settle at once, and whoever puts waits for room. Events that the
    rules leave out are counted; those merged into a change, in the change.
    """

    def __init__(
        self,
        rules: Rules,
        *,
        is_own: Callable[[bytes], bool],
        quiet: float,
        maximum_delay: float,
        limit: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rules = rules
        self._is_own = is_own
        self._quiet = quiet
        self._maximum_delay = maximum_delay
        self._limit = limit
        self._monotonic = monotonic
        self._changed = Condition()
        self._by_last: OrderedDict[bytes, Change] = OrderedDict()
        self._by_first: deque[Change] = deque()
        self._folders: deque[FolderChange] = deque()
        self._latest_us = 0
        self._filtered = 0
        self._closed = False

    def __len__(self) -> int:
        return len(self._by_last)

    def __contains__(self, path: bytes) -> bool:
        return path in self._by_last

    def put(
        self,
        item: tuple[KernelEvent, ObservedWatch],
        block: bool = True,
        timeout: float | None = None,
    ) -> None:
        """Merge one event; waits for room, so that back pressure reaches the kernel's queue."""
        event, watch = item
        root: bytes = os.fsencode(watch.path)
        path: bytes = os.fsencode(event.src_path)
        with self._changed:
            if isinstance(event, FolderCreated | FolderDeleted | FolderMoved | QueueOverflowed):
                self._put_folder(event, root, path)
            elif isinstance(event, FileMoved):
                self._put_move(event, root, path)
            elif self._reports(path, root):
                change = self._touch(path, event.read_us, event.pid)
                change.events += 1
                change.gone = isinstance(event, FileDeleted)
            else:
                self._filtered += 1

    def _reports(self, path: bytes, root: bytes) -> bool:
        return self._rules.reports(relative(path, root)) and not self._is_own(path)

    def _enters(self, path: bytes, root: bytes) -> bool:
        return self._rules.enters(relative(path, root)) and not self._is_own(path)

    def _put_move(self, event: FileMoved, root: bytes, old: bytes) -> None:
        new: bytes = os.fsencode(event.dest_path)
        before = self._reports(old, root)
        after = self._reports(new, root)
        source = target = None
        if before:
            source = self._touch(old, event.read_us, event.pid)
            source.gone = True
        if after:
            target = self._touch(new, event.read_us, event.pid)
            target.gone = False
        moved = target or source
        if moved is None:
            self._filtered += 1
            return
        moved.events += 1
        if source is not None and target is not None:
            origin = source.moved_from or old
            target.moved_from = b"" if origin == new else origin
            source.moved_from, source.moved_to = b"", new
            first = self._by_last.get(origin)
            if first is not None and first is not target:
                first.moved_to = new

    def _put_folder(
        self,
        event: FolderCreated | FolderDeleted | FolderMoved | QueueOverflowed,
        root: bytes,
        path: bytes,
    ) -> None:
        kind: Literal["created", "deleted", "moved", "overflowed"]
        old = b""
        if isinstance(event, QueueOverflowed):
            kind = "overflowed"
        elif isinstance(event, FolderMoved):
            old, path = path, os.fsencode(event.dest_path)
            before = self._enters(old, root)
            after = self._enters(path, root)
            if not before and not after:
                self._filtered += 1
                return
            kind = "moved" if before and after else "deleted" if before else "created"
            if kind == "moved":
                self._rename_pending(old + b"/", path + b"/", event)
            elif kind == "deleted":
                path = old
        elif self._enters(path, root):
            kind = "deleted" if isinstance(event, FolderDeleted) else "created"
        else:
            self._filtered += 1
            return
        self._filtered += 1
        may_hold_files = not isinstance(event, FolderCreated) or event.may_hold_files
        self._folders.append(
            FolderChange(kind, root, path, old, event.read_us, event.pid, may_hold_files)
        )
        self._changed.notify_all()

    def _rename_pending(self, old: bytes, new: bytes, event: FolderMoved) -> None:
        """Carry what waits beneath a folder along with it, in the order of the kernel's events."""
        for change in self._by_last.values():
            if change.moved_from.startswith(old):
                change.moved_from = new + change.moved_from[len(old) :]
            if change.moved_to.startswith(old):
                change.moved_to = new + change.moved_to[len(old) :]
        for path in [each for each in self._by_last if each.startswith(old)]:
            before = self._by_last.pop(path)
            before.taken = True
            after = self._touch(new + path[len(old) :], event.read_us, before.pid, wait=False)
            after.gone = before.gone
            after.moved_from, after.moved_to = before.moved_from, before.moved_to
            after.events += before.events

    def _touch(self, path: bytes, read_us: int, pid: int, *, wait: bool = True) -> Change:
        while (
            wait
            and path not in self._by_last
            and len(self._by_last) >= self._limit
            and not self._closed
        ):
            self._changed.notify_all()
            self._changed.wait(_WAIT_FOR_ROOM)
        now = self._monotonic()
        # Several roots have a reader each; the order here is the order of times all the same.
        self._latest_us = read_us = max(self._latest_us, read_us)
        change = self._by_last.get(path)
        if change is not None:
            self._by_last.move_to_end(path)
            change.last_us = read_us
            change.quiet_since = now
            change.pid = pid or change.pid
            change.found = False
            return change
        if not self._by_last:
            self._changed.notify_all()
        change = Change(path, read_us, now, now, pid)
        self._by_last[path] = change
        self._by_first.append(change)
        return change

    def again(self, change: Change, now_us: int) -> None:
        """Let a taken change wait once more, for it had not come to rest after all."""
        with self._changed:
            merged = self._touch(change.path, now_us, change.pid, wait=False)
            merged.events += change.events
            merged.found = change.found
            merged.gone = merged.gone or change.gone
            merged.moved_from = merged.moved_from or change.moved_from
            merged.retries = change.retries + 1

    def touch(self, path: bytes, now_us: int, *, found: bool = False) -> None:
        """Note a path that has to be looked at for a reason other than an event of its own."""
        with self._changed:
            if path not in self._by_last:
                self._touch(path, now_us, 0, wait=False).found = found

    def take(self, path: bytes) -> Change | None:
        """The change of one path, before its time."""
        with self._changed:
            change = self._by_last.pop(path, None)
            if change is not None:
                change.taken = True
            return change

    def take_folders(self) -> list[FolderChange]:
        """What happened to folders, in order; to be done before files are settled."""
        with self._changed:
            taken = list(self._folders)
            self._folders.clear()
            return taken

    def take_due(self, limit: int, *, everything: bool = False) -> list[Change]:
        """Up to ``limit`` changes that have come to rest, or waited long enough.

        Names that went come last, so that a move is found by its new name.
        """
        due: list[Change] = []
        with self._changed:
            now = self._monotonic()
            full = len(self._by_last) > self._limit * 3 // 4
            while self._by_last and len(due) < limit:
                change = next(iter(self._by_last.values()))
                if not (everything or full or change.quiet_since + self._quiet <= now):
                    break
                self._take(change, due)
            while self._by_first and len(due) < limit:
                change = self._by_first[0]
                if not change.taken:
                    if change.first + self._maximum_delay > now:
                        break
                    self._take(change, due)
                self._by_first.popleft()
            if due:
                self._changed.notify_all()
        due.sort(key=lambda change: change.gone)
        return due

    def _take(self, change: Change, due: list[Change]) -> None:
        del self._by_last[change.path]
        change.taken = True
        due.append(change)

    def wait(self, seconds: float) -> None:
        """Return when something is due, something urgent came, or the time is over."""
        with self._changed:
            if self._folders or self._closed:
                return
            now = self._monotonic()
            if self._by_last:
                oldest = next(iter(self._by_last.values()))
                seconds = min(seconds, oldest.quiet_since + self._quiet - now)
            while self._by_first and self._by_first[0].taken:
                self._by_first.popleft()
            if self._by_first:
                seconds = min(seconds, self._by_first[0].first + self._maximum_delay - now)
            if len(self._by_last) > self._limit * 3 // 4:
                return
            if seconds > 0:
                self._changed.wait(seconds)

    def oldest_us(self) -> int | None:
        """The earliest time that something waiting here may still be reported with."""
        with self._changed:
            times = [self._folders[0].read_us] if self._folders else []
            if self._by_last:
                times.append(next(iter(self._by_last.values())).last_us)
            return min(times, default=None)

    def take_filtered(self) -> int:
        """Events that were merged or left out since this was last asked."""
        with self._changed:
            filtered, self._filtered = self._filtered, 0
            return filtered

    def wake(self) -> None:
        """Make :meth:`wait` return."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Stop making anyone wait."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def relative(path: bytes, root: bytes) -> bytes:
    """A path beneath ``root`` without it; empty for the root itself."""
    return path[len(root) :].lstrip(b"/")

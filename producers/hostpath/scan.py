"""One look at a root: what appeared, changed or vanished since the last, and the whole listing."""

import os
import stat
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Final, Literal

import msgspec

from producers.base.beneath import ABSENT, open_beneath
from producers.base.clock import Clock
from producers.base.path_text import path_text
from producers.hostpath.inventory import Entry, Inventory, join
from stream.contract.event import Event
from stream.contract.kinds.hostpath import HostPathEntry, HostPathEvent
from stream.contract.timestamps import format_timestamp

PART_BYTES: Final = 256 * 1024
"""JSON of the entries in one part of a listing, well below what a message may hold."""
_ENTRIES_PER_STEP: Final = 256
_NEVER: Final = "1970-01-01T00:00:00.000000Z"
_TYPES: Final = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFSOCK: "socket",
    stat.S_IFIFO: "fifo",
    stat.S_IFBLK: "block",
    stat.S_IFCHR: "character",
}
_size_of = msgspec.json.Encoder().encode


class Scan:
    """Compares one root with the inventory, in steps; :attr:`events` is emptied by the caller.

    Raises FileNotFoundError or NotADirectoryError when the root is missing, another OSError when
    it can't be looked at.
    """

    def __init__(
        self,
        inventory: Inventory,
        root: bytes,
        clock: Clock,
        *,
        depth_limit: int,
        entry_limit: int,
    ) -> None:
        self._clock = clock
        self._inventory = inventory
        self._root = root
        self._text = path_text(root)
        self._depth_limit = depth_limit
        self._entry_limit = entry_limit
        self._id, known = inventory.root_id(root)
        self._is_first = not known
        self._entries = 0
        self._gone: list[bytes] = []
        self.events: list[Event] = []
        self.changes = 0
        """What appeared, changed or vanished."""
        self.unreadable = 0
        """Folders that may not be read; what was known in them is kept."""
        self.truncated = False

    def compare(self) -> Iterator[None]:
        """Look at everything within the limits; yields now and then."""
        opened = os.open(self._root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            waiting = deque([(b"", 1)])
            while waiting:
                folder, depth = waiting.popleft()
                yield from self._compare_folder(opened, folder, depth, waiting)
        finally:
            os.close(opened)

    def _compare_folder(
        self, root: int, folder: bytes, depth: int, waiting: deque[tuple[bytes, int]]
    ) -> Iterator[None]:
        try:
            opened = open_beneath(root, folder or b".", os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            self.unreadable += error.errno not in ABSENT
            return
        known = 0
        try:
            with os.scandir(opened) as entries:
                for number, found in enumerate(entries):
                    if self._entries >= self._entry_limit:
                        self.truncated = True
                        break
                    known += self._compare_entry(folder, found, depth, waiting)
                    if number % _ENTRIES_PER_STEP == _ENTRIES_PER_STEP - 1:
                        yield
            if self._inventory.count_in(self._id, folder) > known:
                yield from self._sweep(opened, folder)
        except OSError:
            self.unreadable += 1
        finally:
            os.close(opened)
        yield from self._sweep_gone()
        yield

    def _compare_entry(
        self,
        folder: bytes,
        found: "os.DirEntry[str]",
        depth: int,
        waiting: deque[tuple[bytes, int]],
    ) -> bool:
        """Whether it is an entry now."""
        try:
            status = found.stat(follow_symlinks=False)
        except OSError:
            return False
        name = os.fsencode(found.name)
        entry = _entry(status)
        self._entries += 1
        if entry.type == "directory" and depth < self._depth_limit:
            waiting.append((join(folder, name), depth + 1))
        before = self._inventory.get(self._id, folder, name)
        if before == entry:
            return True
        self._inventory.put(self._id, folder, name, entry)
        if before is None:
            if not self._is_first:
                self._report("appeared", join(folder, name), entry)
        elif before.type != entry.type:
            self._report("vanished", join(folder, name), before)
            if before.type == "directory":
                self._gone.append(join(folder, name))
            self._report("appeared", join(folder, name), entry)
        elif entry.type != "directory" or before.mode != entry.mode:
            # A folder's size and time only say that something in it appeared or vanished.
            self._report("changed", join(folder, name), entry)
        return True

    def _sweep(self, opened: int, folder: bytes) -> Iterator[None]:
        for number, (name, entry) in enumerate(self._inventory.names_in(self._id, folder)):
            try:
                os.stat(name, dir_fd=opened, follow_symlinks=False)
            except FileNotFoundError:
                self._vanished(folder, name, entry)
            if number % _ENTRIES_PER_STEP == _ENTRIES_PER_STEP - 1:
                yield

    def _vanished(self, folder: bytes, name: bytes, entry: Entry) -> None:
        self._inventory.remove(self._id, folder, name)
        self._report("vanished", join(folder, name), entry)
        if entry.type == "directory":
            self._gone.append(join(folder, name))

    def _sweep_gone(self) -> Iterator[None]:
        """Report what lay beneath folders that are gone."""
        while self._gone:
            folder = self._gone.pop()
            for number, (name, entry) in enumerate(self._inventory.names_in(self._id, folder)):
                self._vanished(folder, name, entry)
                if number % _ENTRIES_PER_STEP == _ENTRIES_PER_STEP - 1:
                    yield

    def vanish(self) -> Iterator[None]:
        """Report that everything in the root is gone with it."""
        self._gone.append(b"")
        yield from self._sweep_gone()

    def _report(
        self, action: Literal["appeared", "changed", "vanished"], path: bytes, entry: Entry
    ) -> None:
        self.changes += 1
        gone = action == "vanished"
        self.events.append(
            HostPathEvent(
                ts=format_timestamp(self._clock.now_us()),
                action=action,
                root=self._text,
                path=path_text(path),
                type=entry.type,
                size=None if gone else entry.size,
                mtime=None if gone else _time_text(entry.mtime_us),
                mode=None if gone else entry.mode,
            )
        )

    def listing(self) -> Iterator[HostPathEvent]:
        """The whole listing, in parts whose JSON stays below :data:`PART_BYTES` and a little."""
        parts = max(1, sum(1 for _ in self._parts()))
        ts = format_timestamp(self._clock.now_us())
        for number, entries in enumerate(
            self._parts() if self._inventory.count(self._id) else [[]]
        ):
            yield HostPathEvent(
                ts=ts,
                action="listing",
                root=self._text,
                entries=entries,
                part=number,
                parts=parts,
                truncated=self.truncated,
            )

    def _parts(self) -> Iterator[list[HostPathEntry]]:
        part: list[HostPathEntry] = []
        size = 0
        for path, entry in islice(self._inventory.all(self._id), self._entry_limit):
            listed = HostPathEntry(
                path=path_text(path),
                type=entry.type,
                size=entry.size,
                mtime=_time_text(entry.mtime_us),
                mode=entry.mode,
            )
            length = len(_size_of(listed)) + 1
            if part and size + length > PART_BYTES:
                yield part
                part, size = [], 0
            part.append(listed)
            size += length
        if part:
            yield part

    def missing(self) -> HostPathEvent:
        """The listing of a root that is not there."""
        return HostPathEvent(
            ts=format_timestamp(self._clock.now_us()),
            action="listing",
            root=self._text,
            missing=True,
        )


def _entry(status: os.stat_result) -> Entry:
    return Entry(
        type=_TYPES.get(stat.S_IFMT(status.st_mode), "file"),
        size=0 if stat.S_ISDIR(status.st_mode) else status.st_size,
        mtime_us=status.st_mtime_ns // 1000,
        mode=stat.S_IMODE(status.st_mode),
    )


def _time_text(microseconds: int) -> str:
    try:
        return format_timestamp(microseconds)
    except (ValueError, OverflowError, OSError):  # a time that no calendar has
        return _NEVER

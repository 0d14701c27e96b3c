"""The spool: batches on disk, in order, from before they are published until acknowledged.

A few large segment files hold the batches of all kinds one after the other. Whoever reads it keeps
a cursor; what is acknowledged is a floor below which whole segments are removed. A bounded spool
that is full tells so; what then goes is decided by the caller (:mod:`producers.base.pipeline`).

Everything here blocks on the disk and is meant for one thread of its own.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from producers.base.errors import SpoolBusyError, SpoolError, SpoolFullError, SpoolWriteError
from producers.base.settings import SpoolSettings
from producers.base.spool_record import (
    MAGIC,
    MAXIMUM_RECORD_BYTES,
    Damage,
    Meta,
    Record,
    encode_record,
    scan,
)
from producers.base.spool_types import LostRange, Position, Recovery, Stored

SUFFIX: Final = ".spool"
RESERVE_BYTES: Final = 256 * 1024
"""Beyond the limit, for the records that tell of losses."""


@dataclass(slots=True)
class _Segment:
    number: int
    path: Path
    size: int
    batches: int = 0
    given_up: bool = False
    """Chosen to be dropped; nobody may read it any more."""


class Spool:
    """One producer's spool. Methods raise :class:`SpoolError` only where they say so."""

    def __init__(self, folder: Path, settings: SpoolSettings) -> None:
        """Take the folder for this process; raises :class:`SpoolError`."""
        self.folder = folder
        self._settings = settings
        self._segments: dict[int, _Segment] = {}
        self._writer: int | None = None
        self._reader: tuple[int, int] | None = None
        self._unsynced = False
        self._read_to = Position(0, 0)
        self._known_damage: set[Position] = set()
        self._next = 0
        """Number of the next segment; none is ever used twice."""
        self.floor = Position(0, 0)
        self.end = Position(0, 0)
        """Behind the newest batch."""
        self.bytes_on_disk = 0
        self.damaged_bytes = 0
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SpoolError(
                f"the spool folder {folder} can't be made: {error.strerror}; "
                "name another spool.folder"
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise SpoolBusyError(
                f"the spool {folder} is in use by another process; stop that, or give this "
                "producer another name"
            ) from None

    @property
    def unacknowledged_bytes(self) -> int:
        """Bytes above the floor."""
        return max(0, self.bytes_on_disk - self.floor.offset)

    def open(self, floor: Position) -> Recovery:
        """Read what an earlier life left; batches below ``floor`` count as acknowledged.

        A segment that can't be read is counted as damaged. Writing begins in a new segment.
        """
        recovery = Recovery()
        last: dict[tuple[str, str], tuple[Meta, int]] = {}
        damages: list[int] = []
        numbers = sorted(_numbers(self.folder))
        for number in numbers:
            segment = _Segment(number, self._path(number), 0)
            content = _content(segment.path)
            if content is None:
                damages.append(segment.path.stat().st_size)
                continue
            segment.size = len(content)
            for found in scan(content):
                if isinstance(found, Damage):
                    size = found.end - found.start
                    self._known_damage.add(Position(number, found.end))
                    if number == numbers[-1] and found.end == len(content):
                        recovery.torn_bytes += size
                    elif Position(number, found.end) > floor:
                        damages.append(size)
                    continue
                self._note(found, number, floor, last, damages, recovery)
                segment.batches += 1
            if number < floor.segment or not segment.batches:
                segment.path.unlink(missing_ok=True)
                continue
            self._segments[number] = segment
            self.bytes_on_disk += segment.size
        self.damaged_bytes = recovery.damaged_bytes = sum(map(abs, damages))
        recovery.unexplained_bytes = sum(size for size in damages if size > 0)
        for (boot, kind), (meta, _) in sorted(last.items()):
            recovery.next_seqs[kind] = boot, meta.last_seq + 1
        self._next = max([floor.segment, *numbers]) + 1
        if self._segments:
            self.floor = max(floor, Position(next(iter(self._segments)), 0))
            self.end = Position(self._last().number, self._last().size)
        else:
            self.floor = self.end = Position(self._next, 0)
        return recovery

    def _note(
        self,
        record: Record,
        number: int,
        floor: Position,
        last: dict[tuple[str, str], tuple[Meta, int]],
        damages: list[int],
        recovery: Recovery,
    ) -> None:
        """Count one record, and find what damage took between it and the one before.

        ``damages`` are the sizes so far; one that a gap explains becomes negative.
        """
        meta = record.meta
        before = last.get((meta.boot, meta.kind))
        last[meta.boot, meta.kind] = meta, len(damages)
        recovery.found.add(meta)
        if Position(number, record.start) < floor:
            return
        recovery.batches += 1
        recovery.bytes += record.end - record.start
        between = range(before[1], len(damages)) if before is not None else range(0)
        if before is not None and between and meta.first_seq > before[0].last_seq + 1:
            for index in between:
                damages[index] = -abs(damages[index])
            recovery.gaps.append(
                LostRange(
                    meta,
                    before[0].last_seq + 1,
                    meta.first_seq - 1,
                    before[0].last_ts,
                    meta.first_ts,
                )
            )

    def append(self, meta: Meta, payload: bytes, reserve: bool = False) -> Stored:
        """Write one batch at the end.

        Raises :class:`SpoolFullError` at the limit (``reserve`` allows some more, for losses) and
        :class:`SpoolWriteError` if the disk refuses; then nothing of it was written.
        """
        data = encode_record(meta, payload)
        limit = self._settings.max_bytes + (RESERVE_BYTES if reserve else 0)
        if self.bytes_on_disk + len(data) > limit:
            raise SpoolFullError(f"{self.bytes_on_disk} of {limit} bytes are taken")
        segment, writer = self._active(len(data))
        start = segment.size
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(writer, data[written:], start + written)
            if self._settings.fsync == "always":
                os.fdatasync(writer)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(writer, start)
            raise SpoolWriteError(
                f"the spool can't be written to {segment.path}: {error.strerror}"
            ) from None
        segment.size += len(data)
        segment.batches += 1
        self.bytes_on_disk += len(data)
        self._unsynced = True
        self.end = Position(segment.number, segment.size)
        return Stored(meta, payload, Position(segment.number, start), self.end)

    def _active(self, size: int) -> tuple[_Segment, int]:
        """The segment to write to; a new one at the start, and when the last is long enough."""
        if self._writer is not None:
            last = self._last()
            if last.size + size <= self._settings.segment_bytes or not last.size:
                return last, self._writer
            self._sync_writer()
            os.close(self._writer)
            self._writer = None
        number = max(self._next, self.floor.segment)
        path = self._path(number)
        try:
            self._writer = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SpoolWriteError(f"{path} can't be made: {error.strerror}") from None
        self._next = number + 1
        if self._settings.fsync != "never":
            with contextlib.suppress(OSError):
                _sync_folder(self.folder)
        self._segments[number] = segment = _Segment(number, path, 0)
        return segment, self._writer

    def read(self, cursor: Position, max_bytes: int) -> tuple[list[Stored], Position, int]:
        """Batches from ``cursor`` on: at least one if there is any, at most about ``max_bytes``.

        Gives also the cursor behind them, and the bytes of damage that :meth:`open` did not see.
        """
        found: list[Stored] = []
        damaged = 0
        while not found:
            segment = self._segments.get(cursor.segment)
            if segment is None or segment.given_up or cursor.offset >= segment.size:
                following = next((each for each in self._segments if each > cursor.segment), None)
                if following is None:
                    break
                cursor = Position(following, 0)
                continue
            for item in self._read_some(segment, cursor.offset, max_bytes):
                cursor = Position(segment.number, item.end)
                if isinstance(item, Damage):
                    damaged += 0 if cursor in self._known_damage else item.end - item.start
                else:
                    start = Position(segment.number, item.start)
                    found.append(Stored(item.meta, item.payload, start, cursor))
        self.damaged_bytes += damaged
        self._read_to = max(self._read_to, cursor)
        return found, cursor, damaged

    def _read_some(
        self, segment: _Segment, offset: int, max_bytes: int
    ) -> Iterator[Record | Damage]:
        """What lies from ``offset`` on; at least one item, and no record that was only cut."""
        wanted = min(segment.size - offset, max(max_bytes, MAXIMUM_RECORD_BYTES))
        try:
            if self._reader is None or self._reader[0] != segment.number:
                self._close_reader()
                self._reader = segment.number, os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
            data = os.pread(self._reader[1], wanted, offset)
        except OSError:
            data = b""
        if len(data) < wanted:  # shorter than what we wrote
            yield from (_moved(each, offset) for each in scan(data))
            yield Damage(offset + len(data), segment.size)
            return
        for item in scan(data):
            if item.end == len(data) and offset + item.end < segment.size:
                if isinstance(item, Record):
                    yield _moved(item, offset)
                elif item.start == 0:
                    # Nothing begins here, since the longest record would have fitted.
                    following = data.find(MAGIC, 1)
                    yield Damage(offset, offset + (following if following > 0 else len(data) - 3))
                return
            yield _moved(item, offset)

    def acknowledge(self, floor: Position) -> None:
        """Everything below ``floor`` is at the broker; removes the segments that lie below it."""
        if floor <= self.floor:
            return
        self.floor = floor
        for segment in list(self._segments.values()):
            whole = Position(segment.number, segment.size) <= floor
            if not whole or segment is self._last():
                break
            self._remove(segment)

    def _last(self) -> _Segment:
        return next(reversed(self._segments.values()))

    def victim(self, cursor: Position) -> int | None:
        """The oldest segment that may go: not in the reader's hands, not being written.

        From now on it isn't read any more; :meth:`drop` is to follow.
        """
        last = self._last().number if self._segments else 0
        held = max(cursor, self._read_to).segment
        number = next((each for each in self._segments if held < each < last), None)
        if number is not None:
            self._segments[number].given_up = True
        return number

    def contents(self, number: int) -> Iterator[Record]:
        """The batches of one segment."""
        content = _content(self._segments[number].path) or b""
        return (each for each in scan(content) if isinstance(each, Record))

    def drop(self, number: int) -> None:
        """Remove one segment with all that is in it."""
        self._remove(self._segments[number])

    def _remove(self, segment: _Segment) -> None:
        if self._reader is not None and self._reader[0] == segment.number:
            self._close_reader()
        if self._writer is not None and segment is self._last():
            os.close(self._writer)
            self._writer = None
        with contextlib.suppress(OSError):
            segment.path.unlink(missing_ok=True)
        del self._segments[segment.number]
        self.bytes_on_disk -= segment.size

    def sync(self) -> None:
        """Force to the disk what was written, by the policy; not what is acknowledged already."""
        if self._settings.fsync == "interval" and self.floor < self.end:
            self._sync_writer()

    def _sync_writer(self) -> None:
        if self._unsynced and self._writer is not None and self._settings.fsync != "never":
            with contextlib.suppress(OSError):
                os.fdatasync(self._writer)
        self._unsynced = False

    def close(self) -> None:
        """Sync and let go of the folder; removes what is acknowledged whole."""
        self._sync_writer()
        if self._segments and self.floor >= self.end:
            for segment in list(self._segments.values()):
                self._remove(segment)
        self._close_reader()
        if self._writer is not None:
            os.close(self._writer)
            self._writer = None
        os.close(self._lock)

    def _close_reader(self) -> None:
        if self._reader is not None:
            os.close(self._reader[1])
            self._reader = None

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:010d}{SUFFIX}"


def _sync_folder(folder: Path) -> None:
    """A new name in a folder outlives a crash of the machine only once the folder is synced."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _moved(item: Record | Damage, offset: int) -> Record | Damage:
    return item._replace(start=item.start + offset, end=item.end + offset)


def _numbers(folder: Path) -> Iterator[int]:
    for path in folder.glob(f"*{SUFFIX}"):
        if path.stem.isdigit():
            yield int(path.stem)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None

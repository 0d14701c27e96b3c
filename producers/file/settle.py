"""What has become of a path: the disk compared with what was last reported, and told as events."""

import base64
import stat
from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from producers.base.path_text import path_text
from producers.file.changes import Change, Changes, relative
from producers.file.disk import Disk, Look
from producers.file.rules import Rules
from producers.file.state import Row, State
from stream.contract.event import Event
from stream.contract.kinds.file import FileAction, FileEvent
from stream.contract.kinds.snapshot import SnapshotEvent
from stream.contract.timestamps import format_timestamp

_NEVER: Final = "1970-01-01T00:00:00.000000Z"
_encode = msgspec.json.encode


def encode_content(data: bytes) -> tuple[Literal["utf-8", "base64"], str]:
    """The shorter way to carry content in JSON; control characters grow sixfold as text."""
    encoded_size = (len(data) + 2) // 3 * 4
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return "base64", base64.b64encode(data).decode("ascii")
    if len(_encode(text)) - 2 > max(encoded_size, 64):
        return "base64", base64.b64encode(data).decode("ascii")
    return "utf-8", text


def _hash_text(value: bytes) -> str:
    return f"blake2b:{value.hex()}" if value else ""


def _time_text(nanoseconds: int) -> str:
    try:
        return format_timestamp(nanoseconds // 1000)
    except (ValueError, OverflowError, OSError):  # a time that no calendar has
        return _NEVER


class Settler:
    """Compares, reports and remembers. One thread uses it; what it reports lies in two lists."""

    def __init__(self, state: State, changes: Changes, rules: Rules, tracked_limit: int) -> None:
        self._state = state
        self._changes = changes
        self._rules = rules
        self._tracked_limit = tracked_limit
        self.files: list[Event] = []
        self.snapshots: list[Event] = []
        self.content_bytes = 0
        """Size of the content in ``snapshots``."""
        self.filtered = 0
        """Events of the kernel that changed nothing, or were merged with another."""
        self.unreadable = 0
        self.too_large = 0
        self.unsteady = 0
        self.untracked = 0

    def discard(self) -> None:
        """Drop what was not handed over, because what is remembered of it was undone."""
        self.files, self.snapshots, self.content_bytes = [], [], 0

    def settle(self, change: Change, disk: Disk, now_us: int) -> None:
        """Report what became of a path.

        Raises :class:`~producers.file.errors.FolderUnreachableError` when nothing can be said.
        """
        before = len(self.files)
        again = self._settle(change, disk, now_us)
        if again:
            self._changes.again(change, now_us)
        else:
            self.filtered += max(0, change.events - (len(self.files) - before))

    def _settle(self, change: Change, disk: Disk, now_us: int) -> bool:
        """Whether the path has to be looked at again."""
        path = change.path
        if change.moved_to and (target := self._changes.take(change.moved_to)) is not None:
            self.settle(target, disk, now_us)
        row = self._state.get(path)
        name = relative(path, disk.root)
        if not self._rules.reports(name):
            if row is not None:
                self._state.remove(path, 0)
            return False
        try:
            look = disk.look(name)
        except OSError:
            self.unreadable += 1
            return False
        if look is not None:
            return self._settle_present(change, disk, row, look, now_us)
        if row is None:
            return False
        if not change.gone and not change.retries:
            return True  # what took it away has not been read yet: it may have been a move
        self._report("deleted", change, None)
        self._state.remove(path, now_us)
        self._touch_links(path, row.inode, now_us)
        return False

    def _settle_present(
        self,
        change: Change,
        disk: Disk,
        row: Row | None,
        look: Look,
        now_us: int,
    ) -> bool:
        path = change.path
        self.unreadable += look.unreadable
        self.too_large += look.too_large
        self.unsteady += not look.steady
        known = row
        replaced = False
        origin = self._origin(change, disk, row, look)
        if origin is not None:
            old_path, known = origin
            self._report("moved", change, _as_moved(known, look), old_path)
            self._state.remove(old_path, now_us)
            if row is not None:
                replaced = row.hash != known.hash or not row.hash
                known = known._replace(sent=row.sent)
        sent = known.sent if known is not None else b""
        is_new = known is None or (known.is_doubtful and known.is_new and origin is None)
        new = _row(look, sent, now_us, is_new=is_new)
        if known is None or is_new:
            self._report("found" if change.found else "created", change, new, look=look)
        elif replaced or _differs(known, new):
            self._report("modified", change, new, look=look)
        elif origin is None:
            if known.ctime_ns != new.ctime_ns or known.inode != new.inode:
                kept = new._replace(reported_us=known.reported_us, is_new=known.is_new)
                self._state.put(path, kept, is_new=False)
            return False
        new = self._publish_content(change, disk, look, new)
        if row is not None or self._state.count < self._tracked_limit:
            self._state.put(path, new, is_new=row is None)
        else:
            self.untracked += 1
        if row is not None and row.inode != new.inode:
            self._touch_links(path, row.inode, now_us)
        if look.stat.st_nlink > 1 and stat.S_ISREG(look.stat.st_mode):
            self._touch_links(path, new.inode, now_us, new)
        return not look.steady

    def _origin(
        self, change: Change, disk: Disk, row: Row | None, look: Look
    ) -> tuple[bytes, Row] | None:
        """The path that this file had when it was last reported, if it was moved here since."""
        inode = look.stat.st_ino
        if row is not None and row.inode == inode:
            return None
        if change.moved_from:
            known = self._state.get(change.moved_from)
            if known is not None and known.inode == inode:
                left = self._left(change.moved_from, disk)
                return (change.moved_from, known) if left else None
        for path, known in self._state.with_inode(inode):
            if (
                path != change.path
                and known.size == look.stat.st_size
                and known.mtime_ns == look.stat.st_mtime_ns
                and path.startswith(disk.root + b"/")
                and self._left(path, disk)
            ):
                return path, known
        return None

    def _left(self, path: bytes, disk: Disk) -> bool:
        """Whether nothing is there. A path that an editor filled again goes on: it was modified."""
        try:
            return disk.stat(relative(path, disk.root)) is None
        except OSError:
            return False

    def _touch_links(self, path: bytes, inode: int, now_us: int, new: Row | None = None) -> None:
        """Look at the other names of a file: they change with it, and the kernel told of one only.

        ``new`` is what it is now; None when this name is gone, maybe after a last write.
        """
        for other, row in self._state.with_inode(inode):
            if other != path and (new is None or _differs(row, new)):
                self._changes.touch(other, now_us)

    def _publish_content(self, change: Change, disk: Disk, look: Look, new: Row) -> Row:
        content = look.content
        if (
            content is None
            or content.hash == new.sent
            or not self._rules.publishes_content(relative(change.path, disk.root))
        ):
            return new
        encoding, text = encode_content(content.data)
        self.snapshots.append(
            SnapshotEvent(
                ts=format_timestamp(change.last_us),
                path=path_text(change.path),
                hash=_hash_text(content.hash),
                size=len(content.data),
                encoding=encoding,
                content=text,
            )
        )
        self.content_bytes += len(text)
        return new._replace(sent=content.hash)

    def _report(
        self,
        action: FileAction,
        change: Change,
        row: Row | None,
        old_path: bytes = b"",
        *,
        look: Look | None = None,
    ) -> None:
        self.files.append(
            FileEvent(
                ts=format_timestamp(change.last_us),
                action=action,
                path=path_text(change.path),
                old_path=path_text(old_path),
                size=row.size if row else None,
                mtime=_time_text(row.mtime_ns) if row else None,
                hash=_hash_text(row.hash) if row else "",
                lines=row.lines if row else None,
                writer_pid=change.pid or None,
                truncated=look.too_large if look else False,
            )
        )

    def report_deleted(self, path: bytes, ts_us: int) -> None:
        """Report a file as deleted without looking, for its whole root is gone."""
        self._report("deleted", Change(path, ts_us, 0.0, 0.0), None)
        self._state.remove(path, ts_us)

    def move_folder(self, old: bytes, new: bytes, ts_us: int, pid: int) -> Iterator[None]:
        """Report and remember that every file known in a folder was carried along with it.

        Yields after each, so that what was reported can be handed over; nothing else may be
        settled in between.
        """
        for folder in list(self._state.folders_at(old)):
            target = new + folder[len(old) :]
            for path in self._state.files_in(folder):
                self._moved_with_folder(path, target + path[len(folder) :], ts_us, pid)
                yield
            self._state.move_folder(folder, target)

    def _moved_with_folder(self, old: bytes, new: bytes, ts_us: int, pid: int) -> None:
        row = self._state.get(old)
        if row is not None:
            self._report("moved", Change(new, ts_us, 0.0, 0.0, pid), row, old)


def _row(look: Look, sent: bytes, reported_us: int, *, is_new: bool) -> Row:
    found = look.stat
    return Row(
        inode=found.st_ino,
        size=found.st_size,
        mtime_ns=found.st_mtime_ns,
        ctime_ns=found.st_ctime_ns,
        hash=look.content.hash if look.content else b"",
        lines=look.content.lines if look.content else None,
        sent=sent,
        reported_us=reported_us,
        is_new=is_new,
    )


def _as_moved(known: Row, look: Look) -> Row:
    """What to say of a file that was moved: as it was known, for what differs is told after."""
    return known if not known.is_doubtful else known._replace(mtime_ns=look.stat.st_mtime_ns)


def _differs(known: Row, new: Row) -> bool:
    return (
        known.size != new.size
        or known.mtime_ns != new.mtime_ns
        or known.hash != new.hash
        or (not new.hash and known.inode != new.inode)
    )

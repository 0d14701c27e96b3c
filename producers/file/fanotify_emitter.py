"""fanotify as an emitter of watchdog: one mark on the file system, names and writers told."""

import contextlib
import os
import select
from collections.abc import Callable
from typing import Final

from watchdog.events import FileSystemEvent
from watchdog.observers.api import EventEmitter, EventQueue, ObservedWatch

from producers.base.clock import Clock
from producers.file import fanotify
from producers.file.errors import KernelWatchError
from producers.file.events import (
    FileClosed,
    FileCreated,
    FileDeleted,
    FileModified,
    FileMoved,
    FolderCreated,
    FolderDeleted,
    FolderMoved,
    KernelEvent,
    QueueOverflowed,
)

_READ_BYTES: Final = 256 * 1024
_PAUSE_SECONDS: Final = 0.01
_CACHED_FOLDERS: Final = 65_536
_CACHED_ELSEWHERE: Final = 8192
_OUTSIDE: Final = b""

_MASK: Final = (
    fanotify.FAN_CLOSE_WRITE
    | fanotify.FAN_CREATE
    | fanotify.FAN_DELETE
    | fanotify.FAN_RENAME
    | fanotify.FAN_ONDIR
)


class FanotifyEmitter(EventEmitter):
    """Emits the events beneath one folder, from a mark on the whole file system that holds it.

    Needs no setup per folder and misses nothing between mkdir and the first file. Needs
    CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH; raises
    :class:`~producers.file.errors.KernelWatchError` where it can't work. The mark is in place when
    the constructor returns. Other file systems mounted beneath the folder are not seen.
    """

    def __init__(
        self,
        event_queue: EventQueue,
        watch: ObservedWatch,
        *,
        timeout: float = 1.0,
        event_filter: list[type[FileSystemEvent]] | None = None,
        folder: bytes | None = None,
        clock: Clock | None = None,
        ignores: Callable[[bytes], bool] = lambda folder: False,
        open_writes: bool = False,
        unlimited_queue: bool = False,
    ) -> None:
        """``folder`` is a mount point beneath the watched path, to emit what happens on it."""
        super().__init__(event_queue, watch, timeout=timeout, event_filter=event_filter)
        self._root = os.fsencode(watch.path) if folder is None else folder
        self._beneath = self._root.rstrip(b"/") + b"/"
        self._clock = clock or Clock()
        self._ignores = ignores
        self._folders: dict[bytes, bytes] = {}
        self._elsewhere: set[bytes] = set()
        self._mount = -1
        self.reading_since_us: int | None = None
        """Since when something read from the kernel may not have been queued; None if nothing."""
        self.ignored = 0
        """Events in folders beneath the root that ``ignores`` named."""
        self.outside = 0
        """Events elsewhere on the file system."""
        self._group = fanotify.open_group(unlimited_queue=unlimited_queue)
        try:
            mask = _MASK | (fanotify.FAN_MODIFY if open_writes else 0)
            fanotify.mark_file_system(self._group, self._root, mask)
            self._check_handles()
        except BaseException:
            os.close(self._group)
            raise
        self._poll = select.poll()
        self._poll.register(self._group, select.POLLIN)

    def _check_handles(self) -> None:
        handle = fanotify.read_handle(self._root)
        mount = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.close(fanotify.open_handle(mount, handle))
        except OSError as error:
            raise KernelWatchError(
                f"fanotify can't find folders again in {os.fsdecode(self._root)}: "
                f"{error.strerror}; it needs the capability CAP_DAC_READ_SEARCH"
            ) from None
        finally:
            os.close(mount)

    def on_thread_stop(self) -> None:
        """Wake nobody: :meth:`run` ends within its timeout, reads what is left, and closes."""

    def run(self) -> None:
        """Read until stopped, then read what the kernel still holds."""
        try:
            while self.should_keep_running():
                self.queue_events(self.timeout)
            while self._read_once():
                pass
        finally:
            os.close(self._group)

    def queue_events(self, timeout: float) -> None:
        """Wait for events and queue them; at most one buffer's worth.

        A little pause after a small one makes the next one larger, for all that happens on the
        file system comes here, and waking up costs more than an event.
        """
        if self._poll.poll(timeout * 1000) and self._read_once() < _READ_BYTES // 4:
            self.stopped_event.wait(_PAUSE_SECONDS)

    def _read_once(self) -> int:
        """Bytes that were read; 0 when there was nothing."""
        self.reading_since_us = self._clock.now_us()
        try:
            buffer = os.read(self._group, _READ_BYTES)
        except BlockingIOError:
            self.reading_since_us = None
            return 0
        try:
            read_us = self._clock.now_us()
            for record in fanotify.parse(buffer):
                self._handle(record, read_us)
        finally:
            self.reading_since_us = None
            if self._mount >= 0:
                os.close(self._mount)
                self._mount = -1
        return len(buffer)

    def _handle(self, record: fanotify.Record, read_us: int) -> None:
        mask = record.mask
        if record.name is None:
            if mask & fanotify.FAN_Q_OVERFLOW:
                self._emit(QueueOverflowed(self._root), record.pid, read_us)
            return
        folder = self._folder(record.name.folder)
        if mask & fanotify.FAN_RENAME and record.new_name is not None:
            old = _join(folder, record.name.name) if folder else _OUTSIDE
            new_folder = self._folder(record.new_name.folder)
            new = _join(new_folder, record.new_name.name) if new_folder else _OUTSIDE
            self._handle_rename(mask, old, new, record.pid, read_us)
            return
        if not folder:
            self.outside += 1
            return
        path = _join(folder, record.name.name)
        if mask & fanotify.FAN_ONDIR:
            if mask & fanotify.FAN_DELETE:
                self._emit_folder(FolderDeleted(path), path, record.pid, read_us)
            elif mask & fanotify.FAN_CREATE:
                made = FolderCreated(path)
                made.may_hold_files = False
                self._emit_folder(made, path, record.pid, read_us)
            return
        if not folder.startswith(self._beneath) and folder != self._root:
            self.outside += 1
        elif self._ignores(folder):
            self.ignored += 1
        # The kernel merges events of one name; what was merged happened in an unknown order.
        elif mask & fanotify.FAN_CLOSE_WRITE:
            self._emit(FileClosed(path), record.pid, read_us)
        elif mask & fanotify.FAN_DELETE:
            self._emit(FileDeleted(path), record.pid, read_us)
        elif mask & fanotify.FAN_CREATE:
            self._emit(FileCreated(path), record.pid, read_us)
        elif mask & fanotify.FAN_MODIFY:
            self._emit(FileModified(path), record.pid, read_us)

    def _handle_rename(self, mask: int, old: bytes, new: bytes, pid: int, read_us: int) -> None:
        if mask & fanotify.FAN_ONDIR:
            if old or new:
                self._forget(old)
                self._emit_folder_rename(old, new, pid, read_us)
            return
        was_here = old.startswith(self._beneath)
        is_here = new.startswith(self._beneath)
        if was_here and is_here:
            self._emit(FileMoved(old, new), pid, read_us)
        elif was_here:
            self._emit(FileDeleted(old), pid, read_us)
        elif is_here:
            self._emit(FileCreated(new), pid, read_us)

    def _emit_folder_rename(self, old: bytes, new: bytes, pid: int, read_us: int) -> None:
        was_here = old.startswith(self._beneath)
        is_here = new.startswith(self._beneath)
        if was_here and is_here:
            self._emit(FolderMoved(old, new), pid, read_us)
            return
        if old:
            self._emit_folder(FolderDeleted(old), old, pid, read_us)
        if new:
            self._emit_folder(FolderCreated(new), new, pid, read_us)

    def _emit_folder(
        self, event: FolderCreated | FolderDeleted, path: bytes, pid: int, read_us: int
    ) -> None:
        """Emit for a folder beneath the root, or for the root itself; not for one above it."""
        if path == self._root or path.startswith(self._beneath):
            self._emit(event, pid, read_us)

    def _emit(self, event: KernelEvent, pid: int, read_us: int) -> None:
        event.pid = pid
        event.read_us = read_us
        self.queue_event(event)

    def _folder(self, handle: bytes) -> bytes:
        """The path of a folder beneath or above the root; empty for one elsewhere or gone."""
        if handle in self._elsewhere:
            return _OUTSIDE
        path = self._folders.get(handle)
        if path is None:
            path = self._resolve(handle)
            if path is None:
                return _OUTSIDE
            if path == _OUTSIDE:
                if len(self._elsewhere) >= _CACHED_ELSEWHERE:
                    self._elsewhere.clear()
                self._elsewhere.add(handle)
                return _OUTSIDE
            if len(self._folders) >= _CACHED_FOLDERS:
                self._folders.pop(next(iter(self._folders)))
            self._folders[handle] = path
        return path

    def _resolve(self, handle: bytes) -> bytes | None:
        """None for a folder that is gone: its handle is never used again, so nothing is kept."""
        try:
            if self._mount < 0:
                self._mount = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
            opened = fanotify.open_handle(self._mount, handle)
        except OSError:
            return None
        try:
            path = os.readlink(b"/proc/self/fd/%d" % opened)  # noqa: PTH115 - a path of bytes
            if not (
                path == self._root
                or path.startswith(self._beneath)
                or self._beneath.startswith(path.rstrip(b"/") + b"/")
            ):
                return _OUTSIDE
            # A folder outside a bind mount gets a path that means something else here.
            with contextlib.suppress(OSError):
                if os.path.samestat(os.lstat(path), os.fstat(opened)):
                    return path
            return None if path.endswith(b" (deleted)") else _OUTSIDE
        finally:
            os.close(opened)

    def _forget(self, old: bytes) -> None:
        """Drop what a renamed folder makes wrong: paths beneath it, or what was elsewhere."""
        if old == _OUTSIDE:
            self._elsewhere.clear()
            return
        beneath = old + b"/"
        stale = [
            handle
            for handle, path in self._folders.items()
            if path == old or path.startswith(beneath)
        ]
        for handle in stale:
            del self._folders[handle]


def _join(folder: bytes, name: bytes) -> bytes:
    return folder + name if folder.endswith(b"/") else folder + b"/" + name

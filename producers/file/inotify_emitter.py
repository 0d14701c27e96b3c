"""watchdog's inotify emitter, with time stamps, bounded queues, and every loss reported.

Built on the internals of watchdog 7.1 (the version in requirements.txt), whose own emitter keeps
unbounded queues, tells no handler of an overflow, and is silent when a folder can't be watched.
"""

import contextlib
import errno
import fcntl
import os
import struct
import termios
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
)
from watchdog.observers.api import EventQueue, ObservedWatch
from watchdog.observers.inotify import InotifyEmitter, InotifyWatchGroup
from watchdog.observers.inotify_c import (
    DEFAULT_EVENT_BUFFER_SIZE,
    CallbackId,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchCallback,
    WatchDescriptor,
)
from watchdog.observers.inotify_move_event_grouper import (
    GroupedInotifyEvent,
    InotifyMoveEventGrouper,
    PathedInotifyEvent,
)

from producers.base.clock import Clock
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

QUEUED_EVENTS: Final = 8192
"""Events between the reader of the kernel and the emitter; at this number the reader waits."""
_OURS: Final[dict[type[FileSystemEvent], type[KernelEvent]]] = {
    FileClosedEvent: FileClosed,
    FileCreatedEvent: FileCreated,
    FileModifiedEvent: FileModified,
    FileDeletedEvent: FileDeleted,
    FileMovedEvent: FileMoved,
    DirCreatedEvent: FolderCreated,
    DirDeletedEvent: FolderDeleted,
    DirMovedEvent: FolderMoved,
}


@dataclass(unsafe_hash=True, frozen=True)
class StampedEvent(InotifyEvent):
    """An event of the kernel and when it was read."""

    read_us: int = 0


class StampingDescriptor(InotifyFD):
    """One inotify instance that stamps events when it reads them, and counts refused folders."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self.reading_since_us: int | None = None
        """Since when something read may not have been handed on; None if nothing."""
        self.refused = 0
        """Folders that are not watched because of ``fs.inotify.max_user_watches``."""
        self.unreadable = 0
        """Folders that are not watched because they may not be read."""

    def read_events(
        self, *, event_buffer_size: int = DEFAULT_EVENT_BUFFER_SIZE
    ) -> list[InotifyEvent]:
        """Read once, waiting for something to read."""
        events = super().read_events(event_buffer_size=event_buffer_size)
        now = self._clock.now_us()
        return [StampedEvent(each.wd, each.mask, each.cookie, each.name, now) for each in events]

    def _check_inotify_fd(self) -> bool:
        self.reading_since_us = None
        readable = super()._check_inotify_fd()
        self.reading_since_us = self._clock.now_us()
        return readable

    def _add_callback(
        self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId
    ) -> WatchDescriptor:
        """Watch a folder, maybe once more, which is usual when folders are made fast."""
        try:
            watch = self._get_or_create_watch(path, mask)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                self.refused += 1
            raise
        if watch.wd < 0:  # watchdog overlooks that it may not be read
            self.unreadable += 1
            del self._watch_for_wd[watch.wd]
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fsdecode(path))
        watch.callbacks[id_] = callback
        return watch.wd

    def unread_bytes(self) -> int:
        """Bytes of events that wait in the kernel."""
        waiting = fcntl.ioctl(self._inotify_fd, termios.FIONREAD, struct.pack("i", 0))
        return int(struct.unpack("i", waiting)[0])


class BoundedGrouper(InotifyMoveEventGrouper):
    """Pairs the two halves of moves; a full queue makes the reader of the kernel wait."""

    def __init__(self) -> None:
        super().__init__()
        self._limit = QUEUED_EVENTS
        self._order = threading.Lock()
        self._put_us = 0
        self._handled_us = 0
        self.waiting_since_us: int | None = None
        """No event that was put and is not handled yet was read before this."""

    def put_event(self, event: PathedInotifyEvent) -> None:
        """Add one; waits while the queue is full."""
        while len(self._queue._queue) >= self._limit and not self._queue._closed:
            time.sleep(0.002)
        found = event.ev
        if isinstance(found, StampedEvent):
            self._put_us = found.read_us
        else:  # watchdog made it up for what a new folder held already
            stamped = StampedEvent(found.wd, found.mask, found.cookie, found.name, self._put_us)
            event = PathedInotifyEvent(stamped, event.path)
        with self._order:
            if self.waiting_since_us is None:
                self.waiting_since_us = self._put_us
            super().put_event(event)

    def read_event(self) -> GroupedInotifyEvent | None:
        """The next event; asking for it says that the one before has been handled."""
        with self._order:
            self.waiting_since_us = self._handled_us if self._queue._queue else None
        event = super().read_event()
        if event is not None:
            self._handled_us = max(self._handled_us, _read_us(event))
        return event

    def discard_pending_events(self) -> None:
        """Forget what is queued; an event that means nothing makes the emitter ask for the next."""
        super().discard_pending_events()
        nothing = StampedEvent(WatchDescriptor(0), Mask(0), 0, b"", self._put_us)
        self.put_event(PathedInotifyEvent(nothing, b""))


def _read_us(event: GroupedInotifyEvent) -> int:
    """When it was read; for a move, when its second half was."""
    part = event.ev if isinstance(event, PathedInotifyEvent) else event[1].ev
    return part.read_us if isinstance(part, StampedEvent) else 0


@dataclass
class ReportingWatchGroup(InotifyWatchGroup):
    """The watches beneath one folder; tells when the kernel's queue was full."""

    overflowed: Callable[[], None] = field(default=lambda: None)
    grouper: BoundedGrouper = field(default_factory=BoundedGrouper)

    def __post_init__(self) -> None:
        self._move_event_grouper = self.grouper
        super().__post_init__()

    def on_event(self, event: InotifyEvent) -> None:
        """Watch what is beneath a moved folder anew, which corrects whatever path it had."""
        super().on_event(event)
        if event.is_moved_to and event.is_directory:
            with self._lock:
                path = self._build_event_source_path(event) if self.is_active else None
                if path is not None:
                    self._add_all_callbacks(path)

    def _add_callback(self, path: bytes) -> None:
        """Watch one folder; a watch has one path and a path one watch, whatever they had before."""
        by_watch, by_path = self._active_callbacks_by_watch, self._active_callbacks_by_path
        try:
            watch = self._inotify_fd.add_callback(path, self.event_mask, self._callback, self._id)
        except OSError:
            if path == self.path:
                raise
            return  # it has gone meanwhile, or was counted by the descriptor
        old_path = by_watch.get(watch)
        if old_path is not None and by_path.get(old_path) == watch:
            del by_path[old_path]
        old_watch = by_path.get(path)
        if old_watch is not None:
            by_watch.pop(old_watch, None)
        by_watch[watch] = path
        by_path[path] = watch

    def _remove_watch_internally(self, wd: WatchDescriptor) -> None:
        path = self._active_callbacks_by_watch.pop(wd, None)
        if path is not None and self._active_callbacks_by_path.get(path) == wd:
            del self._active_callbacks_by_path[path]

    def on_queue_overflow(self) -> None:
        """Watch all again first, so that a scan that begins after sees all that follows.

        watchdog removes every watch before, and the kernel queues an event for each: with more
        folders than the queue has room for, every overflow would bring the next.
        """
        with self._lock:
            if not self.is_active:
                return
            self._move_event_grouper.discard_pending_events()
            with contextlib.suppress(OSError):  # the look at the roots finds that it is gone
                self._add_all_callbacks(self.path)
        self.overflowed()


class BoundedInotifyEmitter(InotifyEmitter):
    """Emits our events for what watchdog makes of inotify's. Moves out wait 0.5 s for a pair.

    Watches are in place when ``start`` returns; raises
    :class:`~producers.file.errors.KernelWatchError` when the folder itself can't be watched.
    """

    def __init__(
        self,
        event_queue: EventQueue,
        watch: ObservedWatch,
        *,
        inotify_fd: StampingDescriptor,
        clock: Clock,
        folder: bytes | None = None,
        open_writes: bool = False,
    ) -> None:
        """``folder`` is a mount point beneath the watched path, to emit what happens on it."""
        wanted: list[type[FileSystemEvent]] = [
            each for each in _OURS if open_writes or each is not FileModifiedEvent
        ]
        super().__init__(event_queue, watch, event_filter=wanted, inotify_fd=inotify_fd)
        self._folder = os.fsencode(watch.path) if folder is None else folder
        self._descriptor = inotify_fd
        self._clock = clock
        self._grouper = BoundedGrouper()
        self._current_us = 0
        self.ended_with_folder = False
        """It stopped because the folder was deleted."""

    @property
    def reading_since_us(self) -> int | None:
        """Since when something read from the kernel may not have been queued."""
        reading = self._descriptor.reading_since_us
        waiting = self._grouper.waiting_since_us
        return min((each for each in (reading, waiting) if each is not None), default=None)

    def on_thread_start(self) -> None:
        """Add the watches, in the thread that starts this one."""
        try:
            self._inotify = ReportingWatchGroup(
                self._descriptor,
                self._folder,
                is_recursive=True,
                event_mask=self.get_event_mask_from_filter(),
                overflowed=self._overflowed,
                grouper=self._grouper,
            )
        except OSError as error:
            raise KernelWatchError(
                f"inotify does not work for {os.fsdecode(self._folder)}: {error.strerror}"
            ) from None

    def on_thread_stop(self) -> None:
        """Close the queue first, for the reader may wait for room in it."""
        self._grouper.close()
        super().on_thread_stop()

    def drained(self) -> bool:
        """Whether everything that the kernel told so far has been queued."""
        return self._descriptor.unread_bytes() == 0 and self.reading_since_us is None

    def _overflowed(self) -> None:
        event = QueueOverflowed(self.watch.path)
        event.read_us = self._clock.now_us()
        self._event_queue.put((event, self.watch))

    def build_and_queue_event(
        self, event: GroupedInotifyEvent, *, full_events: bool = False
    ) -> None:
        """Remember the time of what is turned into events now."""
        self._current_us = _read_us(event)
        super().build_and_queue_event(event, full_events=full_events)

    def queue_event(self, event: FileSystemEvent) -> None:
        """Queue ours for watchdog's, except those that it derives by walking folders."""
        kind = type(event)
        if event.is_synthetic or self._event_filter is None or kind not in self._event_filter:
            return
        ours = _OURS[kind](event.src_path, event.dest_path)
        if kind is DirDeletedEvent and event.src_path == self.watch.path:
            self.ended_with_folder = True
        ours.read_us = self._current_us
        self._event_queue.put((ours, self.watch))

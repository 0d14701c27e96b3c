"""One watched folder: how the kernel is asked about it, and whether it is still there."""

import os
import stat
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING, cast

from watchdog.observers.api import EventQueue, ObservedWatch

from producers.base.clock import Clock
from producers.file.changes import Changes, relative
from producers.file.disk import Disk
from producers.file.errors import KernelWatchError
from producers.file.fanotify_emitter import FanotifyEmitter
from producers.file.inotify_emitter import BoundedInotifyEmitter, StampingDescriptor
from producers.file.rules import Rules
from producers.file.settings import FileSettings

if TYPE_CHECKING:
    Emitter = FanotifyEmitter | BoundedInotifyEmitter

_DRAIN_SECONDS = 2.0
_POLL_SECONDS = 0.2


class RootNews(Enum):
    """What a look at a root found."""

    NOTHING = auto()
    BEGUN = auto()
    """It is watched from now on; compare it with the state."""
    VANISHED = auto()
    """It has been missing for longer than the grace; its files are deleted."""
    READER_FAILED = auto()
    """What read its events had died; it is watched anew, and what happened meanwhile is lost."""


class Root:
    """A folder to watch; it may not exist yet, vanish, and come back as another one."""

    def __init__(
        self,
        path: bytes,
        settings: FileSettings,
        *,
        rules: Rules,
        changes: Changes,
        clock: Clock,
        is_own: Callable[[bytes], bool],
    ) -> None:
        self.path = path
        self.disk = Disk(path, settings.content_limit_bytes)
        self.emitter: Emitter | None = None
        self.degraded: str | None = None
        """Why fanotify is not used, where it was wanted."""
        self.failure: str | None = None
        """Why it is not watched now."""
        self._settings = settings
        self._rules = rules
        self._changes = changes
        self._clock = clock
        self._is_own = is_own
        self._identity: tuple[int, int] | None = None
        self._missing_since: float | None = None
        self._vanished = False
        self._inotify: StampingDescriptor | None = None
        self._stopped_ignored = 0
        self._stopped_outside = 0

    @property
    def text(self) -> str:
        """The path for people."""
        return os.fsdecode(self.path)

    @property
    def method(self) -> str:
        """``fanotify``, ``inotify`` or ``none``."""
        if self.emitter is None:
            return "none"
        return "fanotify" if isinstance(self.emitter, FanotifyEmitter) else "inotify"

    @property
    def unwatched_folders(self) -> int:
        """Folders that inotify refused to watch, for its limits or for their permissions."""
        descriptor = self._inotify
        return 0 if descriptor is None else descriptor.refused + descriptor.unreadable

    @property
    def is_present(self) -> bool:
        """Whether it is watched now."""
        return self.emitter is not None

    def check(self) -> RootNews:
        """Look whether it is still the folder that is watched, and begin to watch if it is not."""
        try:
            found = os.stat(self.path)  # noqa: PTH116 - a path of bytes
        except (FileNotFoundError, NotADirectoryError):
            return self._is_missing()
        except OSError as error:
            self.failure = f"{self.text} can't be looked at: {error.strerror}"
            return RootNews.NOTHING
        if not stat.S_ISDIR(found.st_mode):
            return self._is_missing()
        identity = (found.st_dev, found.st_ino)
        self._missing_since = None
        if self.emitter is not None and identity == self._identity and self._is_reading():
            return RootNews.NOTHING
        failed = (
            self.emitter is not None
            and identity == self._identity
            and not getattr(self.emitter, "ended_with_folder", False)
        )
        self.stop_watching()
        self._identity = identity
        self._vanished = False
        return self._begin(failed)

    def _is_reading(self) -> bool:
        reader = self._inotify
        emitter = self.emitter
        return emitter is not None and emitter.is_alive() and (reader is None or reader.is_alive())

    def _is_missing(self) -> RootNews:
        now = time.monotonic()
        if self._missing_since is None:
            self._missing_since = now
        self.failure = f"{self.text} does not exist; it is watched as soon as it does"
        if self._vanished or now - self._missing_since < self._settings.root_grace_seconds:
            return RootNews.NOTHING
        self.stop_watching()
        self._vanished = True
        return RootNews.VANISHED

    def _begin(self, failed: bool) -> RootNews:
        try:
            self.emitter = self._start_emitter()
        except (KernelWatchError, OSError) as error:
            self.failure = str(error)
            return RootNews.NOTHING
        self.failure = None
        return RootNews.READER_FAILED if failed else RootNews.BEGUN

    def _start_emitter(self) -> "Emitter":
        watch = ObservedWatch(cast("str", self.path), recursive=True)
        queue = cast("EventQueue", self._changes)
        self.degraded = None
        if self._settings.method != "inotify":
            try:
                fanotify = FanotifyEmitter(
                    queue,
                    watch,
                    timeout=_POLL_SECONDS,
                    clock=self._clock,
                    ignores=self._ignores,
                    open_writes=self._settings.open_writes,
                    unlimited_queue=self._settings.unlimited_kernel_queue,
                )
                fanotify.name = f"fanotify {self.text}"
                fanotify.start()
                return fanotify
            except KernelWatchError as error:
                if self._settings.method == "fanotify":
                    raise
                self.degraded = (
                    f"{error}. inotify is used instead: no writer_pid, and bursts may overflow "
                    "its queue"
                )
        return self._start_inotify(queue, watch)

    def _start_inotify(self, queue: EventQueue, watch: ObservedWatch) -> BoundedInotifyEmitter:
        descriptor = StampingDescriptor(self._clock)
        descriptor.name = f"inotify reader {self.text}"
        descriptor.start()
        try:
            emitter = BoundedInotifyEmitter(
                queue,
                watch,
                inotify_fd=descriptor,
                clock=self._clock,
                open_writes=self._settings.open_writes,
            )
            emitter.name = f"inotify {self.text}"
            emitter.start()
        except BaseException:
            descriptor.stop()
            descriptor.join()
            raise
        self._inotify = descriptor
        return emitter

    def _ignores(self, folder: bytes) -> bool:
        return self._is_own(folder) or not self._rules.enters(relative(folder, self.path))

    def ignored(self) -> int:
        """Events so far in folders that the rules leave out, which never came to the queue."""
        emitter = self.emitter
        now = emitter.ignored if isinstance(emitter, FanotifyEmitter) else 0
        return self._stopped_ignored + now

    def outside(self) -> int:
        """Events so far elsewhere on the file system, which fanotify has to read as well."""
        emitter = self.emitter
        now = emitter.outside if isinstance(emitter, FanotifyEmitter) else 0
        return self._stopped_outside + now

    def reading_since_us(self) -> int | None:
        """Since when something read from the kernel may not be in the queue; None if nothing."""
        return None if self.emitter is None else self.emitter.reading_since_us

    def drain(self) -> None:
        """Queue what the kernel still holds, and stop watching."""
        deadline = time.monotonic() + _DRAIN_SECONDS
        emitter = self.emitter
        while (
            isinstance(emitter, BoundedInotifyEmitter)
            and emitter.is_alive()
            and not emitter.drained()
            and time.monotonic() < deadline
        ):
            time.sleep(0.005)
        self.stop_watching()

    def stop_watching(self) -> None:
        """Stop the reader; fanotify's reads what the kernel still holds."""
        self._stopped_ignored = self.ignored()
        self._stopped_outside = self.outside()
        emitter, self.emitter = self.emitter, None
        if emitter is not None:
            emitter.stop()
            emitter.join()
        if self._inotify is not None:
            self._inotify.stop()
            self._inotify.join()
            self._inotify = None

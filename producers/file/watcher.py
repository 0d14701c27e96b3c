"""One folder (and file system) that the kernel is asked about, by fanotify or else by inotify."""

import os
import time
from collections.abc import Callable
from typing import cast

from watchdog.observers.api import EventQueue, ObservedWatch

from producers.base.clock import Clock
from producers.file.changes import Changes
from producers.file.errors import KernelWatchError
from producers.file.fanotify_emitter import FanotifyEmitter
from producers.file.inotify_emitter import BoundedInotifyEmitter, StampingDescriptor
from producers.file.settings import FileSettings

_DRAIN_SECONDS = 2.0
_POLL_SECONDS = 0.2


class Watcher:
    """Watches from its construction on, until it is stopped.

    ``folder`` is the root itself or a mount point beneath it. Raises
    :class:`~producers.file.errors.KernelWatchError` or OSError when nothing permitted works.
    """

    def __init__(
        self,
        root: bytes,
        folder: bytes,
        settings: FileSettings,
        changes: Changes,
        clock: Clock,
        ignores: Callable[[bytes], bool],
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._clock = clock
        self._watch = ObservedWatch(cast("str", root), recursive=True)
        self._queue = cast("EventQueue", changes)
        self._descriptor: StampingDescriptor | None = None
        self.degraded: str | None = None
        """Why fanotify is not used, where it was wanted."""
        self.emitter: FanotifyEmitter | BoundedInotifyEmitter
        if settings.method == "inotify":
            self.emitter = self._start_inotify()
            return
        try:
            self.emitter = self._start_fanotify(ignores)
        except KernelWatchError as error:
            if settings.method == "fanotify":
                raise
            self.degraded = (
                f"{error}. inotify is used instead: no writer_pid, and bursts may overflow "
                "its queue"
            )
            self.emitter = self._start_inotify()

    def _start_fanotify(self, ignores: Callable[[bytes], bool]) -> FanotifyEmitter:
        emitter = FanotifyEmitter(
            self._queue,
            self._watch,
            timeout=_POLL_SECONDS,
            folder=self._folder,
            clock=self._clock,
            ignores=ignores,
            open_writes=self._settings.open_writes,
            unlimited_queue=self._settings.unlimited_kernel_queue,
        )
        emitter.name = f"fanotify {os.fsdecode(self._folder)}"
        emitter.start()
        return emitter

    def _start_inotify(self) -> BoundedInotifyEmitter:
        descriptor = StampingDescriptor(self._clock)
        descriptor.name = f"inotify reader {os.fsdecode(self._folder)}"
        descriptor.start()
        try:
            emitter = BoundedInotifyEmitter(
                self._queue,
                self._watch,
                inotify_fd=descriptor,
                clock=self._clock,
                folder=self._folder,
                open_writes=self._settings.open_writes,
            )
            emitter.name = f"inotify {os.fsdecode(self._folder)}"
            emitter.start()
        except BaseException:
            descriptor.stop()
            descriptor.join()
            raise
        self._descriptor = descriptor
        return emitter

    @property
    def method(self) -> str:
        """``fanotify`` or ``inotify``."""
        return "fanotify" if isinstance(self.emitter, FanotifyEmitter) else "inotify"

    @property
    def is_reading(self) -> bool:
        """Whether its threads live."""
        descriptor = self._descriptor
        return self.emitter.is_alive() and (descriptor is None or descriptor.is_alive())

    @property
    def ended_with_folder(self) -> bool:
        """Whether it stopped because the folder was deleted."""
        emitter = self.emitter
        return isinstance(emitter, BoundedInotifyEmitter) and emitter.ended_with_folder

    @property
    def unwatched_folders(self) -> int:
        """Folders that inotify refused to watch, for its limits or for their permissions."""
        descriptor = self._descriptor
        return 0 if descriptor is None else descriptor.refused + descriptor.unreadable

    @property
    def ignored(self) -> int:
        """Events so far in folders that are left out, which never came to the queue."""
        return self.emitter.ignored if isinstance(self.emitter, FanotifyEmitter) else 0

    @property
    def outside(self) -> int:
        """Events so far elsewhere on the file system, which fanotify has to read as well."""
        return self.emitter.outside if isinstance(self.emitter, FanotifyEmitter) else 0

    def drain(self) -> None:
        """Queue what the kernel still holds, and stop."""
        deadline = time.monotonic() + _DRAIN_SECONDS
        emitter = self.emitter
        while (
            isinstance(emitter, BoundedInotifyEmitter)
            and self.is_reading
            and not emitter.drained()
            and time.monotonic() < deadline
        ):
            time.sleep(0.005)
        self.stop()

    def stop(self) -> None:
        """Stop reading; fanotify's reader reads first what the kernel still holds."""
        self.emitter.stop()
        self.emitter.join()
        if self._descriptor is not None:
            self._descriptor.stop()
            self._descriptor.join()

"""One watched folder: whether it is still there, and what is mounted beneath it."""

import os
import stat
import time
from collections.abc import Callable
from enum import Enum, auto

from producers.base.clock import Clock
from producers.file.changes import Changes, relative
from producers.file.disk import Disk
from producers.file.errors import KernelWatchError
from producers.file.mounts import Mount, MountTable
from producers.file.rules import Rules
from producers.file.settings import FileSettings
from producers.file.watcher import Watcher


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
        self.failure: str | None = None
        """Why it is not watched now."""
        self.changed_mounts: list[bytes] = []
        """Mount points where something was mounted or unmounted; to be compared and cleared."""
        self._settings = settings
        self._rules = rules
        self._changes = changes
        self._clock = clock
        self._is_own = is_own
        self._mounts = MountTable()
        self._watcher: Watcher | None = None
        self._mounted: dict[bytes, tuple[Mount, Watcher | None]] = {}
        self._mount_failures: dict[bytes, str] = {}
        self._identity: tuple[int, int] | None = None
        self._missing_since: float | None = None
        self._vanished = False
        self._stopped_ignored = 0
        self._stopped_outside = 0

    @property
    def text(self) -> str:
        """The path for people."""
        return os.fsdecode(self.path)

    @property
    def method(self) -> str:
        """``fanotify``, ``inotify`` or ``none``."""
        return "none" if self._watcher is None else self._watcher.method

    @property
    def is_present(self) -> bool:
        """Whether it is watched now."""
        return self._watcher is not None

    def degraded(self) -> list[str]:
        """What does not work fully; a sentence each."""
        if self.failure is not None:
            return [self.failure]
        watchers = self._watchers()
        found = {each.degraded for each in watchers if each.degraded}
        scan = f"found by a scan each {self._settings.rescan_seconds} s"
        unwatched = sum(each.unwatched_folders for each in watchers)
        if unwatched:
            found.add(
                f"{unwatched} folders beneath {self.text} are not watched "
                f"(fs.inotify.max_user_watches reached, or not readable); their changes are {scan}"
            )
        mount = self._mounts.holding(self.path)
        remote = [mount] if mount is not None and mount.is_remote else []
        remote += [each for each, _ in self._mounted.values() if each.is_remote]
        found |= {
            f"{os.fsdecode(each.point)} is {each.fs_type}: what other nodes change there is {scan}"
            for each in remote
        }
        found |= {
            f"{os.fsdecode(point)}, mounted beneath {self.text}, is not watched ({why}); "
            f"its changes are {scan}"
            for point, why in self._mount_failures.items()
        }
        return sorted(found)

    # --- whether it is there --------------------------------------------------------------------

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
        watcher = self._watcher
        if watcher is not None and identity == self._identity and watcher.is_reading:
            if self._mounts.refresh():
                self._watch_mounts()
            return RootNews.NOTHING
        failed = (
            watcher is not None and identity == self._identity and not watcher.ended_with_folder
        )
        self._stop_watching()
        self._identity = identity
        self._vanished = False
        return self._begin(failed)

    def _is_missing(self) -> RootNews:
        now = time.monotonic()
        if self._missing_since is None:
            self._missing_since = now
        self.failure = f"{self.text} does not exist; it is watched as soon as it does"
        if self._vanished or now - self._missing_since < self._settings.root_grace_seconds:
            return RootNews.NOTHING
        self._stop_watching()
        self._vanished = True
        return RootNews.VANISHED

    def _begin(self, failed: bool) -> RootNews:
        try:
            self._watcher = self._watch(self.path)
        except (KernelWatchError, OSError) as error:
            self.failure = str(error)
            return RootNews.NOTHING
        self.failure = None
        self._mounts.refresh()
        self._watch_mounts(at_begin=True)
        return RootNews.READER_FAILED if failed else RootNews.BEGUN

    def _watch(self, folder: bytes) -> Watcher:
        return Watcher(self.path, folder, self._settings, self._changes, self._clock, self._ignores)

    def _ignores(self, folder: bytes) -> bool:
        return self._is_own(folder) or not self._rules.enters(relative(folder, self.path))

    # --- what is mounted beneath ----------------------------------------------------------------

    def _watch_mounts(self, *, at_begin: bool = False) -> None:
        now = {
            point: mount
            for point, mount in self._mounts.beneath(self.path).items()
            if not self._ignores(point)
        }
        for point, (mount, watcher) in list(self._mounted.items()):
            if now.get(point) != mount:
                del self._mounted[point]
                self._mount_failures.pop(point, None)
                self._stop(watcher)
                self.changed_mounts.append(point)
        for point, mount in now.items():
            if point in self._mounted:
                continue
            watcher = None
            # What was mounted before, inotify's walk of the root has reached.
            if not (at_begin and self.method == "inotify"):
                try:
                    watcher = self._watch(point)
                except (KernelWatchError, OSError) as error:
                    self._mount_failures[point] = str(error)
            self._mounted[point] = (mount, watcher)
            if not at_begin:
                self.changed_mounts.append(point)

    # --- all of its watchers --------------------------------------------------------------------

    def _watchers(self) -> list[Watcher]:
        mounted = [watcher for _, watcher in list(self._mounted.values()) if watcher is not None]
        return mounted if self._watcher is None else [self._watcher, *mounted]

    def ignored(self) -> int:
        """Events so far in folders that the rules leave out, which never came to the queue."""
        return self._stopped_ignored + sum(each.ignored for each in self._watchers())

    def outside(self) -> int:
        """Events so far elsewhere on the file system, which fanotify has to read as well."""
        return self._stopped_outside + sum(each.outside for each in self._watchers())

    def reading_since_us(self) -> int | None:
        """Since when something read from the kernel may not be in the queue; None if nothing."""
        times = (each.emitter.reading_since_us for each in self._watchers())
        return min((each for each in times if each is not None), default=None)

    def drain(self) -> None:
        """Queue what the kernel still holds, and stop watching."""
        for each in self._watchers():
            each.drain()
        self._stop_watching()
        self._mounts.close()

    def _stop_watching(self) -> None:
        watcher, self._watcher = self._watcher, None
        self._stop(watcher)
        for _, mounted in list(self._mounted.values()):
            self._stop(mounted)
        self._mounted.clear()
        self._mount_failures.clear()

    def _stop(self, watcher: Watcher | None) -> None:
        if watcher is not None:
            watcher.stop()
            self._stopped_ignored += watcher.ignored
            self._stopped_outside += watcher.outside

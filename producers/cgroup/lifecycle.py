"""Notices at once when cgroups come, when their last process ends, and when they go.

Creation and removal: inotify on the folders in which pods and containers appear; it works on v1
and v2 alike, since container runtimes make and remove them by mkdir and rmdir. The end of the last
process: a pidfd of one process in each container, which becomes readable when that process ends,
some milliseconds before the runtime removes the cgroup. v1 tells nothing else in time.
"""

import errno
import os
import select
import time
from dataclasses import dataclass, field

from producers.cgroup.hierarchy import Hierarchy
from producers.cgroup.inotify import (
    IN_CREATE,
    IN_DELETE,
    IN_MODIFY,
    IN_Q_OVERFLOW,
    Inotify,
    InotifyEvent,
)
from producers.cgroup.sampler import Sampler
from producers.cgroup.settings import CgroupSettings

_MAXIMUM_WATCHES = 8192
_WALK_TRIES = 8
_UNSEEN_TICKS = 2


@dataclass(slots=True)
class Lifecycle:
    """Follows all cgroups and tells the sampler. Used by one thread."""

    settings: CgroupSettings
    hierarchy: Hierarchy
    sampler: Sampler
    epoll: select.epoll
    inotify: Inotify | None = None
    overflows: int = 0
    problems: dict[str, str] = field(default_factory=dict)
    """What does not work fully, by a short key."""
    _pidfds: dict[int, str] = field(default_factory=dict)
    _of_path: dict[str, int] = field(default_factory=dict)
    _first: bool = True
    _newborns: dict[str, float] = field(default_factory=dict)
    """Path of a young container → when it is grown up (monotonic seconds)."""

    def start(self) -> None:
        """Find what exists, and watch from now on."""
        try:
            self.inotify = Inotify()
            self.epoll.register(self.inotify.descriptor, select.EPOLLIN)
        except OSError as error:
            self.inotify = None
            self.problems["inotify"] = (
                f"new cgroups are found only at each tick: {error}; raise "
                "fs.inotify.max_user_instances"
            )
        self.rescan(born=False)

    def rescan(self, *, born: bool = True) -> None:
        """Walk the whole tree until all its folders are watched, then take it for the truth."""
        settings = self.settings
        for _ in range(_WALK_TRIES):
            walk = self.hierarchy.walk(settings.include, settings.depth)
            if not self._watch_folders(walk.folders):
                break
        self.sampler.replaced_by(walk.cgroups, born=born)
        for path in [each for each in self._of_path if each not in self.sampler.tracked]:
            self._unfollow(path)
        for cgroup in walk.cgroups:
            if cgroup.owner.container_id:
                self.follow(cgroup.path)

    def follow(self, path: str) -> None:
        """Make sure that the end of a container's last process will be noticed."""
        if path in self._of_path:
            return
        for pid in self.sampler.processes_of(path):
            try:
                descriptor = os.pidfd_open(pid)
            except OSError as error:
                if error.errno == errno.ESRCH:
                    continue
                self.problems["pidfd"] = (
                    f"the end of a container is noticed only when its cgroup is gone: {error}; "
                    "raise the limit of open files"
                )
                return
            if path in self._newborns:
                self.sampler.hidden_processes = False
            self._pidfds[descriptor] = path
            self._of_path[path] = descriptor
            self.epoll.register(descriptor, select.EPOLLIN)
            return

    def follow_all(self) -> None:
        """At each tick: follow containers whose processes could not be seen before."""
        unseen = 0
        for path, each in list(self.sampler.tracked.items()):
            if each.cgroup.owner.container_id and path not in self._of_path:
                self.follow(path)
                found = path in self._of_path
                each.ended = each.ended and not found
                hidden = not found and not each.ended and bool(each.usage.pids)
                each.unseen = each.unseen + 1 if hidden else 0
                unseen = max(unseen, each.unseen)
        # A zombie, or a runtime that is just starting, may hide one container for one tick; the
        # one that shows itself may be this producer's own.
        patience = 1 if self._first else _UNSEEN_TICKS
        self._first = False
        if len(self._of_path) > 1:
            self.sampler.hidden_processes = False
        elif unseen >= patience:
            self.sampler.hidden_processes = True
        if self.sampler.hidden_processes:
            self.problems["processes"] = (
                "containers' processes are hidden: the traffic of pods and node and the last "
                "figures of a container are unknown; run in the host's PID namespace (hostPID)"
            )
        else:
            self.problems.pop("processes", None)

    def handle(self, ready: list[int]) -> None:
        """Take what these descriptors have; ends of processes first, while there is time."""
        for descriptor in ready:
            path = self._pidfds.get(descriptor)
            if path is not None:
                # Read before anything else: the runtime is about to remove the cgroup.
                fresh = self.sampler.peek(path)
                self._unfollow(path)
                self.follow(path)
                if path in self._of_path:
                    # The runtime's helper made way for the container's program.
                    self.sampler.peek(path)
                elif fresh:
                    self.sampler.ended(path)
        if self.inotify is not None and self.inotify.descriptor in ready:
            for event in self.inotify.read():
                self._noticed(event)

    @property
    def has_newborns(self) -> bool:
        """Whether :meth:`watch_newborns` has something to do."""
        return bool(self._newborns)

    def watch_newborns(self, now: float) -> None:
        """Read young containers again, so that a sudden end leaves figures."""
        for path, until in list(self._newborns.items()):
            if now > until or path not in self.sampler.tracked:
                del self._newborns[path]
            elif self.sampler.peek(path):
                self.follow(path)

    def close(self) -> None:
        """Give everything back to the kernel."""
        for path in list(self._of_path):
            self._unfollow(path)
        if self.inotify is not None:
            self.inotify.close()

    def _unfollow(self, path: str) -> None:
        descriptor = self._of_path.pop(path, None)
        if descriptor is not None:
            del self._pidfds[descriptor]
            self.epoll.unregister(descriptor)
            os.close(descriptor)

    def _watch_folders(self, folders: list[str]) -> bool:
        """Watch those that are not yet; True if there were any."""
        if self.inotify is None:
            return False
        added = False
        for path in folders:
            if path not in self.inotify:
                added = self._watch(path, IN_CREATE | IN_DELETE) or added
        return added

    def _watch(self, path: str, mask: int) -> bool:
        if self.inotify is None:
            return False
        if len(self.inotify) >= _MAXIMUM_WATCHES:
            self.problems["watches"] = (
                f"more than {_MAXIMUM_WATCHES} cgroup folders: the creation of some is found only "
                "at a rescan; name the folders that matter in cgroup.include"
            )
            return False
        try:
            self.inotify.add(self.hierarchy.folder(path), path, mask)
        except OSError as error:
            if error.errno != errno.ENOENT:
                self.problems["watches"] = (
                    f"the creation of some cgroups is found only at a rescan: {error}; raise "
                    "fs.inotify.max_user_watches"
                )
            return False
        return True

    def _noticed(self, event: InotifyEvent) -> None:
        if event.mask & IN_Q_OVERFLOW:
            self.overflows += 1
            self.rescan()
            return
        path = f"{event.path.rstrip('/')}/{event.name}"
        if event.mask & IN_CREATE:
            self._appeared(path)
        elif event.mask & IN_DELETE:
            self._vanished(path)
        elif event.mask & IN_MODIFY and event.name == "cgroup.procs":
            self.follow(event.path)

    def _appeared(self, path: str) -> None:
        """A folder (or a file: then the kernel refuses to watch it) came to be."""
        cgroup = self.hierarchy.look(path)
        if cgroup is None:
            if path.count("/") <= self.settings.depth and self._watch(path, IN_CREATE | IN_DELETE):
                self._descend(path)
            return
        self.sampler.created(cgroup, born=True)
        if cgroup.owner.container_id:
            self._newborns[path] = time.monotonic() + self.settings.newborn_seconds
            self._watch(path, IN_MODIFY)
            self.follow(path)
        elif self._watch(path, IN_CREATE | IN_DELETE):
            self._descend(path)

    def _descend(self, path: str) -> None:
        """What was made inside before the watch was set."""
        try:
            with os.scandir(self.hierarchy.folder(path)) as entries:
                names = [each.name for each in entries if each.is_dir(follow_symlinks=False)]
        except OSError:
            return
        for name in names:
            if f"{path}/{name}" not in self.sampler.tracked:
                self._appeared(f"{path}/{name}")

    def _vanished(self, path: str) -> None:
        if path not in self.sampler.tracked:
            return
        self._newborns.pop(path, None)
        self._unfollow(path)
        self.sampler.removed(path)

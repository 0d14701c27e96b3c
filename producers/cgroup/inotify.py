"""The few calls of inotify that watching cgroup folders needs (inotify(7))."""

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

IN_MODIFY: Final = 0x2
IN_CREATE: Final = 0x100
IN_DELETE: Final = 0x200
IN_Q_OVERFLOW: Final = 0x4000
IN_IGNORED: Final = 0x8000
IN_ONLYDIR: Final = 0x01000000
_EVENT: Final = struct.Struct("iIII")
_BUFFER: Final = 65536

_libc = ctypes.CDLL(None, use_errno=True)


class InotifyEvent(NamedTuple):
    """One event: the watched path, what happened, and the name inside (empty for itself)."""

    path: str
    mask: int
    name: str


class Inotify:
    """One inotify instance; raises :class:`OSError` where the kernel refuses one."""

    def __init__(self) -> None:
        self.descriptor: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.descriptor < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"inotify_init1: {os.strerror(number)}")
        self._paths: dict[int, str] = {}
        self._watches: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._watches)

    def __contains__(self, path: str) -> bool:
        return path in self._watches

    def add(self, folder: str, path: str, mask: int) -> None:
        """Watch a folder; its events carry ``path``. Raises :class:`OSError` when refused."""
        watch = _libc.inotify_add_watch(self.descriptor, os.fsencode(folder), mask | IN_ONLYDIR)
        if watch < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), folder)
        self._paths[watch] = path
        self._watches[path] = watch

    def remove(self, path: str) -> None:
        """Stop watching; nothing happens when it isn't watched."""
        watch = self._watches.pop(path, None)
        if watch is not None:
            self._paths.pop(watch, None)
            _libc.inotify_rm_watch(self.descriptor, watch)

    def read(self) -> Iterator[InotifyEvent]:
        """All events that wait now; forgets the watches of folders that are gone."""
        while True:
            try:
                data = os.read(self.descriptor, _BUFFER)
            except BlockingIOError:
                return
            offset = 0
            while offset < len(data):
                watch, mask, _cookie, length = _EVENT.unpack_from(data, offset)
                offset += _EVENT.size
                name = os.fsdecode(data[offset : offset + length].rstrip(b"\0"))
                offset += length
                if mask & IN_IGNORED:
                    path = self._paths.pop(watch, None)
                    if path is not None and self._watches.get(path) == watch:
                        del self._watches[path]
                elif mask & IN_Q_OVERFLOW:
                    yield InotifyEvent("", mask, "")
                elif watch in self._paths:
                    yield InotifyEvent(self._paths[watch], mask, name)

    def close(self) -> None:
        """Give the instance back to the kernel."""
        with contextlib.suppress(OSError):
            os.close(self.descriptor)

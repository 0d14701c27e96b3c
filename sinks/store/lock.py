"""One sink per embedded store: a lock that says who holds it."""

import fcntl
import os
from pathlib import Path
from typing import Self

from sinks.errors import StoreLockedError


class StoreLock:
    """An advisory lock beside the folder of the store, freed by the kernel when its holder dies.

    chDB has a lock of its own, but its refusal names no reason.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder.with_name(folder.name + ".lock")
        self._descriptor = -1

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lock or raise :class:`StoreLockedError` naming the process that has it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise StoreLockedError(
                f"the store beside {self._path} is open in process {holder or 'of another user'}; "
                "one process holds an embedded store, the others ask it by SQL over HTTP. "
                "Stop that process, or give this one another folder"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give it back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

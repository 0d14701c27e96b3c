"""Looking at files beneath a folder, never led out of it, and reading them whole."""

import errno
import os
import stat
import time
from hashlib import blake2b
from types import TracebackType
from typing import Final, NamedTuple, Self

from producers.base.beneath import ABSENT, open_beneath
from producers.file.errors import FolderUnreachableError

HASH_BYTES: Final = 16
_READ_ATTEMPTS: Final = 3
_SECONDS_BETWEEN_ATTEMPTS: Final = 0.01
_UNREADABLE: Final = frozenset({errno.EACCES, errno.EPERM, errno.EIO, errno.ENXIO, errno.ETXTBSY})


class Content(NamedTuple):
    """What a file held, read whole while it did not change."""

    data: bytes
    hash: bytes
    lines: int


class Look(NamedTuple):
    """A file as it lies on the disk."""

    stat: os.stat_result
    content: Content | None
    """None when it was not read: too large, not permitted, or not a regular file."""
    too_large: bool = False
    unreadable: bool = False
    steady: bool = True
    """False when it changed during every attempt to read it."""


class Disk:
    """The files beneath one folder. Holds it open only between ``with`` and its end."""

    def __init__(self, root: bytes, limit: int) -> None:
        self.root = root
        self._limit = limit
        self._folder = -1
        self._noatime = os.O_NOATIME

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def release(self) -> None:
        """Let go of the folder, so that it can be unmounted."""
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1

    def _root(self) -> int:
        if self._folder < 0:
            try:
                self._folder = os.open(self.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError as error:
                raise FolderUnreachableError(
                    f"{os.fsdecode(self.root)} can't be opened: {error.strerror}"
                ) from None
        return self._folder

    def list(self, relative: bytes) -> int | None:
        """A descriptor of a folder for os.scandir, to be closed; None when it is not there.

        Raises OSError when it may not be read.
        """
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        try:
            return open_beneath(self._root(), relative or b".", flags)
        except OSError as error:
            if error.errno in ABSENT:
                return None
            raise

    def is_folder(self, relative: bytes) -> bool:
        """Whether a folder is there; raises OSError when that can't be known."""
        flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW
        try:
            os.close(open_beneath(self._root(), relative or b".", flags))
        except OSError as error:
            if error.errno in ABSENT:
                return False
            raise
        return True

    def stat(self, relative: bytes) -> os.stat_result | None:
        """A regular file or symbolic link; None when nothing like that is there.

        Raises :class:`~producers.file.errors.FolderUnreachableError` when the whole folder can't
        be looked at, OSError when a part of it may not be.
        """
        try:
            opened = open_beneath(self._root(), relative, os.O_PATH | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno in ABSENT:
                return None
            raise
        try:
            found = os.fstat(opened)
        finally:
            os.close(opened)
        return found if stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode) else None

    def look(self, relative: bytes) -> Look | None:
        """A file with its content, if it is regular and small enough; None when it is not there."""
        for attempt in range(_READ_ATTEMPTS):
            found = self.stat(relative)
            if found is None:
                return None
            if not stat.S_ISREG(found.st_mode):
                return Look(found, None)
            if found.st_size > self._limit:
                return Look(found, None, too_large=True)
            try:
                data = self._read(relative, found)
            except OSError as error:
                if error.errno in _UNREADABLE:
                    return Look(found, None, unreadable=True)
                data = None
            if data is not None:
                return Look(found, Content(data, content_hash(data), count_lines(data)))
            if attempt == _READ_ATTEMPTS - 1:
                return Look(found, None, steady=False)
            time.sleep(_SECONDS_BETWEEN_ATTEMPTS)
        raise AssertionError("the last attempt returns")

    def _read(self, relative: bytes, before: os.stat_result) -> bytes | None:
        """The content; None if the file was changed or replaced meanwhile."""
        opened = self._open(relative)
        try:
            if not _same(before, os.fstat(opened)):
                return None
            parts: list[bytes] = []
            wanted = before.st_size + 1
            while wanted > 0 and (part := os.read(opened, wanted)):
                parts.append(part)
                wanted -= len(part)
        finally:
            os.close(opened)
        after = self.stat(relative)
        unchanged = wanted == 1 and after is not None and _same(before, after)
        return b"".join(parts) if unchanged else None

    def _open(self, relative: bytes) -> int:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
        try:
            return open_beneath(self._root(), relative, flags | self._noatime)
        except PermissionError:
            if not self._noatime:
                raise
        opened = open_beneath(self._root(), relative, flags)
        self._noatime = 0  # only an owner may leave no trace of reading
        return opened


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return (
        one.st_ino == other.st_ino
        and one.st_dev == other.st_dev
        and one.st_size == other.st_size
        and one.st_mtime_ns == other.st_mtime_ns
    )


def content_hash(data: bytes) -> bytes:
    """BLAKE2b of 16 bytes."""
    return blake2b(data, digest_size=HASH_BYTES).digest()


def count_lines(data: bytes) -> int:
    """Lines as people count them: a last line without a line feed is one."""
    return data.count(b"\n") + (bool(data) and not data.endswith(b"\n"))

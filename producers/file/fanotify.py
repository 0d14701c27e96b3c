"""fanotify(7) by ctypes: a group that reports folder handle, name and pid for a file system.

Numbers and layouts are those of ``include/uapi/linux/fanotify.h``; names come with
FAN_REPORT_DFID_NAME (Linux 5.9), renames with both names with FAN_RENAME (Linux 5.17).
"""

import ctypes
import errno
import os
from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple

from producers.file.errors import KernelWatchError

FAN_MODIFY: Final = 0x0000_0002
FAN_CLOSE_WRITE: Final = 0x0000_0008
FAN_CREATE: Final = 0x0000_0100
FAN_DELETE: Final = 0x0000_0200
FAN_Q_OVERFLOW: Final = 0x0000_4000
FAN_RENAME: Final = 0x1000_0000
FAN_ONDIR: Final = 0x4000_0000

_FAN_CLOEXEC = 0x0000_0001
_FAN_NONBLOCK = 0x0000_0002
_FAN_UNLIMITED_QUEUE = 0x0000_0010
_FAN_REPORT_DFID_NAME = 0x0000_0C00
_FAN_MARK_ADD = 0x0000_0001
_FAN_MARK_FILESYSTEM = 0x0000_0100
_AT_FDCWD = -100
_METADATA_VERSION = 3
_OLD_NAME = 10
_NEW_NAME = 12
_LARGEST_HANDLE = 128

_METADATA: Final = Struct("=IBBHQii")
_RECORD: Final = Struct("=BBH")
_HANDLE: Final = Struct("=Ii")
_HANDLE_AT = _RECORD.size + 8

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fanotify_mark.argtypes = [
    ctypes.c_int,
    ctypes.c_uint,
    ctypes.c_uint64,
    ctypes.c_int,
    ctypes.c_char_p,
]

_ADVICE: Final = {
    errno.EPERM: "it needs the capability CAP_SYS_ADMIN",
    errno.EINVAL: "it needs Linux 5.17 or newer",
    errno.ENOSYS: "this kernel was built without it",
    errno.EMFILE: "raise fs.fanotify.max_user_groups",
    errno.ENOSPC: "raise fs.fanotify.max_user_marks",
    errno.EOPNOTSUPP: "this file system gives no file handles (overlay does not)",
    errno.EXDEV: "this is a part of a file system with an identity of its own (btrfs subvolume)",
    errno.ENODEV: "this file system has no identity (fsid)",
}


class Name(NamedTuple):
    """A name in a folder, which is known by its handle."""

    folder: bytes
    """``struct file_handle``; the same bytes name the same folder as long as it exists."""
    name: bytes


class Record(NamedTuple):
    """One event as the kernel reports it."""

    mask: int
    pid: int
    """0 for a process outside the reader's PID namespace."""
    name: Name | None
    """None for an overflow of the queue."""
    new_name: Name | None
    """Where FAN_RENAME moved it; None for other events."""


def _refused(what: str) -> KernelWatchError:
    number = ctypes.get_errno()
    advice = _ADVICE.get(number, "see fanotify(7)")
    return KernelWatchError(f"{what}: {os.strerror(number)}; {advice}")


def open_group(*, unlimited_queue: bool = False) -> int:
    """A descriptor that events are read from; raises :class:`KernelWatchError`."""
    flags = _FAN_REPORT_DFID_NAME | _FAN_CLOEXEC | _FAN_NONBLOCK
    if unlimited_queue:
        flags |= _FAN_UNLIMITED_QUEUE
    group: int = _libc.fanotify_init(flags, os.O_RDONLY | os.O_CLOEXEC)
    if group < 0:
        raise _refused("fanotify is not available")
    return group


def mark_file_system(group: int, path: bytes, mask: int) -> None:
    """Ask for the events of the whole file system that holds ``path``."""
    flags = _FAN_MARK_ADD | _FAN_MARK_FILESYSTEM
    if _libc.fanotify_mark(group, flags, mask, _AT_FDCWD, path) < 0:
        raise _refused(f"fanotify does not work for {os.fsdecode(path)}")


def read_handle(path: bytes) -> bytes:
    """The handle of a folder, as events name it (name_to_handle_at(2))."""
    buffer = ctypes.create_string_buffer(_HANDLE.pack(_LARGEST_HANDLE, 0), 8 + _LARGEST_HANDLE)
    mount = ctypes.c_int()
    if _libc.name_to_handle_at(_AT_FDCWD, path, buffer, ctypes.byref(mount), 0) < 0:
        raise _refused(f"no file handle for {os.fsdecode(path)}")
    length, _ = _HANDLE.unpack_from(buffer.raw)
    return buffer.raw[: _HANDLE.size + length]


def open_handle(mount: int, handle: bytes) -> int:
    """Open a folder by its handle; raises OSError (ESTALE when it is gone, EPERM)."""
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    opened: int = _libc.open_by_handle_at(mount, ctypes.create_string_buffer(handle), flags)
    if opened < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return opened


def _names(buffer: bytes, position: int, end: int) -> Iterator[tuple[int, Name]]:
    while position < end:
        kind, _, length = _RECORD.unpack_from(buffer, position)
        start = position + _HANDLE_AT
        handle_end = start + _HANDLE.size + _HANDLE.unpack_from(buffer, start)[0]
        name = buffer[handle_end : position + length]
        yield kind, Name(buffer[start:handle_end], name[: name.index(b"\0")])
        position += length


def parse(buffer: bytes) -> Iterator[Record]:
    """The events in what was read from a group; raises :class:`KernelWatchError` for other data."""
    position = 0
    while position < len(buffer):
        length, version, _, metadata, mask, _, pid = _METADATA.unpack_from(buffer, position)
        if version != _METADATA_VERSION or length < metadata:
            raise KernelWatchError(
                f"fanotify speaks version {version} of its format; this program reads "
                f"version {_METADATA_VERSION}"
            )
        name = new_name = None
        for kind, found in _names(buffer, position + metadata, position + length):
            if kind == _NEW_NAME:
                new_name = found
            else:
                name = found
        yield Record(mask, pid, name, new_name)
        position += length

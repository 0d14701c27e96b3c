"""Opening what lies beneath a folder without ever following a symbolic link.

A process with the right to read everything must not be led out of the folder that it looks at by
whoever can write there: every part of a path is resolved with openat2(2), RESOLVE_BENEATH and
RESOLVE_NO_SYMLINKS (Linux 5.6), and where there is no openat2, one folder after the other.
"""

import ctypes
import errno
import os
from typing import Final

ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
"""Errors that say that nothing is there (or a symbolic link is, which isn't followed)."""
_NOT_AVAILABLE: Final = frozenset({errno.ENOSYS, errno.EPERM, errno.EAGAIN})
"""Older kernels and seccomp filters; and a rename that got in the way."""
_SYS_OPENAT2: Final = 437
_RESOLVE: Final = 0x02 | 0x04 | 0x08  # NO_MAGICLINKS, NO_SYMLINKS, BENEATH


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


_libc = ctypes.CDLL(None, use_errno=True)


def open_beneath(folder: int, relative: bytes, flags: int) -> int:
    """Open ``relative`` (bytes, without ``..``) from an open folder on; raises OSError.

    The last part is followed no more than the others: a link there raises ELOOP, or is itself
    opened with O_PATH | O_NOFOLLOW.
    """
    how = _OpenHow(flags | os.O_CLOEXEC, 0, _RESOLVE)
    opened: int = _libc.syscall(
        _SYS_OPENAT2, folder, relative, ctypes.byref(how), ctypes.sizeof(how)
    )
    if opened >= 0:
        return opened
    number = ctypes.get_errno()
    if number in _NOT_AVAILABLE:
        return _open_stepwise(folder, relative, flags)
    raise OSError(number, os.strerror(number))


def _open_stepwise(folder: int, relative: bytes, flags: int) -> int:
    """The same where the kernel or a seccomp filter has no openat2: one folder after the other."""
    *folders, name = relative.split(b"/")
    current = os.dup(folder)
    try:
        for each in folders:
            step = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            following = os.open(each, step, dir_fd=current)
            os.close(current)
            current = following
        return os.open(name or b".", flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=current)
    finally:
        os.close(current)

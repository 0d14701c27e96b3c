"""Decodes what ``program.bpf.c`` writes into the ring buffer; change both together.

File names and arguments are bytes to the kernel; as text they are what
:func:`producers.base.path_text.path_text` writes, with ``\\xNN`` for what is not UTF-8.
"""

import struct
from typing import Final

from msgspec import Struct

from producers.base.path_text import path_text
from producers.process.errors import RecordError

EXEC: Final = 1
EXIT: Final = 2

_HEAD = struct.Struct("=QQQIIIIIHHHHHHHH16s")

_FORKED = 1
_CGROUP_TRUNCATED = 2
_EXE_TRUNCATED = 4
_CWD_TRUNCATED = 8
_ARGV_UNREADABLE = 16
_INCOMPLETE = _CGROUP_TRUNCATED | _EXE_TRUNCATED | _CWD_TRUNCATED | _ARGV_UNREADABLE

_CACHE_LIMIT = 4096
# In front of a path whose first components are missing.
_CUT = "..."


class Record(Struct, gc=False):
    """One exec or exit as the kernel saw it. Times are nanoseconds of the boot clock."""

    action: int
    """:data:`EXEC` or :data:`EXIT`."""
    timestamp: int
    start: int
    """When the thread group's leader was forked; with the pid it names the process."""
    pid: int
    """Thread group id in the initial PID namespace."""
    parent_pid: int
    """The process that forked it, even if that has died since; if it was forked before the program
    was attached, its parent at the time of the event."""
    parent_start: int
    uid: int
    status: int
    """As wait(2) gives it; 0 for an exec."""
    comm: str
    cgroup: str
    hostname: str
    argv: bytes
    """The arguments, each with a NUL behind it, at most 4096 bytes; empty for an exit."""
    argv_truncated: bool
    exe: str
    """Of an exec; empty for an exit."""
    cwd: str
    """Of an exec, and of an exit of a process that never called exec."""
    forked: bool
    """An exit of a process that never called exec."""
    incomplete: bool
    """A path was deeper than the program follows, or the arguments could not be read."""

    @property
    def exit_code(self) -> int | None:
        """0 to 255, or None after death by a signal."""
        return None if self.status & 0x7F else self.status >> 8 & 0xFF

    @property
    def signal(self) -> int | None:
        """The signal that killed the process, or None."""
        return self.status & 0x7F or None

    @property
    def core_dumped(self) -> bool:
        """Whether the kernel wrote a core dump, or handed it to a core_pattern program."""
        return bool(self.status & 0x80)


def split_arguments(raw: bytes) -> list[str]:
    """The arguments of a command line in which each has a NUL behind it (the last may lack it)."""
    if not raw:
        return []
    text = path_text(raw)
    return (text[:-1] if text.endswith("\0") else text).split("\0")


class RecordDecoder:
    """Decodes records. It remembers texts that repeat: paths, cgroups, host and command names."""

    def __init__(self) -> None:
        self._texts: dict[bytes, str] = {}
        self._paths: dict[bytes, str] = {}

    def decode(self, raw: bytes) -> Record:
        """One record.

        :raises RecordError: its size or lengths disagree, or its action is unknown
        """
        try:
            (
                timestamp,
                start,
                parent_start,
                pid,
                parent_pid,
                uid,
                status,
                argv_size,
                action,
                flags,
                cgroup_length,
                hostname_length,
                argv_length,
                exe_length,
                cwd_length,
                _,
                comm,
            ) = _HEAD.unpack_from(raw)
        except struct.error:
            raise RecordError(f"a record has at least {_HEAD.size} bytes, got {len(raw)}") from None
        cgroup_end = _HEAD.size + cgroup_length
        hostname_end = cgroup_end + hostname_length
        argv_end = hostname_end + argv_length
        exe_end = argv_end + exe_length
        cwd_end = exe_end + cwd_length
        # The kernel's side appends nothing behind the sections.
        if cwd_end != len(raw):
            raise RecordError(f"the sections of a record end at byte {cwd_end} of {len(raw)}")
        if action != EXEC and action != EXIT:
            raise RecordError(f"a record's action is 1 or 2, got {action}")
        return Record(
            action,
            timestamp,
            start,
            pid,
            parent_pid,
            parent_start,
            uid,
            status,
            self._text(comm),
            self._cgroup(raw[_HEAD.size : cgroup_end], flags & _CGROUP_TRUNCATED),
            self._text(raw[cgroup_end:hostname_end]),
            raw[hostname_end:argv_end],
            argv_size > argv_length,
            self._path(raw[argv_end:exe_end], flags & _EXE_TRUNCATED) if action == EXEC else "",
            self._path(raw[exe_end:cwd_end], flags & _CWD_TRUNCATED)
            if action == EXEC or flags & _FORKED
            else "",
            bool(flags & _FORKED),
            bool(flags & _INCOMPLETE),
        )

    def _text(self, raw: bytes) -> str:
        text = self._texts.get(raw)
        if text is None:
            if len(self._texts) >= _CACHE_LIMIT:
                self._texts.clear()
            text = self._texts[raw] = path_text(raw.split(b"\0", 1)[0])
        return text

    def _cgroup(self, raw: bytes, truncated: int) -> str:
        """A cgroup's path, written from the root down; the root itself has no components."""
        return _CUT + self._text(raw) if truncated else self._text(raw) or "/"

    def _path(self, raw: bytes, truncated: int) -> str:
        """A path from its components, the last one first, each with a NUL behind it."""
        path = self._paths.get(raw)
        if path is None:
            if len(self._paths) >= _CACHE_LIMIT:
                self._paths.clear()
            components = raw.split(b"\0")
            components.reverse()
            path = self._paths[raw] = path_text(b"/".join(components)) or "/"
        return _CUT + path if truncated else path

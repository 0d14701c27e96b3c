"""File systems mounted beneath a watched folder: neither fanotify nor inotify tells of them.

Source: ``/proc/self/mountinfo`` as proc_pid_mountinfo(5) describes it; poll(2) on it tells of every
change in the mount namespace.
"""

import re
import select
from pathlib import Path
from typing import Final, NamedTuple

_ESCAPE: Final = re.compile(rb"\\([0-7]{3})")
_REMOTE: Final = re.compile(r"nfs\d?|cifs|smb3|ceph|9p|glusterfs|lustre|afs|fuse\..*|virtiofs")


class Mount(NamedTuple):
    """One mounted file system."""

    point: bytes
    identity: bytes
    """Tells it from another one that is mounted there later."""
    fs_type: str

    @property
    def is_remote(self) -> bool:
        """Whether others may change it without this kernel noticing."""
        return _REMOTE.fullmatch(self.fs_type) is not None


def parse_mounts(text: bytes) -> list[Mount]:
    """The mounts in the order in which they were made; a later one hides an earlier one."""
    found: list[Mount] = []
    for line in text.splitlines():
        before, _, after = line.partition(b" - ")
        fields = before.split(b" ")
        if len(fields) < 5 or not after:
            continue
        point = _ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), fields[4])
        fs_type = after.split(b" ", 1)[0].decode("ascii", "replace")
        found.append(Mount(point, b" ".join((fields[0], fields[2], fields[3])), fs_type))
    return found


class MountTable:
    """The mounts that this process sees."""

    def __init__(self, path: Path = Path("/proc/self/mountinfo")) -> None:
        self._path = path
        self._file = path.open("rb", buffering=0)
        self._poll = select.poll()
        self._poll.register(self._file, select.POLLERR | select.POLLPRI)
        self._mounts = parse_mounts(path.read_bytes())

    def refresh(self) -> bool:
        """Read anew if the kernel says that something changed; whether it did."""
        if not self._poll.poll(0):
            return False
        self._mounts = parse_mounts(self._path.read_bytes())
        return True

    def beneath(self, folder: bytes) -> dict[bytes, Mount]:
        """What is mounted beneath a folder, by mount point."""
        inside = folder.rstrip(b"/") + b"/"
        return {each.point: each for each in self._mounts if each.point.startswith(inside)}

    def holding(self, path: bytes) -> Mount | None:
        """The mount that a path lies on."""
        found: Mount | None = None
        for each in self._mounts:
            inside = each.point.rstrip(b"/") + b"/"
            longer = found is None or len(each.point) >= len(found.point)
            if longer and (path == each.point or path.startswith(inside)):
                found = each
        return found

    def close(self) -> None:
        """Close it."""
        self._file.close()

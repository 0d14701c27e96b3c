"""What one cgroup (or the node) uses, and how the kernel's small text files are read."""

import os
from typing import Final

from msgspec import Struct

_CHUNK: Final = 65536


class Usage(Struct, kw_only=True):
    """The figures of a cgroup event, named as there; None where the kernel does not tell."""

    cpu_usage_us: int | None = None
    cpu_user_us: int | None = None
    cpu_system_us: int | None = None
    cpu_throttled_us: int | None = None
    memory_bytes: int | None = None
    memory_working_set_bytes: int | None = None
    memory_anon_bytes: int | None = None
    memory_file_bytes: int | None = None
    memory_limit_bytes: int | None = None
    oom_kills: int | None = None
    io_read_bytes: int | None = None
    io_write_bytes: int | None = None
    io_read_ops: int | None = None
    io_write_ops: int | None = None
    net_rx_bytes: int | None = None
    net_tx_bytes: int | None = None
    pids: int | None = None
    psi_cpu_some_us: int | None = None
    psi_memory_some_us: int | None = None
    psi_io_some_us: int | None = None


COUNTERS: Final = (
    "cpu_usage_us",
    "cpu_user_us",
    "cpu_system_us",
    "cpu_throttled_us",
    "oom_kills",
    "io_read_bytes",
    "io_write_bytes",
    "io_read_ops",
    "io_write_ops",
    "net_rx_bytes",
    "net_tx_bytes",
    "psi_cpu_some_us",
    "psi_memory_some_us",
    "psi_io_some_us",
)
"""The cumulative fields."""
GAUGES: Final = tuple(name for name in Usage.__struct_fields__ if name not in COUNTERS)
"""The fields that go up and down."""


class Reader:
    """Reads small kernel files; remembers which ones were refused."""

    def __init__(self) -> None:
        self.denied: dict[str, str] = {}
        """File name → why, for what exists and could not be read."""

    def read(self, path: str) -> bytes | None:
        """The whole file; None when it isn't there, not supported, or not permitted."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            self._refused(path, error)
            return None
        try:
            chunks = []
            while chunk := os.read(descriptor, _CHUNK):
                chunks.append(chunk)
            return b"".join(chunks)
        except OSError as error:
            self._refused(path, error)
            return None
        finally:
            os.close(descriptor)

    def number(self, path: str) -> int | None:
        """A file of one whole number; None for anything else (``max``)."""
        text = self.read(path)
        return whole(text.strip()) if text is not None else None

    def keyed(self, path: str) -> dict[bytes, int]:
        """A flat-keyed file (``name value`` per line); empty when it can't be read."""
        text = self.read(path)
        return flat_keyed(text) if text is not None else {}

    def _refused(self, path: str, error: OSError) -> None:
        if isinstance(error, PermissionError) and len(self.denied) < 32:
            self.denied[path.rpartition("/")[2]] = f"{path}: {error.strerror}"


def whole(text: bytes) -> int | None:
    """A whole number of a kernel file, else None."""
    return int(text) if text.isdigit() else None


def flat_keyed(text: bytes) -> dict[bytes, int]:
    """``name value`` lines; lines of any other form are left out."""
    pairs = {}
    for line in text.splitlines():
        name, _, value = line.partition(b" ")
        if value.isdigit():
            pairs[name] = int(value)
    return pairs


def pressure_total(text: bytes | None) -> int | None:
    """Microseconds of the ``some`` line of a PSI file (Documentation/accounting/psi.rst)."""
    if text is None:
        return None
    for line in text.splitlines():
        if line.startswith(b"some "):
            return whole(line.rpartition(b"total=")[2])
    return None


def difference(total: int | None, part: int | None) -> int | None:
    """``total - part``, never below 0 (the two are read one after the other); None if unknown."""
    if total is None or part is None:
        return None
    return max(0, total - part)

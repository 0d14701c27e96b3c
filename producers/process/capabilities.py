"""Which privileges this process has, and which it would need."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

# include/uapi/linux/capability.h
_BITS: Final = {
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_NET_ADMIN": 12,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
}
# Kernels before 5.8 know only CAP_SYS_ADMIN, and it still implies these.
_IMPLIED_BY_ADMIN: Final = frozenset({"CAP_PERFMON", "CAP_BPF"})


def effective_capabilities(status: Path = Path("/proc/self/status")) -> int:
    """The effective set, as a bit mask."""
    for line in status.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def missing_capabilities(names: Iterable[str], effective: int | None = None) -> list[str]:
    """Those of the named capabilities that this process lacks, in order."""
    bits = effective_capabilities() if effective is None else effective
    admin = bits >> _BITS["CAP_SYS_ADMIN"] & 1
    return [
        name
        for name in names
        if not bits >> _BITS[name] & 1 and not (admin and name in _IMPLIED_BY_ADMIN)
    ]

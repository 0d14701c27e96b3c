"""What /proc tells about living processes: for the seed at the start, and where BPF cannot run."""

import os
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from producers.base.path_text import path_text

_PF_FORKNOEXEC = 0x40
# As much as the BPF program reads.
_ARGV_LIMIT = 4096


class LivingProcess(Struct, gc=False):
    """One process of /proc. Fields that this process may not read are empty."""

    pid: int
    ppid: int
    start_ticks: int
    """Since boot; field 22 of ``stat``."""
    uid: int
    """The real one."""
    comm: str
    argv: bytes
    """Each argument with a NUL behind it, at most 4096 bytes."""
    argv_truncated: bool
    exe: str
    cwd: str
    cgroup: str
    uts_namespace: str
    """``uts:[inode]``."""
    threads: int
    forked: bool
    """It never called exec."""


def living_pids() -> list[int]:
    """The processes that live now."""
    return [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit()]


def living_processes() -> Iterator[LivingProcess]:
    """All of them, kernel threads left out."""
    for pid in living_pids():
        process = read_process(pid)
        if process is not None:
            yield process


def read_process(pid: int) -> LivingProcess | None:
    """One process; None if it is gone, a zombie that nothing is known of, or a kernel thread."""
    folder = f"/proc/{pid}"
    try:
        stat = _read(f"{folder}/stat")
        status = _read(f"{folder}/status")
        argv = _read(f"{folder}/cmdline", _ARGV_LIMIT + 1)
    except OSError:
        return None
    name_end = stat.rindex(b")")
    # From field 3 of proc_pid_stat(5): state, ppid, …, flags (9), …, start time (22).
    fields = stat[name_end + 2 :].split()
    exe = _link(f"{folder}/exe")
    if not argv and not exe and _is_kernel_thread(int(fields[6])):
        return None
    return LivingProcess(
        pid=pid,
        ppid=int(fields[1]),
        start_ticks=int(fields[19]),
        uid=_status_number(status, b"\nUid:"),
        comm=path_text(stat[stat.index(b"(") + 1 : name_end]),
        argv=argv[:_ARGV_LIMIT],
        argv_truncated=len(argv) > _ARGV_LIMIT,
        exe=exe,
        cwd=_link(f"{folder}/cwd"),
        cgroup=_cgroup(folder),
        uts_namespace=_link(f"{folder}/ns/uts"),
        threads=int(fields[17]),
        forked=bool(int(fields[6]) & _PF_FORKNOEXEC),
    )


def uses_cgroup_v1() -> bool:
    """Whether the memory controller is on a v1 hierarchy (also on hybrid systems).

    ``/proc/cgroups`` gives the hierarchy's number, 0 for the v2 one; kernels without v1 memory
    controller do not list it.
    """
    try:
        lines = Path("/proc/cgroups").read_text(encoding="ascii").splitlines()
    except OSError:
        return False
    return any(line.split()[0] == "memory" and line.split()[1] != "0" for line in lines)


def in_initial_pid_namespace() -> bool:
    """Whether pids here are the kernel's (include/linux/proc_ns.h: PROC_PID_INIT_INO)."""
    return _link("/proc/self/ns/pid") == f"pid:[{0xEFFFFFFC}]"


def _is_kernel_thread(flags: int) -> bool:
    return bool(flags & 0x00200000)


def _read(path: str, limit: int = 65536) -> bytes:
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - three times as fast as Path
        return file.read(limit)


def _link(path: str) -> str:
    try:
        target = os.readlink(path.encode())  # noqa: PTH115 - as bytes, which Path cannot
        return path_text(target.removesuffix(b" (deleted)"))
    except OSError:
        return ""


def _status_number(status: bytes, name: bytes) -> int:
    at = status.find(name)
    return int(status[at + len(name) :].split(None, 1)[0]) if at >= 0 else -1


def _cgroup(folder: str) -> str:
    """The path in the hierarchy that the BPF program takes: v1 memory, else v2."""
    try:
        lines = _read(f"{folder}/cgroup").splitlines()
    except OSError:
        return ""
    unified = ""
    for line in lines:
        number, controllers, path = line.split(b":", 2)
        if b"memory" in controllers.split(b","):
            return path_text(path)
        if number == b"0":
            unified = path_text(path)
    return unified

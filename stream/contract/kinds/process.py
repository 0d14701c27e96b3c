"""Kind ``process``: a program started or ended."""

from typing import Literal

from stream.contract.event import Event, KindDefinition


class ProcessEvent(Event, kw_only=True, omit_defaults=True):
    """An exec or an exit. The exit repeats the whole record, so that one row tells all."""

    action: Literal["exec", "exit"]
    pid: int
    """Thread group id in the initial PID namespace."""
    ppid: int
    uid: int
    exec_id: str
    """Unique in the cluster for one process: all its execs and its exit share it."""
    parent_exec_id: str = ""
    comm: str
    """The kernel's short name, at most 15 bytes."""
    exe: str = ""
    argv: list[str] = []  # noqa: RUF012 - msgspec copies an empty list default
    argv_truncated: bool = False
    cwd: str = ""
    hostname: str = ""
    """Nodename of the process's UTS namespace: inside a container, its host name."""
    cgroup: str = ""
    start_ts: str = ""
    """When the process (thread group leader) started."""
    duration_us: int | None = None
    """From start to exit; null on ``exec``."""
    exit_code: int | None = None
    """0 to 255; null on ``exec`` and after death by a signal."""
    signal: int | None = None
    """The signal that killed it; null otherwise."""
    core_dumped: bool = False
    forked: bool = False
    """An exit of a process that never called exec; it has no arguments and no exec row."""
    degraded: bool = False
    """Fields may be missing: observed without BPF, or the exec was lost or forgotten."""
    notebook: bool = False
    """A notebook cell, reported by the IPython hook, not a process of the kernel."""


DEFINITION = KindDefinition("process", 1, ProcessEvent, "programs that start and end")

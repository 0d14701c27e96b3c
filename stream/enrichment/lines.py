"""What a worker reads of a raw line: fewer fields than the event has, decoded faster.

Fields that a worker adds are declared too, so that a line which brings one already is found. Text
that only passes through is not looked at here.
"""

from functools import cache
from typing import Annotated, Any, Final, Literal, cast

import msgspec
from msgspec import Meta, Raw, Struct

from stream.contract.event import Enrichment, LogPosition
from stream.contract.kinds.file import FileAction
from stream.contract.kinds.hostpath import HostPathEntry
from stream.contract.kinds.pod import PodContainer

Refused = Annotated[str, Meta(pattern="(?!)")]
"""Type of a field that only a worker may add: no value fits, so a line that has it is refused."""

MAXIMUM_BOOT: Final = 128
"""Characters of a boot's name."""
Count = Annotated[int, Meta(ge=0, le=2**53)]
"""A number that can be summed up many times and still fits 64 bits."""
Pid = Annotated[int, Meta(ge=0, le=2**31)]
Name = Annotated[str, Meta(max_length=256)]
Path = Annotated[str, Meta(max_length=32_768)]
"""A path, in which every byte may have been written as ``\\xNN``."""

_NO_ARGUMENTS: Final = Raw(b"[]")


class Line(Struct, kw_only=True, gc=False):
    """The identity that every line carries."""

    ts: str
    node: Name
    boot: Name
    seq: Count


class ProcessLine(Line, kw_only=True, gc=False):
    """Kind ``process``. ``argv`` stays JSON until a command line is seen for the first time."""

    action: Literal["exec", "exit"]
    pid: Pid
    ppid: Pid
    exec_id: Name
    comm: Name
    parent_exec_id: Name = ""
    exe: Path = ""
    argv: Raw = _NO_ARGUMENTS
    cwd: Path = ""
    hostname: Name = ""
    cgroup: Path = ""
    duration_us: Count | None = None
    exit_code: Count | None = None
    signal: Count | None = None
    core_dumped: bool = False
    forked: bool = False
    notebook: bool = False
    class_: str = msgspec.field(default="", name="~class")
    """Set by enrichment."""
    purpose: str = msgspec.field(default="", name="~purpose")
    """Set by enrichment."""


class FileLine(Line, kw_only=True, gc=False):
    """Kind ``file``."""

    action: FileAction
    path: Path
    old_path: Path = ""
    size: Count | None = None
    lines: Count | None = None
    writer_pid: Pid | None = None
    writer_exec_id: Name = ""
    size_delta: int | None = msgspec.field(default=None, name="~size_delta")
    """Set by enrichment."""
    lines_delta: int | None = msgspec.field(default=None, name="~lines_delta")
    """Set by enrichment."""


class SnapshotLine(Line, kw_only=True, gc=False):
    """Kind ``snapshot``, without the content."""

    path: Path
    size: Count


class HostPathLine(Line, kw_only=True, gc=False):
    """Kind ``hostpath``."""

    action: Literal["listing", "appeared", "changed", "vanished"]
    root: Path
    path: Path = ""
    type: str = ""
    size: Count | None = None
    entries: list[HostPathEntry] = []
    part: Count = 0
    parts: Count = 1
    missing: bool = False


class CgroupLine(Line, kw_only=True, gc=False):
    """Kind ``cgroup``."""

    scope: Literal["container", "pod", "node"]
    cgroup: Path
    cgroup_id: Name = ""
    pod_uid: Name = ""
    container_id: Name = ""
    cpu_usage_us: Count | None = None
    cpu_user_us: Count | None = None
    cpu_system_us: Count | None = None
    cpu_throttled_us: Count | None = None
    memory_bytes: Count | None = None
    memory_working_set_bytes: Count | None = None
    memory_anon_bytes: Count | None = None
    memory_file_bytes: Count | None = None
    memory_limit_bytes: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    oom_kills: Count | None = None
    io_read_bytes: Count | None = None
    io_write_bytes: Count | None = None
    io_read_ops: Count | None = None
    io_write_ops: Count | None = None
    net_rx_bytes: Count | None = None
    net_tx_bytes: Count | None = None
    pids: Count | None = None
    psi_cpu_some_us: Count | None = None
    psi_memory_some_us: Count | None = None
    psi_io_some_us: Count | None = None
    last: bool = False


class PodLine(Line, kw_only=True, gc=False):
    """Kind ``pod``."""

    action: Literal["observed", "deleted"]
    pod_uid: Name
    pod: Name = ""
    namespace: Name = ""
    labels: dict[str, str] = {}
    workload_kind: Name = ""
    workload: Name = ""
    containers: list[PodContainer] = []
    host_network: bool = False
    hostname: Name = ""


class ProgressLine(Line, kw_only=True, gc=False):
    """Kind ``progress``."""

    producer: str
    watermark: str
    next_seq: Count
    oldest_age_ms: Count = 0
    closing: bool = False


class LossLine(Line, kw_only=True, gc=False):
    """Kind ``loss``."""

    stage: Name
    kind: Name
    reason: Name
    count: Count | None = None
    lost_boot: Name = ""
    first_seq: Count | None = None
    last_seq: Count | None = None


LINES: Final[dict[str, type[Line]]] = {
    "process": ProcessLine,
    "file": FileLine,
    "snapshot": SnapshotLine,
    "hostpath": HostPathLine,
    "cgroup": CgroupLine,
    "pod": PodLine,
    "progress": ProgressLine,
    "loss": LossLine,
}
"""What is read of each kind."""

_ADDED_BY_KIND: Final[dict[str, tuple[str, ...]]] = {
    "process": ("class", "purpose", "sources", "target", "build_id"),
    "file": ("size_delta", "lines_delta"),
}


@cache
def added_fields(kind: str) -> tuple[str, ...]:
    """The fields that a worker adds to a line of a kind: common ones, then the kind's own.

    What the kind's raw event declares itself (a pod's ``namespace``) is never added to it.
    """
    own = LINES[kind].__struct_encode_fields__
    common = (*Enrichment.__struct_fields__, *LogPosition.__struct_fields__)
    return tuple(name for name in common if name not in own) + _ADDED_BY_KIND.get(kind, ())


def _with_guards(kind: str) -> type[Line]:
    """The kind's line plus a field for each that only a worker may add."""
    line = LINES[kind]
    guards: list[Any] = [
        (f"refused_{name}", Refused, msgspec.field(default="", name=name))
        for name in added_fields(kind)
    ]
    return cast(
        "type[Line]",
        msgspec.defstruct(line.__name__, guards, bases=(line,), kw_only=True, gc=False),
    )


GUARDED_LINES: Final[dict[str, type[Line]]] = {kind: _with_guards(kind) for kind in LINES}
"""What is decoded of each kind."""

"""What a worker reads of a raw line: fewer fields than the event has, decoded faster.

Fields that a worker adds are declared too, so that a line which brings one already is found. Text
that only passes through is not looked at here.
"""

from typing import Any, Final, Literal, cast

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from stream.contract.event import Enrichment, LogPosition
from stream.contract.kinds.file import FileAction
from stream.contract.kinds.hostpath import HostPathEntry
from stream.contract.kinds.pod import PodContainer

Added = Raw | UnsetType
"""Type of a field that only a worker may add."""

_NO_ARGUMENTS: Final = Raw(b"[]")


class Line(Struct, kw_only=True, gc=False):
    """The identity that every line carries."""

    ts: str
    node: str
    boot: str
    seq: int


class ProcessLine(Line, kw_only=True, gc=False):
    """Kind ``process``. ``argv`` stays JSON until a command line is seen for the first time."""

    action: Literal["exec", "exit"]
    pid: int
    ppid: int
    exec_id: str
    comm: str
    parent_exec_id: str = ""
    exe: str = ""
    argv: Raw = _NO_ARGUMENTS
    cwd: str = ""
    hostname: str = ""
    cgroup: str = ""
    duration_us: int | None = None
    exit_code: int | None = None
    signal: int | None = None
    core_dumped: bool = False
    notebook: bool = False
    class_: str | UnsetType = msgspec.field(default=UNSET, name="class")
    purpose: str | UnsetType = UNSET


class FileLine(Line, kw_only=True, gc=False):
    """Kind ``file``."""

    action: FileAction
    path: str
    old_path: str = ""
    size: int | None = None
    lines: int | None = None
    writer_pid: int | None = None
    writer_exec_id: str = ""
    size_delta: int | UnsetType | None = UNSET
    lines_delta: int | UnsetType | None = UNSET


class SnapshotLine(Line, kw_only=True, gc=False):
    """Kind ``snapshot``, without the content."""

    path: str
    size: int


class HostPathLine(Line, kw_only=True, gc=False):
    """Kind ``hostpath``."""

    action: Literal["listing", "appeared", "changed", "vanished"]
    root: str
    path: str = ""
    type: str = ""
    size: int | None = None
    entries: list[HostPathEntry] = []
    part: int = 0
    parts: int = 1
    missing: bool = False


class CgroupLine(Line, kw_only=True, gc=False):
    """Kind ``cgroup``."""

    scope: Literal["container", "pod", "node"]
    cgroup: str
    cgroup_id: str = ""
    pod_uid: str = ""
    container_id: str = ""
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
    last: bool = False


class PodLine(Line, kw_only=True, gc=False):
    """Kind ``pod``."""

    action: Literal["observed", "deleted"]
    pod_uid: str
    pod: str = ""
    namespace: str = ""
    labels: dict[str, str] = {}
    workload_kind: str = ""
    workload: str = ""
    containers: list[PodContainer] = []
    host_network: bool = False
    hostname: str = ""


class ProgressLine(Line, kw_only=True, gc=False):
    """Kind ``progress``."""

    producer: str
    watermark: str
    next_seq: int
    oldest_age_ms: int = 0
    closing: bool = False


class LossLine(Line, kw_only=True, gc=False):
    """Kind ``loss``."""

    stage: str
    kind: str
    reason: str
    count: int | None = None
    lost_boot: str = ""
    first_seq: int | None = None
    last_seq: int | None = None


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


def added_fields(kind: str) -> tuple[str, ...]:
    """The fields that a worker adds to a line of a kind: common ones, then the kind's own.

    What the kind's raw event declares itself (a pod's ``namespace``) is never added to it.
    """
    own = set(LINES[kind].__struct_encode_fields__) - set(_ADDED_BY_KIND.get(kind, ()))
    common = (*Enrichment.__struct_fields__, *LogPosition.__struct_fields__)
    return tuple(name for name in common if name not in own) + _ADDED_BY_KIND.get(kind, ())


def _with_guards(kind: str) -> type[Line]:
    """The kind's line plus a field for each that only a worker may add."""
    line = LINES[kind]
    declared = line.__struct_encode_fields__
    guards: list[Any] = [
        (f"guard_{name}", Added, msgspec.field(default=UNSET, name=name))
        for name in added_fields(kind)
        if name not in declared
    ]
    return cast(
        "type[Line]",
        msgspec.defstruct(line.__name__, guards, bases=(line,), kw_only=True, gc=False),
    )


GUARDED_LINES: Final[dict[str, type[Line]]] = {kind: _with_guards(kind) for kind in LINES}
"""What is decoded of each kind."""


def guard_attributes(kind: str) -> tuple[str, ...]:
    """The attributes of a decoded line that must be unset."""
    line = GUARDED_LINES[kind]
    added = set(added_fields(kind))
    pairs = zip(line.__struct_fields__, line.__struct_encode_fields__, strict=True)
    return tuple(attribute for attribute, name in pairs if name in added)

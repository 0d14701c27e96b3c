"""Every metric that a bucket row can carry: the metric columns of the one wide bucket table.

A row's metrics follow the fields of :class:`~stream.contract.buckets.BucketRow` in the same JSON
object. A metric that doesn't belong to the row's kind, or that could not be measured in that
window, is absent: "not known" is never written as 0. All columns are therefore nullable.

How to combine rows of one scope, of several nodes or of several windows:

``sum``    amounts add up, over nodes and over time.
``max``    the highest of them over time; over nodes the sum of each node's (an upper bound).
``last``   the value at the end: the latest over time, the sum over nodes.
``mean``   over nodes the sum; over time the mean weighted by ``samples``.
``rate``   per second of what was measured; make it anew from the amounts (see ``description``).
``distinct`` a count of different things per node and window; it can't be added up.
"""

from dataclasses import dataclass
from typing import Final, Literal

MetricType = Literal["UInt64", "Int64", "Float64"]
Combine = Literal["sum", "max", "last", "mean", "rate", "distinct"]

PROCESS_CLASSES: Final = (
    "compiler",
    "linker",
    "build_tool",
    "interpreter",
    "shell",
    "user",
    "system",
    "other",
)
"""Values of a process's ``class``; each has a metric ``execs_<class>``."""


@dataclass(frozen=True, slots=True)
class BucketMetric:
    """One metric column."""

    name: str
    type: MetricType
    """ClickHouse type of the column, inside ``Nullable``."""
    unit: str
    combine: Combine
    kinds: tuple[str, ...]
    """The kinds of rows that carry it."""
    description: str


def _metrics(kind: str, *rows: tuple[str, MetricType, str, Combine, str]) -> list[BucketMetric]:
    return [
        BucketMetric(name, typ, unit, how, (kind,), text) for name, typ, unit, how, text in rows
    ]


def _gauge(name: str, what: str) -> list[tuple[str, MetricType, str, Combine, str]]:
    return [
        (f"{name}_last", "UInt64", "bytes", "last", f"{what} at the last sample"),
        (f"{name}_mean", "Float64", "bytes", "mean", f"{what}, mean of the samples"),
        (f"{name}_max", "UInt64", "bytes", "max", f"{what}, highest of the samples; above a pod "
         "the highest sum of one tick"),
    ]  # fmt: skip


_COMMON: Final = [
    BucketMetric(
        "clamped",
        "UInt64",
        "events",
        "sum",
        ("file", "snapshot", "process", "hostpath", "cgroup", "pod", "loss"),
        "events whose time was far ahead of their producer's clock; counted in this window instead",
    )
]

_CGROUP: Final = _metrics(
    "cgroup",
    ("cpu_millicores", "Float64", "millicores", "rate",
     "1000 * cpu_us / measured_us: mean CPU use over the measured part of the window"),
    ("measured_us", "UInt64", "microseconds", "max",
     "how much of the window lies between two samples; at most 10 s"),
    ("cpu_us", "UInt64", "microseconds", "sum", "CPU time used"),
    ("cpu_user_us", "UInt64", "microseconds", "sum", "CPU time in user mode"),
    ("cpu_system_us", "UInt64", "microseconds", "sum", "CPU time in the kernel"),
    ("cpu_throttled_us", "UInt64", "microseconds", "sum", "time stopped by a CPU limit"),
    *_gauge("memory_bytes", "memory charged"),
    *_gauge("memory_working_set_bytes", "memory less inactive file cache"),
    ("memory_anon_bytes_last", "UInt64", "bytes", "last", "anonymous memory at the last sample"),
    ("memory_file_bytes_last", "UInt64", "bytes", "last", "file cache at the last sample"),
    ("memory_limit_bytes_last", "UInt64", "bytes", "last",
     "memory limit of a container, pod or node; absent where there is none"),
    ("oom_kills", "UInt64", "kills", "sum", "processes killed for lack of memory"),
    ("io_read_bytes", "UInt64", "bytes", "sum", "read from block devices"),
    ("io_write_bytes", "UInt64", "bytes", "sum", "written to block devices"),
    ("io_read_ops", "UInt64", "operations", "sum", "reads from block devices"),
    ("io_write_ops", "UInt64", "operations", "sum", "writes to block devices"),
    ("net_rx_bytes", "UInt64", "bytes", "sum", "received in the pod's own network namespace"),
    ("net_tx_bytes", "UInt64", "bytes", "sum", "sent from the pod's own network namespace"),
    ("pids_last", "UInt64", "processes", "last", "processes and threads at the last sample"),
    ("pids_max", "UInt64", "processes", "max", "most processes and threads at one sample"),
    ("psi_cpu_some_us", "UInt64", "microseconds", "sum", "time in which some task waited for CPU"),
    ("psi_memory_some_us", "UInt64", "microseconds", "sum",
     "time in which some task waited for memory"),
    ("psi_io_some_us", "UInt64", "microseconds", "sum", "time in which some task waited for IO"),
    ("counter_resets", "UInt64", "resets", "sum",
     "counters that went backwards; their increase is unknown and left out"),
    ("sample_gaps", "UInt64", "gaps", "sum",
     "pairs of samples too far apart to tell when the increase happened; left out"),
)  # fmt: skip

_PROCESS: Final = _metrics(
    "process",
    ("execs", "UInt64", "programs", "sum", "programs started (exec), by the time of the exec"),
    ("exits", "UInt64", "processes", "sum", "processes that ended, by the time of the exit"),
    ("failures", "UInt64", "processes", "sum", "exits with a code other than 0"),
    ("crashes", "UInt64", "processes", "sum", "deaths by a signal"),
    ("core_dumps", "UInt64", "processes", "sum", "deaths with a core dump"),
    ("run_us", "UInt64", "microseconds", "sum", "durations of the processes that ended"),
    ("programs", "UInt64", "programs", "distinct",
     "different executables started; 1024 stands for that many or more"),
    ("builds", "UInt64", "processes", "sum", "exits of processes of purpose build"),
    ("build_failures", "UInt64", "processes", "sum", "builds that failed or crashed"),
    ("runs", "UInt64", "processes", "sum", "exits of processes of purpose run"),
    ("run_failures", "UInt64", "processes", "sum", "runs that failed or crashed"),
    ("notebook_cells", "UInt64", "cells", "sum", "notebook cells that ended"),
    *((f"execs_{name}", "UInt64", "programs", "sum", f"programs started of class {name}")
      for name in PROCESS_CLASSES),
)  # fmt: skip

_FILE: Final = _metrics(
    "file",
    ("creates", "UInt64", "files", "sum", "files created"),
    ("modifies", "UInt64", "saves", "sum", "files changed and settled"),
    ("deletes", "UInt64", "files", "sum", "files deleted"),
    ("moves", "UInt64", "files", "sum", "files moved or renamed"),
    ("found", "UInt64", "files", "sum", "files that a first scan found"),
    ("files_touched", "UInt64", "files", "distinct",
     "different paths created, changed, deleted or moved; 1024 stands for that many or more"),
    ("bytes_delta", "Int64", "bytes", "sum", "growth of files since their last known size"),
    ("bytes_changed", "UInt64", "bytes", "sum", "the same without sign: growth plus shrinkage"),
    ("lines_delta", "Int64", "lines", "sum", "growth in lines, where content was read"),
    ("lines_changed", "UInt64", "lines", "sum", "the same without sign"),
)  # fmt: skip

_SNAPSHOT: Final = _metrics(
    "snapshot",
    ("snapshots", "UInt64", "snapshots", "sum", "contents kept"),
    ("snapshot_bytes", "UInt64", "bytes", "sum", "their size before encoding"),
)

_HOSTPATH: Final = _metrics(
    "hostpath",
    ("entries", "UInt64", "entries", "last", "entries in all watched folders that are known"),
    ("entries_bytes", "UInt64", "bytes", "last", "size of the files among them"),
    ("appeared", "UInt64", "entries", "sum", "entries that appeared"),
    ("changed", "UInt64", "entries", "sum", "entries that changed"),
    ("vanished", "UInt64", "entries", "sum", "entries that vanished"),
)

_POD: Final = _metrics(
    "pod",
    ("pods_observed", "UInt64", "events", "sum", "observations of a pod's metadata"),
    ("pods_deleted", "UInt64", "pods", "sum", "pods that were deleted"),
)

_LOSS: Final = _metrics(
    "loss",
    ("losses", "UInt64", "records", "sum", "records of loss"),
    ("lost", "UInt64", "events", "sum", "events lost, where the number is known"),
    ("lost_unknown", "UInt64", "records", "sum", "records of loss of unknown count"),
)

BUCKET_METRICS: Final[tuple[BucketMetric, ...]] = (
    *_COMMON,
    *_CGROUP,
    *_PROCESS,
    *_FILE,
    *_SNAPSHOT,
    *_HOSTPATH,
    *_POD,
    *_LOSS,
)
"""All metric columns, in the order of the table."""

"""Kind ``cgroup``: cumulative counters and gauges as the kernel gives them, at one tick."""

from typing import Literal

from stream.contract.event import Event, KindDefinition


class CgroupEvent(Event, kw_only=True, omit_defaults=True):
    """One sample. Counters only ever grow while the cgroup lives; workers take the differences."""

    scope: Literal["container", "pod", "node"]
    cgroup: str
    """Path below the cgroup root; ``/`` for the node."""
    cgroup_id: str = ""
    """Tells a cgroup from an earlier one of the same path (inode number and birth)."""
    pod_uid: str = ""
    container_id: str = ""
    cpu_usage_us: int | None = None
    cpu_user_us: int | None = None
    cpu_system_us: int | None = None
    cpu_throttled_us: int | None = None
    memory_bytes: int | None = None
    memory_working_set_bytes: int | None = None
    """Memory less inactive file cache, as the kubelet counts it."""
    memory_anon_bytes: int | None = None
    memory_file_bytes: int | None = None
    memory_limit_bytes: int | None = None
    """Null when there is no limit."""
    oom_kills: int | None = None
    io_read_bytes: int | None = None
    io_write_bytes: int | None = None
    io_read_ops: int | None = None
    io_write_ops: int | None = None
    net_rx_bytes: int | None = None
    """Of the pod's own network namespace; null for host-network pods and containers."""
    net_tx_bytes: int | None = None
    host_network: bool = False
    pids: int | None = None
    psi_cpu_some_us: int | None = None
    psi_memory_some_us: int | None = None
    psi_io_some_us: int | None = None
    last: bool = False
    """The last sample of a cgroup that has gone since."""


DEFINITION = KindDefinition("cgroup", 1, CgroupEvent, "resource use of cgroups and of the node")

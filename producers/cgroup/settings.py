"""Settings of the cgroup producer (section ``cgroup``)."""

from pathlib import Path

from msgspec import Struct, field


class CgroupSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often and where resource use is read."""

    interval_seconds: float = 5.0
    """Seconds between ticks, aligned to the wall clock. Default 5: two samples per 10-second
    bucket, so that each bucket has a rate of its own even when one tick is late."""
    cgroup_root: Path = Path("/sys/fs/cgroup")
    """Where the host's cgroup file system is seen. Default: where every distribution mounts it; in
    a container, the path of a read-only host mount."""
    proc_root: Path = Path("/proc")
    """Where the host's ``/proc`` is seen. Default: right on the host and in a container with
    ``hostPID``; else the path of a read-only host mount."""
    sys_root: Path = Path("/sys")
    """Where the host's ``/sys`` is seen, to tell whole disks and physical network interfaces from
    what is stacked on them. Default: block devices are not namespaced, so any ``/sys`` serves."""
    include: list[str] = field(default_factory=lambda: ["/"])
    """Cgroup paths below which pods and containers are looked for. Default ``/``: a walk of the
    whole tree costs some milliseconds once a minute, and so containers of Docker, Podman and
    nested kubelets are found without naming them. Slices and services that are no containers are
    not sampled: the node's totals less the containers' are the host's own share."""
    depth: int = 8
    """Levels below an include path to look at. Default 8: the deepest known form (a rootless
    Podman container in its user's slices) has 7."""
    rescan_seconds: float = 60.0
    """Seconds between walks of the whole tree, in case a creation went unnoticed. Default 60, since
    inotify tells of creations at once; where it can't, every tick walks."""
    newborn_seconds: float = 2.0
    """How long after its creation a cgroup is read every 0.25 s, so that one which ends before the
    next tick leaves figures. Default 2: most short containers live no longer, and afterwards the
    end of its first process triggers the last sample."""

    def __post_init__(self) -> None:
        if not 0.1 <= self.interval_seconds <= 60:
            raise ValueError(
                f"interval_seconds is {self.interval_seconds}; use 0.1 to 60, since windows leave "
                "out samples that lie more than a minute apart"
            )
        if not 1 <= self.depth <= 32:
            raise ValueError(f"depth is {self.depth}; use 1 to 32")
        if self.rescan_seconds < self.interval_seconds:
            raise ValueError(
                f"rescan_seconds is {self.rescan_seconds}; use {self.interval_seconds} (the "
                "interval) or more, since a tick walks at most once"
            )
        if not 0 <= self.newborn_seconds <= 60:
            raise ValueError(f"newborn_seconds is {self.newborn_seconds}; use 0 to 60")
        for each in self.include:
            if not each.startswith("/") or ".." in each.split("/"):
                raise ValueError(f"include has {each!r}; use paths from the cgroup root on, like /")

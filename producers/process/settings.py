"""Settings of the process producer."""

from typing import Annotated

from msgspec import Meta, Struct

from producers.process.redaction import RedactionSettings

Prefix = Annotated[str, Meta(min_length=1)]
PowerOfTwo = Annotated[int, Meta(ge=1 << 16, le=1 << 28)]


class ProcessSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is observed and how much of it is kept, section ``process``."""

    cgroup_prefixes: Annotated[list[Prefix], Meta(max_length=8)] = []
    """Report only processes whose cgroup path begins with one of these texts, at most 8. Default:
    none, all are reported. ``/kubepods`` selects the pods of both cgroup drivers. The kernel
    compares, so what is left out costs no copy."""

    hostname_prefixes: Annotated[list[Prefix], Meta(max_length=8)] = []
    """Report only processes whose UTS host name begins with one of these texts, at most 8. Default:
    none. With cgroup prefixes as well, a process must match one of each."""

    ring_bytes: PowerOfTwo = 8 << 20
    """Size of the ring buffer in bytes, a power of two. Default 8 MiB: it was seen to hold the
    execs and exits of 17000 short processes in a pod's cgroup, 5 seconds at 3000 per second."""

    drain_interval_ms: Annotated[int, Meta(ge=1, le=1000)] = 50
    """How long records may lie in the ring, in milliseconds. Default 50: the reader wakes 20 times
    a second when idle, and still adds little to the publisher's own batching time."""

    remembered_processes: Annotated[int, Meta(ge=64, le=1 << 20)] = 16384
    """How many living processes are remembered so that their exit repeats their whole record.
    Default 16384: half of the usual ``pid_max``. The oldest are forgotten first, and counted."""

    remembered_bytes: Annotated[int, Meta(ge=1 << 20)] = 8 << 20
    """Bytes that the remembered records may take, roughly. Default 8 MiB: some 8000 processes with
    ordinary arguments; it bounds a node on which every process has 4 KiB of them."""

    pin_directory: str = ""
    """A directory in a BPF file system (``/sys/fs/bpf/tenwatch``) where links, ring and counters
    outlive the producer, so that a restarted one continues where this one stopped. Default empty:
    none, because pinned programs keep running when the producer was removed for good."""

    fallback: bool = True
    """Whether to observe by the kernel's process connector, or else by polling /proc, when BPF is
    not permitted. Default true: some of it, marked degraded, is better than nothing."""

    interpreters: tuple[str, ...] = ("/usr/bin/python3", "/usr/local/bin/python3")
    """System interpreters to try for the loader, in this order: the first that has bcc is used.
    Default: Debian's and Ubuntu's, where the package python3-bpfcc installs bcc, then a local one.
    """

    redaction: RedactionSettings = RedactionSettings()
    """What is taken out of arguments before they leave the process."""

    def __post_init__(self) -> None:
        for prefixes, limit in ((self.cgroup_prefixes, 128), (self.hostname_prefixes, 64)):
            for prefix in prefixes:
                if len(prefix.encode()) > limit:
                    raise ValueError(f"a prefix has at most {limit} bytes, {prefix!r} has more")
        if self.ring_bytes & (self.ring_bytes - 1):
            raise ValueError(f"ring_bytes is a power of two, {self.ring_bytes} is not")

"""Traffic of a pod, counted in the pod's own network namespace."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from producers.cgroup.node import parse_interfaces
from producers.cgroup.usage import Reader

_CHUNK: Final = 65536
_SANDBOX: Final = b"pause\n"


def network_identity(proc_root: Path | str, pid: int) -> int | None:
    """A number that tells a process's network namespace from others; None when it is gone.

    The inode of its ``net/dev``: every network namespace has a ``proc`` tree of its own (kernel
    ``fs/proc/proc_net.c``), and looking there needs no privilege, while ``/proc/<pid>/ns/net``
    needs CAP_SYS_PTRACE.
    """
    try:
        return Path(f"{proc_root}/{pid}/net/dev").stat().st_ino
    except OSError:
        return None


def is_setting_up(comm: bytes) -> bool:
    """runc and crun before they execute the container's program; ``runc:[2:INIT]`` is in its
    final namespaces (runc ``libcontainer/nsenter/nsexec.c``)."""
    return comm.startswith((b"runc", b"crun", b"youki")) and comm != b"runc:[2:INIT]\n"


@dataclass(slots=True)
class _Namespace:
    pid: int
    identity: int
    """Inode of its ``net/dev``."""
    descriptor: int
    """Its open ``net/dev``: it keeps the namespace's counters readable after the process ended,
    and saves looking the process up at every tick. -1 for the host's own namespace."""


@dataclass(frozen=True, slots=True)
class PodTraffic:
    """Bytes over all interfaces but the loopback; None on the host's network or when unknown."""

    received: int | None = None
    sent: int | None = None
    host_network: bool = False


class PodNetworks:
    """One open namespace per pod."""

    def __init__(self, proc_root: Path, reader: Reader) -> None:
        self._proc = str(proc_root)
        self._reader = reader
        self._namespaces: dict[str, _Namespace] = {}

    def read(self, pod: str, containers: Sequence[Sequence[int]]) -> PodTraffic:
        """Traffic so far. ``containers`` holds the process ids of each of the pod's containers,
        oldest container first; they are asked for a namespace when none is open yet."""
        namespace = self._namespaces.get(pod)
        if namespace is not None and self._identity(namespace.pid) != namespace.identity:
            # Its process ended: another container may still use the namespace, or a new sandbox
            # has made another one.
            candidate = self._choose(containers)
            identity = self._identity(candidate) if candidate is not None else None
            if candidate is not None and identity == namespace.identity:
                namespace.pid = candidate
            elif identity is not None:
                self.close(pod)
                namespace = None
        if namespace is None:
            candidate = self._choose(containers)
            namespace = self._open(candidate) if candidate is not None else None
            if namespace is None:
                return PodTraffic()
            self._namespaces[pod] = namespace
        if namespace.descriptor < 0:
            return PodTraffic(host_network=True)
        return self._count(namespace)

    def close(self, pod: str) -> None:
        """Let go of a pod's namespace."""
        namespace = self._namespaces.pop(pod, None)
        if namespace is not None and namespace.descriptor >= 0:
            os.close(namespace.descriptor)

    def close_all(self) -> None:
        """Let go of all of them."""
        for pod in list(self._namespaces):
            self.close(pod)

    def _count(self, namespace: _Namespace) -> PodTraffic:
        try:
            text = os.pread(namespace.descriptor, _CHUNK, 0)
        except OSError:
            return PodTraffic()
        interfaces = parse_interfaces(text)
        interfaces.pop("lo", None)
        return PodTraffic(
            sum(received for received, _ in interfaces.values()),
            sum(sent for _, sent in interfaces.values()),
        )

    def _choose(self, containers: Sequence[Sequence[int]]) -> int | None:
        """The sandbox's process, else the first one of the oldest container: a later one may have
        made a namespace of its own (Docker in a pod does). A runtime that is still setting the
        container up is in a namespace of the host's."""
        chosen = None
        for pids in containers:
            if not pids:
                continue
            comm = self._reader.read(f"{self._proc}/{pids[0]}/comm")
            if comm == _SANDBOX:
                return pids[0]
            if chosen is None and comm is not None and not is_setting_up(comm):
                chosen = pids[0]
        return chosen

    def _identity(self, pid: int) -> int | None:
        return network_identity(self._proc, pid)

    def _open(self, pid: int) -> _Namespace | None:
        host, own = self._identity(1), self._identity(pid)
        if host is None or own is None:
            return None
        if host == own:
            return _Namespace(pid, own, -1)
        try:
            descriptor = os.open(f"{self._proc}/{pid}/net/dev", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        # The process may have changed its namespace meanwhile; the open file is what counts.
        return _Namespace(pid, os.fstat(descriptor).st_ino, descriptor)

"""Which cgroups are known, what was last read of them, and the events made of it.

No thread and no waiting here: the observer calls in from its own thread.

A cgroup's life in events: a sample of zeros at its birth (where the birth was seen: a new cgroup's
counters start at 0, so its first figures count in full), one sample per tick, one at once when its
last process ends, and one marked ``last`` when it is removed, which repeats the counters. Gauges
belong to the ticks, at which those of all pods are read together.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from producers.base.path_text import path_text
from producers.cgroup import version1
from producers.cgroup.clock import SampleClock
from producers.cgroup.hierarchy import Cgroup, Hierarchy
from producers.cgroup.network import PodNetworks, PodTraffic
from producers.cgroup.node import read_node, stacked_devices
from producers.cgroup.settings import CgroupSettings
from producers.cgroup.usage import COUNTERS, GAUGES, Reader, Usage
from stream.contract.kinds.cgroup import CgroupEvent
from stream.contract.timestamps import format_timestamp

Emit = Callable[[list[CgroupEvent]], None]
Lost = Callable[[str, str, str], None]
"""Called with first time, last time and path of a container whose end was not read."""

_V1_COUNTERS: Final = {
    "cpuacct": ("cpu_usage_us", "cpu_user_us", "cpu_system_us"),
    "cpu": ("cpu_throttled_us",),
    "memory": ("oom_kills",),
}
_BLOCK_COUNTERS: Final = ("io_read_bytes", "io_write_bytes", "io_read_ops", "io_write_ops")


@dataclass(slots=True)
class Tracked:
    """One cgroup that lives, and the latest reading of it."""

    cgroup: Cgroup
    identity: str
    usage: Usage
    host_network: bool = False
    read_at: int = 0
    """Microseconds since the epoch."""
    before: Usage | None = None
    """The reading before the latest."""
    ticked: bool = False
    """Whether a tick has told its gauges."""
    ended: bool = False
    """Whether it was read after its last process had ended."""
    own_kills: int = 0
    """v1: OOM kills in the cgroup itself, without what lies below."""
    processes: tuple[int, ...] = ()
    unseen: int = 0
    """Ticks in a row at which it had processes, and none of them could be seen."""


class Sampler:
    """Reads all tracked cgroups and makes events of them."""

    def __init__(
        self,
        settings: CgroupSettings,
        hierarchy: Hierarchy,
        emit: Emit,
        lost: Lost,
        clock: SampleClock | None = None,
    ) -> None:
        self._settings = settings
        self._hierarchy = hierarchy
        self._emit = emit
        self._lost = lost
        self._clock = clock or SampleClock()
        self.reader = Reader()
        self.networks = PodNetworks(settings.proc_root, self.reader)
        self.tracked: dict[str, Tracked] = {}
        self.block_accounting = True
        self.unsampled_ends = 0
        self.hidden_processes = False
        self._stacked: frozenset[bytes] = frozenset()
        boot = self.reader.read(f"{settings.proc_root}/sys/kernel/random/boot_id") or b"unknown"
        self._kernel = boot.decode("ascii", "replace").strip()
        self._gone_kills: defaultdict[str, int] = defaultdict(int)
        """v1: OOM kills of containers that are gone, by pod."""
        self.refresh_devices()

    def refresh_devices(self) -> None:
        """Look again at which block devices lie on others, and whether v1 counts block I/O."""
        self._stacked = stacked_devices(self._settings.sys_root)
        blkio = self._hierarchy.controllers.get("blkio")
        if blkio:
            self.block_accounting = version1.accounts_block_io(self.reader, blkio)

    def tick(self) -> int:
        """Read the node and every cgroup; emit one batch of one time, and return that time."""
        blkio = self._hierarchy.controllers.get("blkio")
        if blkio and not self.block_accounting:
            self.block_accounting = version1.accounts_block_io(self.reader, blkio)
        now = self._clock.now()
        ts = format_timestamp(now)
        settings = self._settings
        node = read_node(
            self.reader, settings.proc_root, settings.sys_root, self._hierarchy.unified
        )
        if self.hidden_processes:
            # Then process 1 is not the host's, and neither is its network.
            node.net_rx_bytes = node.net_tx_bytes = None
        node_event = CgroupEvent(
            ts=ts, scope="node", cgroup="/", cgroup_id=self._kernel, **_fields(node)
        )
        events = [node_event]
        alive: list[Tracked] = []
        gone: list[str] = []
        for path, each in self.tracked.items():
            if self._read(each, now):
                each.ticked = True
                alive.append(each)
            elif not self._hierarchy.exists(path):
                gone.append(path)
        self._complete_pods(alive)
        events.extend(self._event(each, ts) for each in alive)
        self._emit(events)
        for path in gone:
            self.removed(path)
        return now

    def created(self, cgroup: Cgroup, *, born: bool) -> None:
        """Track a cgroup; ``born`` when it came to be since the last walk or tick."""
        if (known := self.tracked.get(cgroup.path)) is not None:
            if known.cgroup.inode == cgroup.inode:
                return
            self.removed(cgroup.path)
        identity = f"{self._kernel[:8]}-{cgroup.inode:x}"
        each = Tracked(cgroup, identity, Usage())
        self.tracked[cgroup.path] = each
        now = self._clock.now()
        if not born:
            self._read(each, now)
            return
        each.usage = self._zeros(cgroup)
        each.read_at = now
        self._emit([self._event(each, format_timestamp(now))])

    def peek(self, path: str) -> bool:
        """Read a young container without emitting, so that a sudden end leaves figures; its
        pod's network namespace is opened while a process shows it."""
        each = self.tracked.get(path)
        if each is None or not self._read(each, self._clock.now()):
            return False
        pod = self.tracked.get(path.rpartition("/")[0])
        if pod is not None:
            self._complete_pods([pod])
        return True

    def processes_of(self, path: str) -> list[int]:
        """The processes in a container now; remembered for its pod's network namespace."""
        pids = [pid for pid in self._hierarchy.processes(self.reader, path) if pid]
        each = self.tracked.get(path)
        if each is not None and pids:
            each.processes = tuple(pids)
        return pids

    def ended(self, path: str) -> None:
        """The last process of a container ended, and :meth:`peek` has read it since: emit that,
        and its pod.

        Counters only: what an empty cgroup still holds is no use of memory, and one pod's gauges
        between two ticks can't be added to those of others. A container that no tick has seen
        tells the gauges of its last reading in life.
        """
        each = self.tracked.get(path)
        if each is None or each.ended:
            return
        now = self._clock.now()
        each.ended = True
        chosen = [each]
        pod_path = path.rpartition("/")[0]
        pod = self.tracked.get(pod_path)
        if pod is not None and self._read(pod, now):
            chosen.insert(0, pod)
        self._complete_pods([pod] if pod is not None else [])
        ts = format_timestamp(now)
        events = [self._event(one, ts, gauges=False) for one in chosen]
        if not each.ticked and each.before is not None:
            for name in GAUGES:
                setattr(events[-1], name, getattr(each.before, name))
        self._emit(events)

    def removed(self, path: str) -> None:
        """A cgroup is gone: emit its last figures, and count what was not read."""
        each = self.tracked.pop(path, None)
        if each is None:
            return
        now = self._clock.now()
        owner = each.cgroup.owner
        if owner.container_id:
            if not each.ended:
                self.unsampled_ends += 1
                self._lost(format_timestamp(each.read_at), format_timestamp(now), path)
            if (pod_path := path.rpartition("/")[0]) in self.tracked:
                self._gone_kills[pod_path] += each.usage.oom_kills or 0
        else:
            self.networks.close(path)
            self._gone_kills.pop(path, None)
        event = self._event(each, format_timestamp(now), gauges=False)
        event.last = True
        self._emit([event])

    def replaced_by(self, found: Iterable[Cgroup], *, born: bool) -> None:
        """Take a walk's result for the whole truth."""
        cgroups = {each.path: each for each in found}
        for path in [each for each in self.tracked if each not in cgroups]:
            self.removed(path)
        for cgroup in cgroups.values():
            self.created(cgroup, born=born)

    def close(self) -> None:
        """Let go of what is open."""
        self.networks.close_all()

    def _zeros(self, cgroup: Cgroup) -> Usage:
        """The counters that this cgroup will have, at 0.

        v1 makes a cgroup in one hierarchy after the other, so what exists now tells little.
        """
        names: list[str] = []
        for controller, counters in _V1_COUNTERS.items():
            if controller in self._hierarchy.controllers:
                names.extend(counters)
        if "blkio" in self._hierarchy.controllers and self.block_accounting:
            names.extend(_BLOCK_COUNTERS)
        if not self._hierarchy.controllers:
            usage = self._hierarchy.read(self.reader, cgroup.path, self._stacked) or Usage()
            names.extend(name for name in COUNTERS if getattr(usage, name) is not None)
        if not cgroup.owner.container_id:
            names.extend(("net_rx_bytes", "net_tx_bytes"))
        return Usage(**dict.fromkeys(names, 0))

    def _read(self, each: Tracked, now: int) -> bool:
        """Read one cgroup anew; False when it is gone.

        A counter that can't be read now keeps its value: v1 removes a cgroup from one hierarchy
        after the other, and a pod's traffic is read later.
        """
        usage = self._hierarchy.read(
            self.reader, each.cgroup.path, self._stacked, self.block_accounting
        )
        if usage is None:
            return False
        each.own_kills = each.own_kills if usage.oom_kills is None else usage.oom_kills
        for name in COUNTERS:
            if getattr(usage, name) is None:
                setattr(usage, name, getattr(each.usage, name))
        each.before, each.usage = each.usage, usage
        each.read_at = now
        return True

    def _complete_pods(self, pods: Iterable[Tracked]) -> None:
        """Add to pods what is known only through their containers: traffic, and v1's OOM kills."""
        containers: defaultdict[str, list[Tracked]] = defaultdict(list)
        for each in self.tracked.values():
            if each.cgroup.owner.container_id:
                containers[each.cgroup.path.rpartition("/")[0]].append(each)
        for pod in pods:
            path = pod.cgroup.path
            if pod.cgroup.owner.container_id:
                continue
            inside = sorted(containers[path], key=lambda each: each.cgroup.inode)
            traffic = self.networks.read(path, [each.processes for each in inside])
            self._set_traffic(pod, inside, traffic)
            if self._hierarchy.controllers and pod.usage.oom_kills is not None:
                kills = sum(each.usage.oom_kills or 0 for each in inside)
                pod.usage.oom_kills = pod.own_kills + self._gone_kills.get(path, 0) + kills

    @staticmethod
    def _set_traffic(pod: Tracked, inside: list[Tracked], traffic: PodTraffic) -> None:
        pod.host_network = traffic.host_network
        for each in inside:
            each.host_network = traffic.host_network
        if traffic.host_network:
            pod.usage.net_rx_bytes = pod.usage.net_tx_bytes = None
        elif traffic.received is not None:
            pod.usage.net_rx_bytes, pod.usage.net_tx_bytes = traffic.received, traffic.sent

    def _event(self, each: Tracked, ts: str, *, gauges: bool = True) -> CgroupEvent:
        owner = each.cgroup.owner
        figures = _fields(each.usage)
        if not gauges:
            figures.update(dict.fromkeys(GAUGES))
        return CgroupEvent(
            ts=ts,
            scope="container" if owner.container_id else "pod",
            cgroup=path_text(each.cgroup.path.encode("utf-8", "surrogateescape")),
            cgroup_id=each.identity,
            pod_uid=owner.pod_uid,
            container_id=owner.container_id,
            host_network=each.host_network,
            **figures,
        )


def _fields(usage: Usage) -> dict[str, Any]:
    return {name: getattr(usage, name) for name in Usage.__struct_fields__}

"""Totals of the whole node, from ``/proc`` (Documentation/filesystems/proc.rst)."""

import os
from pathlib import Path
from typing import Final

from producers.cgroup.usage import Reader, Usage, difference, pressure_total

_SECTOR: Final = 512
"""Bytes per sector in ``/proc/diskstats``, whatever the disk's own sector size."""
_TICK_MICROSECONDS: Final = 1_000_000 // os.sysconf("SC_CLK_TCK")
_NOT_DISKS: Final = ("loop", "ram", "zram", "nbd", "fd", "sr")
_NOT_PHYSICAL: Final = (
    "lo", "veth", "cali", "cni", "docker", "br-", "virbr", "flannel", "cilium", "lxc", "vxlan",
    "geneve", "tunl", "gre", "sit", "ip6tnl", "wg", "kube-", "nodelocaldns", "ifb", "dummy", "tap",
    "vnet", "bond", "team", "weave", "ovs", "antrea",
)  # fmt: skip


def read_node(reader: Reader, proc: Path, sys: Path, unified: str = "") -> Usage:
    """All totals of the node.

    CPU: the ``cpu`` line of ``/proc/stat``: user = user + nice, system = system + irq + softirq,
    usage = both; time that a hypervisor stole was used by others and is left out.

    Memory: used = MemTotal - MemFree, page cache included, as a cgroup counts it, so that pods and
    host add up; working set = used - Inactive(file), as the kubelet has it; file = Buffers +
    Cached, so that the "used" of older tools (total - free - buffers - cached) is
    ``memory_bytes - memory_file_bytes``; limit = MemTotal.

    Disk: whole disks only, without partitions and without devices that lie on others.
    Network: physical interfaces of the host's own namespace; see :func:`physical_interfaces`.
    """
    usage = Usage()
    _read_cpu(reader.read(f"{proc}/stat"), usage)
    _read_memory(reader.read(f"{proc}/meminfo"), usage)
    usage.oom_kills = reader.keyed(f"{proc}/vmstat").get(b"oom_kill")
    _read_disks(reader.read(f"{proc}/diskstats"), whole_disks(sys), usage)
    interfaces = parse_interfaces(reader.read(f"{proc}/1/net/dev"))
    if interfaces:
        chosen = physical_interfaces(interfaces, sys)
        usage.net_rx_bytes = sum(interfaces[name][0] for name in chosen)
        usage.net_tx_bytes = sum(interfaces[name][1] for name in chosen)
    usage.pids = _tasks(reader.read(f"{proc}/loadavg"))
    usage.psi_cpu_some_us = _pressure(reader, proc, unified, "cpu")
    usage.psi_memory_some_us = _pressure(reader, proc, unified, "memory")
    usage.psi_io_some_us = _pressure(reader, proc, unified, "io")
    return usage


def _read_cpu(text: bytes | None, usage: Usage) -> None:
    if text is None or not text.startswith(b"cpu "):
        return
    ticks = [int(each) for each in text.split(b"\n", 1)[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq = ticks[:7]
    usage.cpu_user_us = (user + nice) * _TICK_MICROSECONDS
    usage.cpu_system_us = (system + irq + softirq) * _TICK_MICROSECONDS
    usage.cpu_usage_us = usage.cpu_user_us + usage.cpu_system_us


def _read_memory(text: bytes | None, usage: Usage) -> None:
    sizes = {}
    for line in (text or b"").splitlines():
        name, _, rest = line.partition(b":")
        value = rest.split()
        if value and value[0].isdigit():
            sizes[name] = int(value[0]) * 1024
    usage.memory_limit_bytes = sizes.get(b"MemTotal")
    usage.memory_bytes = difference(sizes.get(b"MemTotal"), sizes.get(b"MemFree"))
    usage.memory_working_set_bytes = difference(usage.memory_bytes, sizes.get(b"Inactive(file)"))
    usage.memory_anon_bytes = sizes.get(b"AnonPages")
    if b"Cached" in sizes:
        usage.memory_file_bytes = sizes[b"Cached"] + sizes.get(b"Buffers", 0)


def _read_disks(text: bytes | None, disks: frozenset[str] | None, usage: Usage) -> None:
    """Fields 4, 6, 8, 10 of diskstats: reads, sectors read, writes, sectors written
    (Documentation/admin-guide/iostats.rst)."""
    if text is None:
        return
    usage.io_read_bytes = usage.io_write_bytes = usage.io_read_ops = usage.io_write_ops = 0
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 10:
            continue
        name = fields[2].decode("ascii", "replace")
        if name in disks if disks is not None else not _looks_like_partition(name):
            usage.io_read_ops += int(fields[3])
            usage.io_read_bytes += int(fields[5]) * _SECTOR
            usage.io_write_ops += int(fields[7])
            usage.io_write_bytes += int(fields[9]) * _SECTOR


def _looks_like_partition(name: str) -> bool:
    """Without ``/sys`` names must do: ``sda1``, ``nvme0n1p2``; and what is no disk at all."""
    if name.startswith((*_NOT_DISKS, "dm-", "md")):
        return True
    base = name.rstrip("0123456789")
    if base == name:
        return False
    return not name.startswith(("nvme", "mmcblk")) or base.endswith("p")


def whole_disks(sys: Path) -> frozenset[str] | None:
    """Names of the disks that lie on nothing else; None where ``/sys/block`` can't be read."""
    try:
        names = [each.name for each in (sys / "block").iterdir()]
    except OSError:
        return None
    return frozenset(
        name
        for name in names
        if not name.startswith(_NOT_DISKS) and not _has_entries(sys / "block" / name / "slaves")
    )


def stacked_devices(sys: Path) -> frozenset[bytes]:
    """``major:minor`` of the block devices that pass what they do on to others (LVM, RAID)."""
    found = set()
    try:
        for disk in (sys / "block").iterdir():
            if _has_entries(disk / "slaves"):
                found.add((disk / "dev").read_bytes().strip())
    except OSError:
        pass
    return frozenset(found)


def _has_entries(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(True for _ in entries)
    except OSError:
        return False


def parse_interfaces(text: bytes | None) -> dict[str, tuple[int, int]]:
    """Interface → (bytes received, bytes sent), of a ``/proc/<pid>/net/dev``."""
    interfaces = {}
    for line in (text or b"").splitlines():
        name, colon, rest = line.rpartition(b":")
        fields = rest.split()
        if colon and len(fields) >= 9 and fields[0].isdigit() and fields[8].isdigit():
            interfaces[name.strip().decode("ascii", "replace")] = (int(fields[0]), int(fields[8]))
    return interfaces


def physical_interfaces(interfaces: dict[str, tuple[int, int]], sys: Path) -> list[str]:
    """Those through which traffic leaves the node, each byte once.

    An interface with a device behind it (``/sys/class/net/<name>/device``). Bonds, VLANs, bridges,
    tunnels and pods' veth pairs carry the same bytes a second time. Where no interface has a
    device (a machine that is itself a container, or a ``/sys`` of another network namespace):
    all whose names are not of a known virtual kind.
    """
    devices = [name for name in interfaces if (sys / "class/net" / name / "device").exists()]
    if devices:
        return devices
    return [name for name in interfaces if not name.startswith(_NOT_PHYSICAL) and "." not in name]


def _tasks(text: bytes | None) -> int | None:
    """Threads on the machine, which is what ``pids.current`` counts (``1/234`` in loadavg)."""
    fields = (text or b"").split()
    if len(fields) < 4:
        return None
    total = fields[3].partition(b"/")[2]
    return int(total) if total.isdigit() else None


def _pressure(reader: Reader, proc: Path, unified: str, resource: str) -> int | None:
    total = pressure_total(reader.read(f"{proc}/pressure/{resource}"))
    if total is None and unified:
        total = pressure_total(reader.read(f"{unified}/{resource}.pressure"))
    return total

"""Reads one cgroup that v1 spreads over several hierarchies (Documentation/admin-guide/cgroup-v1).

What counts what: ``cpuacct`` and ``pids`` count all that lies below; so do ``memory.*`` (always
since Linux 5.11), the ``total_*`` names of ``memory.stat`` and the ``_recursive`` files of
``blkio``. ``cpu.stat`` and the ``oom_kill`` of ``memory.oom_control`` are the cgroup's own alone.
"""

import os
from collections.abc import Mapping
from typing import Final

from producers.cgroup.usage import Reader, Usage, difference

NO_LIMIT: Final = 1 << 62
"""v1 writes "no limit" as the largest page count, in bytes: above any real memory."""
_TICK_MICROSECONDS: Final = 1_000_000 // os.sysconf("SC_CLK_TCK")


def read_usage(
    reader: Reader,
    directories: Mapping[str, str],
    stacked: frozenset[bytes],
    block_accounting: bool = True,
) -> Usage | None:
    """All figures of a cgroup, or None when it is gone, or not wholly made yet.

    v1 makes and removes a cgroup in one hierarchy after the other; CPU time decides.
    ``directories`` maps a controller to the cgroup's folder there. Without ``block_accounting``
    the I/O figures are None; see :func:`accounts_block_io`.
    """
    usage = Usage()
    found = False
    if folder := directories.get("cpuacct"):
        nanoseconds = reader.number(f"{folder}/cpuacct.usage")
        if nanoseconds is None:
            return None
        found = True
        usage.cpu_usage_us = nanoseconds // 1000
        ticks = reader.keyed(f"{folder}/cpuacct.stat")
        if b"user" in ticks and b"system" in ticks:
            usage.cpu_user_us = ticks[b"user"] * _TICK_MICROSECONDS
            usage.cpu_system_us = ticks[b"system"] * _TICK_MICROSECONDS
    if folder := directories.get("cpu"):
        throttled = reader.keyed(f"{folder}/cpu.stat").get(b"throttled_time")
        if throttled is not None:
            found = True
            usage.cpu_throttled_us = throttled // 1000
    if folder := directories.get("memory"):
        found = _read_memory(reader, folder, usage) or found
    if block_accounting and (folder := directories.get("blkio")):
        usage.io_read_bytes, usage.io_write_bytes = _read_block(
            reader, folder, "io_service_bytes", stacked
        )
        usage.io_read_ops, usage.io_write_ops = _read_block(reader, folder, "io_serviced", stacked)
        found = found or usage.io_read_bytes is not None
    if folder := directories.get("pids"):
        usage.pids = reader.number(f"{folder}/pids.current")
        found = found or usage.pids is not None
    return usage if found else None


def _read_memory(reader: Reader, folder: str, usage: Usage) -> bool:
    usage.memory_bytes = reader.number(f"{folder}/memory.usage_in_bytes")
    if usage.memory_bytes is None:
        return False
    statistics = reader.keyed(f"{folder}/memory.stat")
    usage.memory_working_set_bytes = difference(
        usage.memory_bytes, statistics.get(b"total_inactive_file")
    )
    usage.memory_anon_bytes = statistics.get(b"total_rss")
    usage.memory_file_bytes = statistics.get(b"total_cache")
    limit = reader.number(f"{folder}/memory.limit_in_bytes")
    usage.memory_limit_bytes = limit if limit is not None and limit < NO_LIMIT else None
    usage.oom_kills = reader.keyed(f"{folder}/memory.oom_control").get(b"oom_kill")
    return True


def _read_block(
    reader: Reader, folder: str, name: str, stacked: frozenset[bytes]
) -> tuple[int | None, int | None]:
    text = reader.read(f"{folder}/blkio.throttle.{name}_recursive")
    if text is None:
        text = reader.read(f"{folder}/blkio.throttle.{name}")
    return sum_block(text, stacked)


def sum_block(
    text: bytes | None, stacked: frozenset[bytes] = frozenset()
) -> tuple[int | None, int | None]:
    """Read and Write over all devices of a ``blkio.throttle`` file (``8:0 Read 4096`` lines)."""
    if text is None:
        return None, None
    read = written = 0
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 3 and fields[0] not in stacked and fields[2].isdigit():
            if fields[1] == b"Read":
                read += int(fields[2])
            elif fields[1] == b"Write":
                written += int(fields[2])
    return read, written


def accounts_block_io(reader: Reader, blkio_root: str) -> bool:
    """Whether this kernel counts block I/O in v1 cgroups.

    Since Linux 6.10 blk-throttle counts only on disks for which some cgroup has a throttle rule:
    the root's recursive file then says 0 although the machine has started from a disk, and a 0
    per container would be a lie.
    """
    text = reader.read(f"{blkio_root}/blkio.throttle.io_serviced_recursive")
    if text is None:
        text = reader.read(f"{blkio_root}/blkio.throttle.io_serviced")
    return text is not None and sum_block(text) not in ((0, 0), (None, None))

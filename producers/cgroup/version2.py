"""Reads one cgroup of the unified hierarchy (Documentation/admin-guide/cgroup-v2.rst)."""

from producers.cgroup.usage import Reader, Usage, difference, pressure_total, whole


def read_usage(reader: Reader, directory: str, stacked: frozenset[bytes]) -> Usage | None:
    """All figures of a cgroup, or None when it is gone.

    Everything counts what lies below it, too, but ``throttled_usec``, which is the cgroup's own.
    ``stacked`` names the devices (``major:minor``) that lie on others; see :func:`sum_io`.
    """
    cpu = reader.keyed(f"{directory}/cpu.stat")
    if not cpu:
        return None
    memory = reader.keyed(f"{directory}/memory.stat")
    current = reader.number(f"{directory}/memory.current")
    read_bytes, write_bytes, read_ops, write_ops = sum_io(
        reader.read(f"{directory}/io.stat"), stacked
    )
    return Usage(
        cpu_usage_us=cpu.get(b"usage_usec"),
        cpu_user_us=cpu.get(b"user_usec"),
        cpu_system_us=cpu.get(b"system_usec"),
        cpu_throttled_us=cpu.get(b"throttled_usec"),
        memory_bytes=current,
        memory_working_set_bytes=difference(current, memory.get(b"inactive_file")),
        memory_anon_bytes=memory.get(b"anon"),
        memory_file_bytes=memory.get(b"file"),
        memory_limit_bytes=reader.number(f"{directory}/memory.max"),
        oom_kills=reader.keyed(f"{directory}/memory.events").get(b"oom_kill"),
        io_read_bytes=read_bytes,
        io_write_bytes=write_bytes,
        io_read_ops=read_ops,
        io_write_ops=write_ops,
        pids=reader.number(f"{directory}/pids.current"),
        psi_cpu_some_us=pressure_total(reader.read(f"{directory}/cpu.pressure")),
        psi_memory_some_us=pressure_total(reader.read(f"{directory}/memory.pressure")),
        psi_io_some_us=pressure_total(reader.read(f"{directory}/io.pressure")),
    )


def sum_io(
    text: bytes | None, stacked: frozenset[bytes] = frozenset()
) -> tuple[int | None, int | None, int | None, int | None]:
    """Bytes read, bytes written, reads, writes over all devices of an ``io.stat``.

    A line is ``8:0 rbytes=… wbytes=… rios=… wios=… dbytes=… dios=…``; some kernels write devices
    without figures and leave out the line feed after them. Devices that lie on others (LVM,
    dm-crypt, RAID) pass the same bytes on to those and are left out. All None without the file,
    all 0 when it is empty: the controller is on and nothing was read or written.
    """
    if text is None:
        return None, None, None, None
    totals = {b"rbytes": 0, b"wbytes": 0, b"rios": 0, b"wios": 0}
    device = b""
    for token in text.split():
        name, equals, value = token.partition(b"=")
        if not equals:
            device = token
        elif name in totals and device not in stacked:
            totals[name] += whole(value) or 0
    return totals[b"rbytes"], totals[b"wbytes"], totals[b"rios"], totals[b"wios"]

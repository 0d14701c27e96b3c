"""Compiles and attaches the BPF program in a process of its own, hands over its descriptors, exits.

Importing bcc costs 130 MB that a process never gives back. So the producer starts this file under
a system interpreter that has bcc, and keeps only descriptors: the ring buffer, the counters, and
one link per tracepoint. The program stays attached as long as somebody holds the links, or as
they are pinned in a BPF file system.

Protocol, over the Unix socket (SOCK_SEQPACKET) whose descriptor is the only argument: one JSON
request, one JSON reply of at most ``REPLY_LIMIT`` bytes, with the descriptors attached.

Request: ``program``, ``headers`` (paths), ``ring_bytes``, ``births``, ``wake_every``,
``cgroup_v1``, ``cgroup_prefixes``, ``hostname_prefixes``, ``pin_directory`` (null: do not pin),
``group_dead_argument`` (null: as the kernel's type information says).

Reply: ``descriptors`` (names, in the order of the descriptors), ``ring_bytes``, ``resumed`` (the
links and the ring are those of an earlier producer, nothing was compiled), ``replaced`` (pins of
another version of the program were taken down); or ``error`` (``no_bcc``, ``permission``,
``kernel``, ``compile``, ``pin``) and ``message``.

Standard library and bcc only, Python 3.9: this runs outside the virtual environment.
"""

from __future__ import annotations

import array
import hashlib
import importlib.util
import json
import os
import socket
import sys
from pathlib import Path
from types import ModuleType
from typing import IO, Any

REQUEST_LIMIT = 65536
REPLY_LIMIT = 65536
_DETAIL_LIMIT = 2000
_FILTER_BYTES = 128

# The order matters: once execs are reported, births and exits are already.
_TRACEPOINTS = {
    "fork": "sched_process_fork",
    "exit": "sched_process_exit",
    "exec": "sched_process_exec",
}
_MAPS = ("records", "counters", "cursor")


class LoadError(Exception):
    """Why the program cannot observe; ``kind`` as in the reply's ``error``."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def _sibling(name: str) -> ModuleType:
    """Import a file of this folder without putting the folder on the path."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(name + ".py"))
    if spec is None or spec.loader is None:
        raise ImportError(name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _macros(request: dict[str, Any]) -> dict[str, int]:
    btf = _sibling("btf")
    offsets = _sibling("offsets")
    try:
        macros: dict[str, int] = offsets.macros(btf.Btf.of_running_kernel())
    except btf.BtfError as error:
        raise LoadError("kernel", f"the kernel's type information is of no use: {error}") from error
    if request["group_dead_argument"] is not None:
        macros["EXIT_TELLS_GROUP_DEAD"] = int(request["group_dead_argument"])
    macros.update(
        RING_PAGES=request["ring_bytes"] // os.sysconf("SC_PAGE_SIZE"),
        WAKE_EVERY=request["wake_every"],
        BIRTHS=request["births"],
        CGROUP_V1=int(request["cgroup_v1"]),
        CGROUP_FILTERS=len(request["cgroup_prefixes"]),
        HOSTNAME_FILTERS=len(request["hostname_prefixes"]),
    )
    return macros


def _fill_prefixes(bpf: Any, table: str, prefixes: list[str]) -> None:
    if not prefixes:
        return
    entries = bpf[table]
    for index, prefix in enumerate(prefixes):
        wanted = prefix.encode()
        leaf = entries.Leaf(length=len(wanted))
        for name, content in (("wanted", wanted), ("mask", b"\xff" * len(wanted))):
            words = array.array("Q", content.ljust(_FILTER_BYTES, b"\0"))
            for word, value in enumerate(words):
                getattr(leaf, name)[word] = value
        entries[entries.Key(index)] = leaf


def _compile(request: dict[str, Any], macros: dict[str, int], log: IO[bytes]) -> Any:
    """A bcc.BPF whose functions are loaded into the kernel and not yet attached."""
    os.environ["BCC_KERNEL_SOURCE"] = request["headers"]
    try:
        from bcc import BPF
    except ImportError as error:
        raise LoadError("no_bcc", f"{sys.executable} has no bcc: {error}") from error
    step, function = "compile", ""
    try:
        bpf = BPF(
            text=Path(request["program"]).read_text(encoding="utf-8"),
            cflags=[
                f"-I{Path(request['program']).parent}",
                *(f"-D{name}={value}" for name, value in macros.items()),
            ],
        )
        step = "kernel"
        for function in _TRACEPOINTS:
            bpf.load_func("on_" + function, BPF.RAW_TRACEPOINT)
    except Exception as error:
        detail = _tail(log)
        if "Operation not permitted" in str(error) + detail:
            step = "permission"
        raise LoadError(step, f"{error}; {detail}".strip("; ")) from error
    _fill_prefixes(bpf, "cgroup_prefixes", request["cgroup_prefixes"])
    _fill_prefixes(bpf, "hostname_prefixes", request["hostname_prefixes"])
    return bpf


def _attach(bpf: Any, log: IO[bytes]) -> dict[str, int]:
    """Attach the functions; name → descriptor of the maps and links."""
    try:
        for function, tracepoint in _TRACEPOINTS.items():
            bpf.attach_raw_tracepoint(tp=tracepoint.encode(), fn_name=("on_" + function).encode())
    except Exception as error:
        raise LoadError("kernel", f"cannot attach: {error}; {_tail(log)}") from error
    descriptors = {name: bpf[name].map_fd for name in _MAPS}
    for function, tracepoint in _TRACEPOINTS.items():
        descriptors[function] = bpf.raw_tracepoint_fds[tracepoint.encode()]
    return descriptors


def _tail(log: IO[bytes]) -> str:
    """The end of what the compiler and the verifier wrote to standard error."""
    log.flush()
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - _DETAIL_LIMIT))
    return log.read().decode("utf-8", "backslashreplace").strip()


def _digest(request: dict[str, Any], macros: dict[str, int]) -> str:
    """Names what is loaded, so that a producer continues only what it would load itself."""
    sources = sorted(Path(request["program"]).parent.glob("*.bpf.[ch]"))
    parts = [macros, request["cgroup_prefixes"], request["hostname_prefixes"]]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _load(request: dict[str, Any], log: IO[bytes]) -> tuple[dict[str, Any], dict[str, int]]:
    macros = _macros(request)
    reply = {"ring_bytes": request["ring_bytes"], "resumed": False, "replaced": False}
    if request["pin_directory"] is None:
        return reply, _attach(_compile(request, macros, log), log)
    pins = _sibling("pins")
    try:
        place = pins.PinDirectory(Path(request["pin_directory"]), _digest(request, macros))
        descriptors = place.open((*_MAPS, *_TRACEPOINTS))
        if descriptors is not None:
            reply["resumed"] = True
            return reply, descriptors
        bpf = _compile(request, macros, log)
        # What the old program reported and nobody read yet goes to the new producer as well. Old
        # links go before the new come: a gap of microseconds, which the producer reports, instead
        # of events that are reported twice.
        earlier = place.retire(_MAPS)
        descriptors = _attach(bpf, log)
        place.pin(descriptors)
        if earlier is not None:
            reply["replaced"] = True
            reply["earlier_ring_bytes"] = earlier.pop("ring_bytes")
            descriptors.update({"earlier_" + name: fd for name, fd in earlier.items()})
    except OSError as error:
        raise LoadError("pin", f"cannot pin in {request['pin_directory']}: {error}") from error
    return reply, descriptors


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    request = json.loads(channel.recv(REQUEST_LIMIT))
    # Compiler and verifier write to descriptor 2, past Python. In memory, since a container's root
    # file system may be read-only.
    with os.fdopen(os.memfd_create("loader-log"), "w+b") as log:
        os.dup2(log.fileno(), 2)
        try:
            reply, descriptors = _load(request, log)
        except LoadError as error:
            reply, descriptors = {"error": error.kind, "message": str(error)}, {}
    reply["descriptors"] = list(descriptors)
    message = json.dumps(reply).encode()
    socket.send_fds(channel, [message[:REPLY_LIMIT]], list(descriptors.values()))
    # bcc's own exit handler would detach what was just handed over.
    os._exit(0)


if __name__ == "__main__":
    main()

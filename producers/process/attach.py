"""Starts the loader and takes over what it attached."""

import fcntl
import logging
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from producers.process.capabilities import missing_capabilities
from producers.process.errors import AttachError
from producers.process.handover import Cursor
from producers.process.proc_files import uses_cgroup_v1
from producers.process.ring import Counters, RingBuffer
from producers.process.settings import ProcessSettings

_LOG = logging.getLogger(__name__)
_FOLDER: Final = Path(__file__).parent
_REPLY_LIMIT: Final = 65536
_LOADER_SECONDS: Final = 120.0
"""Compiling takes half a second on an idle machine; a node that just boots may be very busy."""
_BIRTHS: Final = 65536
_WAKE_EVERY: Final = 256
"""Records between two early wake-ups of the reader: 256 of the longest fill an eighth of the
default ring."""
CAPABILITIES: Final = ("CAP_BPF", "CAP_PERFMON")


class AttachedProgram(Struct):
    """The BPF program in the kernel. It reports as long as the links are open or pinned."""

    records: RingBuffer
    counters: Counters
    links: list[int]
    """Descriptors that keep the program attached."""
    resumed: bool
    """It is the pinned program of an earlier producer: what happened in between is in the ring."""
    replaced: bool
    """A pinned program of another version had to go; what came in between is lost."""
    earlier: tuple[RingBuffer, Cursor] | None
    """What that other version still held."""
    cursor: Cursor | None
    """The notes of earlier lives, if the program is pinned."""
    lock: int | None
    """Holds the pins for this producer alone."""

    def detach(self) -> None:
        """Close the links; unless they are pinned, nothing is reported from then on."""
        while self.links:
            os.close(self.links.pop())

    def close(self) -> None:
        """Let go of everything."""
        self.detach()
        self.records.close()
        self.counters.close()
        if self.cursor is not None:
            self.cursor.close()
        if self.lock is not None:
            os.close(self.lock)


def attach(
    settings: ProcessSettings, *, group_dead_argument: bool | None = None
) -> AttachedProgram:
    """Compile, load and attach the program, or continue with a pinned one.

    :param group_dead_argument: whether the exit tracepoint says that the last thread ended; by
        default as the running kernel's type information says
    :raises AttachError: it cannot observe here; says why and what to do
    """
    request = {
        "program": str(_FOLDER / "program.bpf.c"),
        "headers": str(_FOLDER / "kernel_headers"),
        "ring_bytes": settings.ring_bytes,
        "births": _BIRTHS,
        "wake_every": _WAKE_EVERY,
        "cgroup_v1": uses_cgroup_v1(),
        "cgroup_prefixes": settings.cgroup_prefixes,
        "hostname_prefixes": settings.hostname_prefixes,
        "pin_directory": settings.pin_directory or None,
        "group_dead_argument": group_dead_argument,
    }
    missing = missing_capabilities(CAPABILITIES)
    if missing:
        raise AttachError(
            f"BPF is not permitted: this process lacks {' and '.join(missing)}; "
            "run it as root, or give its container these capabilities"
        )
    lock = _lock(Path(settings.pin_directory)) if settings.pin_directory else None
    try:
        return _take_over(*_load(settings.interpreters, request), lock)
    except BaseException:
        if lock is not None:
            os.close(lock)
        raise


def _lock(pin_directory: Path) -> int:
    """Two readers of one ring would each see half of it."""
    try:
        pin_directory.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(pin_directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise AttachError(_explain("pin", f"cannot use {pin_directory}: {error}")) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise AttachError(
            f"another process producer uses {pin_directory}; stop it, or set another pin_directory"
        ) from None
    return lock


def _load(
    interpreters: tuple[str, ...], request: dict[str, Any]
) -> tuple[dict[str, Any], list[int]]:
    """The answer of the first loader that finds bcc."""
    tried: list[str] = []
    for interpreter in interpreters:
        path = shutil.which(interpreter)
        if path is None:
            tried.append(f"{interpreter} does not exist")
            continue
        reply, descriptors = _run_loader(path, request)
        if reply.get("error") == "no_bcc":
            tried.append(str(reply["message"]))
        elif "error" in reply:
            raise AttachError(_explain(reply["error"], reply["message"]))
        else:
            return reply, descriptors
    raise AttachError(
        f"no system interpreter has bcc: {'; '.join(tried)}; "
        "install it (on Debian and Ubuntu: apt install python3-bpfcc)"
    )


def _run_loader(interpreter: str, request: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            loader = subprocess.Popen(
                [interpreter, "-I", str(_FOLDER / "loader.py"), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        message = b""
        descriptors: list[int] = []
        try:
            ours.settimeout(_LOADER_SECONDS)
            ours.send(msgspec.json.encode(request))
            message, descriptors, _, _ = socket.recv_fds(
                ours, _REPLY_LIMIT, 16, socket.MSG_CMSG_CLOEXEC
            )
        except TimeoutError:
            raise AttachError(
                f"the loader ({interpreter}) did not answer within {_LOADER_SECONDS:.0f} s"
            ) from None
        except ConnectionError:
            _LOG.debug("the loader closed its end")
        finally:
            if not message:
                loader.kill()
            loader.wait()
    if not message:
        raise AttachError(f"the loader ({interpreter}) ended with status {loader.returncode}")
    return msgspec.json.decode(message), descriptors


def _take_over(reply: dict[str, Any], descriptors: list[int], lock: int | None) -> AttachedProgram:
    named = dict(zip(reply["descriptors"], descriptors, strict=True))
    earlier = None
    if reply["replaced"]:
        earlier = (
            RingBuffer(named["earlier_records"], reply["earlier_ring_bytes"]),
            Cursor(named["earlier_cursor"]),
        )
        os.close(named["earlier_counters"])
    if lock is None:
        os.close(named["cursor"])
    return AttachedProgram(
        records=RingBuffer(named["records"], reply["ring_bytes"]),
        counters=Counters(named["counters"]),
        links=[named["fork"], named["exit"], named["exec"]],
        resumed=reply["resumed"],
        replaced=reply["replaced"],
        earlier=earlier,
        cursor=Cursor(named["cursor"]) if lock is not None else None,
        lock=lock,
    )


def _explain(kind: str, message: str) -> str:
    if kind == "permission":
        return (
            f"BPF is not permitted, although CAP_BPF and CAP_PERFMON are there ({message}); "
            "kernel lockdown, seccomp, a user namespace or a memory lock limit may forbid it"
        )
    if kind == "compile":
        return f"the BPF program does not compile with this machine's bcc: {message}"
    if kind == "pin":
        return f"{message}; pin_directory must lie in a mounted BPF file system (type bpf)"
    return f"the kernel does not take the BPF program (Linux 5.8 or newer is needed): {message}"

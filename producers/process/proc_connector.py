"""Learns of processes from the kernel's process connector, where BPF is not permitted.

The connector (Documentation/driver-api/connector.rst, include/uapi/linux/cn_proc.h) sends forks,
execs and exits of threads over netlink, with numbers only. Everything else must be read from /proc
after the fact, and is missing for what has ended by then; so all its events are degraded.
"""

import contextlib
import errno
import os
import select
import socket
import struct
import time
from typing import Final

from msgspec import Struct, structs

from producers.base.observer import EventSink
from producers.process.assembly import EventAssembler
from producers.process.boot_clock import BootClock
from producers.process.capabilities import missing_capabilities
from producers.process.errors import ConnectorError
from producers.process.identity import TICKS_PER_SECOND, ProcessNames
from producers.process.proc_files import living_pids, living_processes, read_process
from stream.contract.kinds.process import ProcessEvent
from stream.contract.timestamps import now_timestamp

KIND: Final = "process"
_NETLINK_CONNECTOR: Final = 11
_SO_RCVBUFFORCE: Final = 33
_CN_IDX_PROC: Final = 1
_CN_VAL_PROC: Final = 1
_NLMSG_DONE: Final = 3
_LISTEN: Final = 1

_ACKNOWLEDGED: Final = 0x00000000
_FORK: Final = 0x00000001
_EXEC: Final = 0x00000002
_EXIT: Final = 0x80000000

_NETLINK_HEAD = struct.Struct("=IHHII")
_CONNECTOR_HEAD = struct.Struct("=IIIIHH")
_EVENT_HEAD = struct.Struct("=IIQ")
_EVENT_AT = _NETLINK_HEAD.size + _CONNECTOR_HEAD.size
_DATA_AT = _EVENT_AT + _EVENT_HEAD.size
_TWO = struct.Struct("=II")
_THREE = struct.Struct("=III")
_FOUR = struct.Struct("=IIII")

_RECEIVE_BYTES: Final = 8 << 20
"""Some 30000 messages: 3 s of 3000 processes/s with a fork, an exec and an exit each."""
_ANSWER_SECONDS: Final = 2.0
_READ_LIMIT: Final = 512
_NANOSECONDS_PER_TICK: Final = 1_000_000_000 // TICKS_PER_SECOND
_KERNEL_THREADS_PARENT: Final = 2
_UNKNOWN_UID: Final = 65534
"""What the kernel itself shows for a user that it cannot name (/proc/sys/kernel/overflowuid)."""


class _Group(Struct, gc=False):
    """A living thread group."""

    start: int
    """Nanoseconds of the boot clock; exact to a clock tick if it comes from /proc."""
    parent: str
    parent_pid: int
    threads: int = 1
    kernel: bool = False
    exec: ProcessEvent | None = None
    """Its last exec."""


class ConnectorSource:
    """Reads the connector's messages and looks up each exec in /proc at once.

    :raises ConnectorError: it is not permitted or not there; says why and what to do
    """

    def __init__(
        self, names: ProcessNames, sink: EventSink, assembler: EventAssembler, clock: BootClock
    ) -> None:
        self._names = names
        self._sink = sink
        self._assembler = assembler
        self._clock = clock
        self._groups: dict[int, _Group] = {}
        self._socket = _subscribe()
        self.use_receive_buffer(_RECEIVE_BYTES)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._host_name = os.uname().nodename
        self._own_uts = os.readlink("/proc/self/ns/uts")  # noqa: PTH115
        self._overflows = 0
        self._unseen_execs = 0
        self._synchronized_at = now_timestamp()
        self._synchronize()

    def poll(self, seconds: float) -> None:
        """See :class:`~producers.process.source.ProcessSource`."""
        before = self._clock.now()
        self._clock.refresh()
        if not self._poll.poll(seconds * 1000) or not self._drain():
            self._sink.watermark(KIND, self._clock.microseconds(before - 100_000_000))

    def finish(self) -> None:
        """See :class:`~producers.process.source.ProcessSource`."""
        while self._drain():
            pass
        self._socket.close()

    def degraded(self) -> list[str]:
        """See :class:`~producers.process.source.ProcessSource`."""
        return [
            "processes are observed by the kernel's process connector: arguments, paths and cgroup "
            "are missing for programs that end within about a millisecond; they are complete with "
            "BPF (CAP_BPF and CAP_PERFMON, and bcc)"
        ]

    def metrics(self) -> dict[str, float]:
        """See :class:`~producers.process.source.ProcessSource`."""
        return {
            "connector_overflows_total": self._overflows,
            "execs_not_found_total": self._unseen_execs,
        }

    def use_receive_buffer(self, size: int) -> None:
        """Let the kernel hold so many bytes of messages for us, or as few as it allows."""
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)

    def _drain(self) -> bool:
        """Handle what has come, up to a limit; whether there may be more."""
        skew = self._clock.now() - time.monotonic_ns()
        for _ in range(_READ_LIMIT):
            try:
                message = self._socket.recv(4096, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._overflowed()
                continue
            if len(message) >= _DATA_AT + _FOUR.size:
                self._handle(message, skew)
        return True

    def _handle(self, message: bytes, skew: int) -> None:
        what, _, monotonic = _EVENT_HEAD.unpack_from(message, _EVENT_AT)
        at = monotonic + skew
        if what == _FORK:
            _, parent_group, child, group = _FOUR.unpack_from(message, _DATA_AT)
            self._forked(at, parent_group, child, group)
        elif what == _EXEC:
            _, group = _TWO.unpack_from(message, _DATA_AT)
            self._executed(at, group)
        elif what == _EXIT:
            thread, group, status = _THREE.unpack_from(message, _DATA_AT)
            self._exited(at, thread, group, status)

    def _forked(self, at: int, parent: int, child: int, group: int) -> None:
        if child != group:
            if group in self._groups:
                self._groups[group].threads += 1
            return
        known = self._groups.get(parent)
        self._groups[group] = _Group(
            start=at,
            parent=self._names.of(parent, known.start) if known else "",
            parent_pid=parent,
            kernel=parent == _KERNEL_THREADS_PARENT,
        )

    def _executed(self, at: int, pid: int) -> None:
        group = self._groups.setdefault(pid, _Group(start=at, parent="", parent_pid=0))
        group.kernel = False
        living = read_process(pid)
        if living is None:
            self._unseen_execs += 1
            event = ProcessEvent(
                ts="",
                action="exec",
                pid=pid,
                ppid=group.parent_pid,
                uid=_UNKNOWN_UID,
                exec_id=self._names.of(pid, group.start),
                comm="",
            )
        else:
            group.start = max(group.start, living.start_ticks * _NANOSECONDS_PER_TICK)
            group.parent_pid = group.parent_pid or living.ppid
            event = self._assembler.describe(living, None)
            if living.uts_namespace == self._own_uts:
                event.hostname = self._host_name
        event.ts = self._clock.text(at)
        event.ppid = group.parent_pid
        event.parent_exec_id = group.parent
        event.start_ts = self._clock.text(group.start)
        event.degraded = True
        group.exec = event
        self._sink.emit(KIND, event)

    def _exited(self, at: int, thread: int, pid: int, status: int) -> None:
        group = self._groups.get(pid)
        if group is not None:
            group.threads -= 1
            if group.threads > 0:
                return
            del self._groups[pid]
        elif thread != pid:
            return
        if group is None or group.kernel:
            return
        ended = group.exec or ProcessEvent(
            ts="",
            action="exec",
            pid=pid,
            ppid=group.parent_pid,
            uid=_UNKNOWN_UID,
            exec_id=self._names.of(pid, group.start),
            parent_exec_id=group.parent,
            comm="",
            start_ts=self._clock.text(group.start),
            degraded=True,
        )
        signal = status & 0x7F
        self._sink.emit(
            KIND,
            structs.replace(
                ended,
                ts=self._clock.text(at),
                action="exit",
                duration_us=max(0, at - group.start) // 1000,
                exit_code=None if signal else status >> 8 & 0xFF,
                signal=signal or None,
                core_dumped=bool(status & 0x80),
                forked=group.exec is None,
            ),
        )

    def _overflowed(self) -> None:
        """Messages were dropped; how many of them were of processes cannot be known."""
        self._overflows += 1
        since, self._synchronized_at = self._synchronized_at, now_timestamp()
        self._sink.lost(
            KIND, "netlink_overflow", None, first_ts=since, last_ts=self._synchronized_at
        )
        self._synchronize()

    def _synchronize(self) -> None:
        """Take the state of /proc as it is now; nothing is reported of it."""
        living = {each.pid: each for each in living_processes()}
        groups: dict[int, _Group] = {}
        for pid in living_pids():
            process = living.get(pid)
            known = self._groups.get(pid)
            if process is None:
                # A kernel thread, or born since; of that, a message is under way.
                if known is None:
                    groups[pid] = _Group(start=0, parent="", parent_pid=0, kernel=True)
                continue
            parent = living.get(process.ppid)
            event = self._assembler.describe(process, parent)
            start = process.start_ticks * _NANOSECONDS_PER_TICK
            event.start_ts = self._clock.text(start)
            event.degraded = True
            groups[pid] = _Group(
                start=start,
                parent=event.parent_exec_id,
                parent_pid=process.ppid,
                threads=process.threads,
                exec=None if process.forked else event,
            )
        self._groups = groups


def _subscribe() -> socket.socket:
    """A socket on which the connector's messages arrive."""
    missing = missing_capabilities(("CAP_NET_ADMIN",))
    if missing:
        raise ConnectorError(
            "the process connector is not permitted: this process lacks CAP_NET_ADMIN; "
            "run it as root, or give its container this capability and the host's network"
        )
    connection = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_CONNECTOR)
    try:
        connection.bind((0, _CN_IDX_PROC))
        operation = struct.pack("=I", _LISTEN)
        message = _CONNECTOR_HEAD.pack(_CN_IDX_PROC, _CN_VAL_PROC, 0, 0, len(operation), 0)
        size = _NETLINK_HEAD.size + len(message) + len(operation)
        connection.send(_NETLINK_HEAD.pack(size, _NLMSG_DONE, 0, 0, 0) + message + operation)
        _await_answer(connection)
    except OSError as error:
        connection.close()
        raise ConnectorError(
            f"the process connector does not answer ({error}): the kernel needs "
            "CONFIG_PROC_EVENTS=y, and this process the host's network, PID and user namespaces"
        ) from error
    return connection


def _await_answer(connection: socket.socket) -> None:
    """Kernels ignore a request from a namespace that they do not serve."""
    deadline = time.monotonic() + _ANSWER_SECONDS
    while (rest := deadline - time.monotonic()) > 0:
        connection.settimeout(rest)
        answer = connection.recv(4096)
        if len(answer) >= _EVENT_AT + _EVENT_HEAD.size:
            what, _, _ = _EVENT_HEAD.unpack_from(answer, _EVENT_AT)
            if what == _ACKNOWLEDGED:
                connection.settimeout(None)
                return
    raise TimeoutError("no answer")

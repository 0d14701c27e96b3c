"""Learns of processes from the BPF program, and accounts for every record that it wrote."""

import contextlib
import logging
import time
from collections.abc import Iterable
from typing import Final

from producers.base.observer import EventSink
from producers.process.assembly import EventAssembler
from producers.process.attach import AttachedProgram
from producers.process.boot_clock import BootClock
from producers.process.capabilities import missing_capabilities
from producers.process.errors import RecordError
from producers.process.handover import Cursor, Handover
from producers.process.proc_files import in_initial_pid_namespace, living_processes
from producers.process.process_table import ProcessTable
from producers.process.record import RecordDecoder
from producers.process.ring import Counters, Counts, RingBuffer
from stream.contract.event import Event
from stream.contract.timestamps import format_timestamp, now_timestamp

_LOG = logging.getLogger(__name__)
KIND: Final = "process"
_READ_LIMIT: Final = 512
"""Records per turn, so that a stop request waits for no more than these."""
_ACCOUNT_SECONDS: Final = 1.0
_RECONCILE_SECONDS: Final = 10.0
"""Reading all of /proc takes some 0.1 ms per process; under lasting loss it must not add to it."""
_SETTLE_SECONDS: Final = 3.0
"""How long to wait at a stop for the last events to reach the disk: longer than batches get old."""
_UNCERTAINTY_NANOSECONDS: Final = 100_000_000
"""Between a record's timestamp and its place in the ring lie microseconds, or the time for which a
hypervisor stops that CPU just then."""


class BpfSource:
    """Drains the ring. Every record becomes an event or a counted loss.

    :param attached: the program; owned from now on
    """

    def __init__(
        self,
        attached: AttachedProgram,
        sink: EventSink,
        assembler: EventAssembler,
        table: ProcessTable,
        clock: BootClock,
    ) -> None:
        self._attached = attached
        self._sink = sink
        self._assembler = assembler
        self._table = table
        self._clock = clock
        self._decoder = RecordDecoder()
        self._own_pids = in_initial_pid_namespace()
        self._lacks_ptrace = bool(missing_capabilities(("CAP_SYS_PTRACE",)))
        self._accounted = Counts()
        self._accounted_at = time.time_ns() // 1000
        self._next_account = 0.0
        self._next_reconcile = 0.0
        self._lost_something = False
        self._undecodable = 0
        self._delivered = 0
        self._unread_bytes = 0
        self._handover = Handover(KIND, attached.records, attached.cursor, sink)
        if attached.cursor is not None and attached.resumed:
            self._accounted, self._accounted_at = attached.cursor.accounted
        self._seed()
        if attached.earlier is not None:
            self._drain_earlier(*attached.earlier)
        self._learn(self._handover.history())
        self._skip_repeated(self._handover, attached.records)
        self._handover.begin()

    def poll(self, seconds: float) -> None:
        """See :class:`~producers.process.source.ProcessSource`."""
        if not self._drain():
            self._attached.records.wait(seconds)
        self._handover.settle()
        now = time.monotonic()
        if now >= self._next_account:
            self._next_account = now + _ACCOUNT_SECONDS
            self._account(self._attached.counters)
            if self._lost_something and now >= self._next_reconcile:
                self._next_reconcile = now + _RECONCILE_SECONDS
                self._reconcile()

    def finish(self) -> None:
        """See :class:`~producers.process.source.ProcessSource`."""
        self._attached.detach()
        while self._drain():
            pass
        self._account(self._attached.counters)
        deadline = time.monotonic() + _SETTLE_SECONDS
        while not self._handover.settle() and time.monotonic() < deadline:
            time.sleep(0.02)
        self._attached.close()

    def degraded(self) -> list[str]:
        """See :class:`~producers.process.source.ProcessSource`."""
        if not self._own_pids:
            return [
                "processes that started before this producer are reported without arguments at "
                "their exit, because it runs in a PID namespace of its own; run it with the host's "
                "(hostPID)"
            ]
        if self._lacks_ptrace:
            return [
                "processes that started before this producer are reported without exe and cwd, "
                "because it lacks CAP_SYS_PTRACE; give its container this capability"
            ]
        return []

    def metrics(self) -> dict[str, float]:
        """See :class:`~producers.process.source.ProcessSource`."""
        return {
            "ring_unread_bytes": self._unread_bytes,
            "records_delivered_total": self._delivered,
            "kernel_seen_total": self._accounted.seen,
            "kernel_filtered_total": self._accounted.filtered,
            "kernel_lost_total": self._accounted.lost,
            "records_undecodable_total": self._undecodable,
            "exits_without_exec_total": self._assembler.exits_without_exec,
        }

    def _drain(self) -> bool:
        """Hand over what lies in the ring, up to a limit; whether there may be more."""
        records = self._attached.records
        before = self._clock.now()
        self._unread_bytes = records.unread_bytes
        batch = records.read(_READ_LIMIT)
        if batch:
            self._clock.refresh()
            events = self._events(batch)
            self._delivered += len(events)
            self._sink.emit_many(KIND, events)
            self._handover.handed_over(len(events))
        if len(batch) < _READ_LIMIT:
            watermark = self._clock.microseconds(before - _UNCERTAINTY_NANOSECONDS)
            self._sink.watermark(KIND, watermark)
            return False
        return True

    def _events(self, batch: list[bytes]) -> list[Event]:
        decode, event = self._decoder.decode, self._assembler.event
        events: list[Event] = []
        for raw in batch:
            try:
                events.append(event(decode(raw)))
            except Exception as error:
                # Whatever one record does, the others still count. What is not foreseen is a fault
                # of ours, and is told once with its place.
                if not isinstance(error, RecordError) and not self._undecodable:
                    _LOG.exception("a record makes no event")
                self._undecodable += 1
                self._sink.lost(KIND, "undecodable", 1, stage="observer", detail=repr(error))
        return events

    def _skip_repeated(self, handover: Handover, records: RingBuffer) -> None:
        """Pass over what an earlier life has handed over for good, but learn from it."""
        repeated = handover.repeated()
        while repeated > 0 and (batch := records.read(min(repeated, _READ_LIMIT))):
            repeated -= self._learn(batch)

    def _learn(self, records: Iterable[bytes]) -> int:
        """Follow what happened, without reporting it; gives the number of events it made."""
        count, unknown = 0, self._assembler.exits_without_exec
        for raw in records:
            with contextlib.suppress(RecordError):
                self._assembler.event(self._decoder.decode(raw))
                count += 1
        self._assembler.exits_without_exec = unknown
        return count

    def _account(self, counters: Counters) -> None:
        """Report what the kernel counted since the last time."""
        counts = counters.read()
        change = counts.since(self._accounted)
        now = time.time_ns() // 1000
        if change.filtered:
            self._sink.filtered(KIND, change.filtered)
        if change.lost:
            self._lost_something = True
            self._sink.lost(
                KIND,
                "ring_full",
                change.lost,
                first_ts=format_timestamp(self._accounted_at),
                last_ts=format_timestamp(now),
                detail=f"{change.exec_lost} execs and {change.exit_lost} exits",
            )
        self._accounted, self._accounted_at = counts, now
        if self._attached.cursor is not None:
            self._attached.cursor.accounted = counts, now

    def _seed(self) -> None:
        """Learn what runs already, so that its exit can say what it was."""
        if self._own_pids:
            self._assembler.seed({each.pid: each for each in living_processes()})

    def _reconcile(self) -> None:
        """After a loss: learn of execs that were lost, forget processes whose exit was."""
        self._lost_something = False
        if self._own_pids:
            living = {each.pid: each for each in living_processes()}
            self._assembler.retain(living)
            self._assembler.seed(living)
            _LOG.info("looked at %d living processes after a loss", len(living))

    def _drain_earlier(self, records: RingBuffer, cursor: Cursor) -> None:
        """Hand over what a program of another version still held when it was replaced."""
        self._skip_repeated(Handover(KIND, records, cursor, self._sink), records)
        while batch := records.read(_READ_LIMIT):
            self._sink.emit_many(KIND, self._events(batch))
        records.close()
        cursor.close()
        now = now_timestamp()
        self._sink.lost(KIND, "program_replaced", None, stage="observer", first_ts=now, last_ts=now)

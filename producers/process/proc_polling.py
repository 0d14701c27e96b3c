"""Learns of processes by looking at /proc every second: what remains without any privilege.

It misses nearly every process that lives shorter than a second, and no exit tells its code. That
is better than nothing for services, and says so.
"""

import time
from typing import Final

from msgspec import structs

from producers.base.observer import EventSink
from producers.process.assembly import EventAssembler
from producers.process.boot_clock import BootClock
from producers.process.identity import TICKS_PER_SECOND
from producers.process.proc_files import LivingProcess, living_processes
from stream.contract.kinds.process import ProcessEvent
from stream.contract.timestamps import now_timestamp

KIND: Final = "process"
_SCAN_SECONDS: Final = 1.0
_REPORT_SECONDS: Final = 60.0
_NANOSECONDS_PER_TICK: Final = 1_000_000_000 // TICKS_PER_SECOND


class PollingSource:
    """Compares /proc with what it was a second ago."""

    def __init__(self, sink: EventSink, assembler: EventAssembler, clock: BootClock) -> None:
        self._sink = sink
        self._assembler = assembler
        self._clock = clock
        self._known: dict[str, ProcessEvent] = {}
        self._known = {event.exec_id: event for event in self._scan()}
        self._next_scan = time.monotonic() + _SCAN_SECONDS
        self._reported = now_timestamp()
        self._next_report = time.monotonic() + _REPORT_SECONDS

    def poll(self, seconds: float) -> None:
        """See :class:`~producers.process.source.ProcessSource`."""
        now = time.monotonic()
        if now < self._next_scan:
            time.sleep(min(seconds, self._next_scan - now))
            return
        self._next_scan = now + _SCAN_SECONDS
        self._compare()
        if now >= self._next_report:
            self._next_report = now + _REPORT_SECONDS
            self._report()

    def finish(self) -> None:
        """See :class:`~producers.process.source.ProcessSource`."""
        self._compare()
        self._report()

    def degraded(self) -> list[str]:
        """See :class:`~producers.process.source.ProcessSource`."""
        return [
            "processes are observed by looking at /proc every second: those that live shorter are "
            "missed, and no exit tells its code; run it as root to see all"
        ]

    def metrics(self) -> dict[str, float]:
        """See :class:`~producers.process.source.ProcessSource`."""
        return {"polled_processes": len(self._known)}

    def _compare(self) -> None:
        self._clock.refresh()
        now = self._clock.now()
        current = {event.exec_id: event for event in self._scan()}
        for exec_id, before in self._known.items():
            after = current.get(exec_id)
            if after is None:
                self._sink.emit(KIND, self._ended(before, now))
            elif (after.exe, after.comm, after.argv) == (before.exe, before.comm, before.argv):
                # Nothing new; keep one object.
                current[exec_id] = before
        for exec_id, after in current.items():
            if self._known.get(exec_id) is not after:
                self._sink.emit(KIND, structs.replace(after, ts=self._clock.text(now)))
        self._known = current
        self._sink.watermark(KIND, self._clock.microseconds(now))

    def _ended(self, process: ProcessEvent, now: int) -> ProcessEvent:
        started = int(process.exec_id.split("-")[1]) * _NANOSECONDS_PER_TICK
        return structs.replace(
            process,
            ts=self._clock.text(now),
            action="exit",
            duration_us=max(0, now - started) // 1000,
        )

    def _scan(self) -> list[ProcessEvent]:
        """Every living process that has called exec."""
        living = {each.pid: each for each in living_processes()}
        return [self._event(each, living) for each in living.values() if not each.forked]

    def _event(self, process: LivingProcess, living: dict[int, LivingProcess]) -> ProcessEvent:
        event = self._assembler.describe(process, living.get(process.ppid))
        event.start_ts = self._clock.text(process.start_ticks * _NANOSECONDS_PER_TICK)
        event.degraded = True
        return event

    def _report(self) -> None:
        """What was too short to be seen is a loss that nobody can count."""
        now = now_timestamp()
        self._sink.lost(
            KIND, "polling", None, stage="observer", first_ts=self._reported, last_ts=now
        )
        self._reported = now

"""Converts the boot clock, which the kernel stamps processes with, to UTC."""

import time

from stream.contract.timestamps import format_timestamp

# Two readings of a clock pair differ by some microseconds without any clock having changed.
_JITTER_NANOSECONDS = 100_000
# One of them may be interrupted by the scheduler, hardly all.
_READINGS = 3


class BootClock:
    """The distance between CLOCK_BOOTTIME and CLOCK_REALTIME, as it is now.

    Wall clocks get corrected; :meth:`refresh` follows. So an event's time is right by the wall
    clock of the moment in which it was read, some tens of milliseconds after it happened.
    """

    def __init__(self) -> None:
        self._offset = _measure()

    def refresh(self) -> None:
        """Follow a corrected wall clock."""
        offset = _measure()
        if abs(offset - self._offset) > _JITTER_NANOSECONDS:
            self._offset = offset

    def microseconds(self, boot_nanoseconds: int) -> int:
        """Microseconds since the epoch."""
        return (boot_nanoseconds + self._offset) // 1000

    def text(self, boot_nanoseconds: int) -> str:
        """The time in the form of the wire."""
        return format_timestamp((boot_nanoseconds + self._offset) // 1000)

    @staticmethod
    def now() -> int:
        """Nanoseconds of the boot clock."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _measure() -> int:
    """The distance, from the pair of readings with the least time in between."""
    best, least = 0, 1 << 62
    for _ in range(_READINGS):
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        wall = time.time_ns()
        after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        if after - before < least:
            best, least = wall - (before + after) // 2, after - before
    return best

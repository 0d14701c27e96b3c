"""A wall clock for events that the source does not stamp itself."""

import time
from threading import Lock


class Clock:
    """Microseconds since the epoch that never run backwards, even when the wall clock is set back.

    So a time never falls behind a watermark that was promised. Safe to use from any thread.
    """

    def __init__(self) -> None:
        self._last = 0
        self._lock = Lock()

    def now_us(self) -> int:
        """The time; equal to an earlier one while the wall clock catches up."""
        with self._lock:
            self._last = max(self._last, time.time_ns() // 1000)
            return self._last

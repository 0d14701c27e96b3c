"""The one clock of file events."""

import time
from threading import Lock


class Clock:
    """Microseconds since the epoch that never run backwards, even when the wall clock is set back.

    Neither fanotify nor inotify stamps its events, so the time of an event is when it was read
    from the kernel. Times never fall behind a watermark that was promised.
    """

    def __init__(self) -> None:
        self._last = 0
        self._lock = Lock()

    def now_us(self) -> int:
        """The time; equal to an earlier one while the wall clock catches up."""
        with self._lock:
            self._last = max(self._last, time.time_ns() // 1000)
            return self._last

"""A wall clock that never runs backwards, so that the intervals between samples stay right."""

import time
from collections.abc import Callable

_MICROSECOND = 1000


class SampleClock:
    """UTC in microseconds; when the machine's clock is set back, it goes at half speed until the
    machine's clock has caught up. Set forward, it follows at once."""

    def __init__(
        self,
        wall: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._last_monotonic = monotonic()
        self._last = wall()

    def now(self) -> int:
        """Microseconds since the epoch, later than every earlier answer."""
        monotonic, wall = self._monotonic(), self._wall()
        elapsed = max(0, monotonic - self._last_monotonic)
        self._last_monotonic = monotonic
        self._last = max(wall, self._last + max(elapsed // 2, _MICROSECOND))
        return self._last // _MICROSECOND

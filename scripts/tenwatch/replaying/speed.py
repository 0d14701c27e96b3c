"""How fast a replay feeds: a multiple of the original speed, or as fast as it goes."""

import asyncio
import math
import time

from tenwatch.errors import UsageError

MAX = math.inf


def parse_speed(text: str) -> float:
    """``1x``, ``10x``, ``0.5x`` or ``max``; raises :class:`UsageError`."""
    if text == "max":
        return MAX
    try:
        factor = float(text.removesuffix("x"))
    except ValueError:
        factor = 0.0
    if not (text.endswith("x") and 0 < factor < math.inf):
        raise UsageError(f"{text!r} is not a speed; write 1x, 10x, 0.5x or max")
    return factor


class Pace:
    """Keeps the gaps between messages in proportion."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._origin: tuple[float, int] | None = None

    async def wait_for(self, timestamp_ns: int) -> None:
        """Return when a message of this time is due. Times that go back are due at once."""
        if self._speed == MAX:
            return
        if self._origin is None:
            self._origin = (time.monotonic(), timestamp_ns)
            return
        began, first = self._origin
        due = began + (timestamp_ns - first) / 1e9 / self._speed
        left = due - time.monotonic()
        if left > 0:
            await asyncio.sleep(left)

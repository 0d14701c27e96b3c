"""Times on the wire: RFC 3339, UTC, six fractional digits (``2026-01-02T03:04:05.000006Z``).

One form only, so that times compare as texts and a window is found without parsing: the first 18
characters name a 10-second window.
"""

import calendar
import time
from functools import lru_cache

from stream.contract.errors import TimestampError

LENGTH = 27
MICROSECONDS = 1_000_000


@lru_cache(maxsize=4096)
def _second_text(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


@lru_cache(maxsize=4096)
def _second_of(text: str) -> int:
    try:
        return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%S"))
    except ValueError as error:
        raise TimestampError(f"{text!r} is not a time like 2026-01-02T03:04:05: {error}") from None


def format_timestamp(microseconds: int) -> str:
    """Write microseconds since the epoch (UTC) in the form of the wire."""
    second, fraction = divmod(microseconds, MICROSECONDS)
    return f"{_second_text(second)}.{fraction:06d}Z"


def parse_timestamp(text: str) -> int:
    """Microseconds since the epoch; raises :class:`TimestampError` for any other form."""
    fraction = text[20:26]
    if (
        len(text) != LENGTH
        or text[19] != "."
        or text[26] != "Z"
        or not (fraction.isascii() and fraction.isdigit())
    ):
        raise TimestampError(
            f"{text!r} is not RFC 3339 in UTC with six fractional digits, "
            "like 2026-01-02T03:04:05.000006Z"
        )
    return _second_of(text[:19]) * MICROSECONDS + int(fraction)


def now_timestamp() -> str:
    """The wall clock of this machine in the form of the wire."""
    return format_timestamp(time.time_ns() // 1000)

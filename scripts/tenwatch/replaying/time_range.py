"""Times as people write them: absolute, relative, or the last so-and-so long."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from tenwatch.errors import UsageError

_UNITS = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Microseconds since the epoch, the end not included."""

    start: int
    end: int


def parse_duration(text: str) -> int:
    """Microseconds of ``90s``, ``1h30m``, ``500ms``; raises :class:`UsageError`."""
    total, position = 0.0, 0
    for match in _DURATION.finditer(text):
        if match.start() != position:
            break
        total += float(match[1]) * _UNITS[match[2]]
        position = match.end()
    if not text or position != len(text):
        raise UsageError(f"{text!r} is not a duration; write one like 90s, 10m or 1h30m")
    return int(total)


def parse_moment(text: str, now: int) -> int:
    """Microseconds of a moment; ``now`` is what relative ones count from.

    ``2026-01-02T03:04:05Z`` (an offset like ``+09:00`` works, none means UTC), ``2026-01-02``,
    ``-10m`` or ``now``. Raises :class:`UsageError`.
    """
    if text == "now":
        return now
    if text.startswith("-"):
        return now - parse_duration(text[1:])
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is not a time; write one like 2026-01-02T03:04:05Z, -10m or now"
        ) from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return round(moment.timestamp() * 1_000_000)


def parse_range(start: str | None, end: str | None, last: str | None, now: int) -> TimeRange:
    """The range of ``--from``/``--to`` or ``--last``; raises :class:`UsageError`."""
    if last is not None:
        if start is not None or end is not None:
            raise UsageError("--last names the whole range; leave out --from and --to")
        return TimeRange(now - parse_duration(last), now)
    if start is None:
        raise UsageError("name a range: --from (and --to), or --last 1h")
    found = TimeRange(parse_moment(start, now), parse_moment(end or "now", now))
    if found.start >= found.end:
        raise UsageError(f"the range is empty: {start} is not before {end or 'now'}")
    return found

"""Times and speeds of ``tenwatch replay``."""

import pytest

from tenwatch.errors import UsageError
from tenwatch.replaying.run import Run
from tenwatch.replaying.speed import MAX, parse_speed
from tenwatch.replaying.time_range import TimeRange, parse_duration, parse_moment, parse_range

NOW = 1_800_000_000_000_000
MINUTE = 60_000_000


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [("90s", 90_000_000), ("1h30m", 90 * MINUTE), ("500ms", 500_000), ("0.5h", 30 * MINUTE)],
)
def test_durations(text: str, microseconds: int) -> None:
    assert parse_duration(text) == microseconds


@pytest.mark.parametrize("text", ["", "h", "10", "10x", "1h 30m", "-1h", "1h30"])
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a duration"):
        parse_duration(text)


def test_moments_are_absolute_or_relative_and_utc_unless_said_otherwise() -> None:
    assert parse_moment("now", NOW) == NOW
    assert parse_moment("-10m", NOW) == NOW - 10 * MINUTE
    expected = 1_767_323_045_000_000
    assert parse_moment("2026-01-02T03:04:05Z", NOW) == expected
    assert parse_moment("2026-01-02T03:04:05", NOW) == expected
    assert parse_moment("2026-01-02T12:04:05+09:00", NOW) == expected
    with pytest.raises(UsageError, match="is not a time"):
        parse_moment("yesterday", NOW)


def test_ranges() -> None:
    assert parse_range(None, None, "1h", NOW) == TimeRange(NOW - 60 * MINUTE, NOW)
    assert parse_range("-2h", "-1h", None, NOW).end == NOW - 60 * MINUTE
    for wrong in ((None, None, None), ("-1h", None, "1h"), ("-1h", "-2h", None)):
        with pytest.raises(UsageError):
            parse_range(*wrong, NOW)


def test_speeds() -> None:
    assert parse_speed("max") == MAX
    assert parse_speed("0.5x") == 0.5
    for wrong in ("0x", "-1x", "fast", "10", "infx", "nanx"):
        with pytest.raises(UsageError):
            parse_speed(wrong)


def test_a_run_has_a_name_that_fits_a_subject() -> None:
    assert Run.named("what-if-1").raw_subject("part.0.process.node_2Ea") == (
        "replay.what-if-1.raw.process.node_2Ea"
    )
    assert Run.named(None) != Run.named(None)
    for wrong in ("a.b", "*", "-x", "x" * 33, "a b"):
        with pytest.raises(UsageError):
            Run.named(wrong)

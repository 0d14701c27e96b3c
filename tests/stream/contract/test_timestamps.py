"""One form of time on the wire."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream.contract.errors import TimestampError
from stream.contract.timestamps import LENGTH, format_timestamp, now_timestamp, parse_timestamp

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST = int((datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - EPOCH).total_seconds()) * 10**6
instants = st.integers(0, LAST)


@given(instants)
@example(0)
@example(999_999)
@example(1_709_164_799_999_999)  # the last microsecond of 28 February 2024
@example(1_709_251_199_999_999)  # of 29 February
def test_a_time_comes_back_and_agrees_with_datetime(instant: int) -> None:
    text = format_timestamp(instant)
    assert len(text) == LENGTH
    assert parse_timestamp(text) == instant
    expected = EPOCH + timedelta(microseconds=instant)
    assert datetime.fromisoformat(text) == expected


@given(instants, instants)
def test_times_compare_as_texts(one: int, other: int) -> None:
    assert (format_timestamp(one) < format_timestamp(other)) == (one < other)


@given(instants)
def test_the_first_eighteen_characters_name_the_window(instant: int) -> None:
    window = instant // 10_000_000 * 10_000_000
    assert format_timestamp(instant)[:18] == format_timestamp(window)[:18]
    assert format_timestamp(window)[18:] == "0.000000Z"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-02T03:04:05Z",
        "2026-01-02T03:04:05.000006",
        "2026-01-02T03:04:05.000006+00:00",
        "2026-01-02 03:04:05.000006Z",
        "2026-02-30T03:04:05.000006Z",
        "2026-01-02T03:04:05.00000٣Z",
        "2026-01-02T03:04:05.0000-6Z",
        "2026-01-02T03:04:05,000006Z",
    ],
)
def test_any_other_form_is_refused(text: str) -> None:
    with pytest.raises(TimestampError, match="not"):
        parse_timestamp(text)


@given(st.text(max_size=30))
def test_garbage_is_refused_and_nothing_else_happens(text: str) -> None:
    try:
        instant = parse_timestamp(text)
    except TimestampError:
        return
    assert format_timestamp(instant) == text


def test_now_is_now() -> None:
    before = datetime.now(UTC)
    now = datetime.fromisoformat(now_timestamp())
    assert (
        timedelta() <= now - before.replace(microsecond=before.microsecond) < timedelta(seconds=5)
    )

"""Times of the boot clock as UTC, while somebody turns the wall clock."""

import time

import pytest

from producers.process.boot_clock import BootClock
from stream.contract.timestamps import parse_timestamp

HOUR = 3_600_000_000_000


def test_it_agrees_with_the_wall_clock() -> None:
    clock = BootClock()
    before = time.time_ns() // 1000
    now = BootClock.now()
    after = time.time_ns() // 1000
    assert before - 200 <= clock.microseconds(now) <= after + 200
    assert parse_timestamp(clock.text(now)) == clock.microseconds(now)


@pytest.mark.parametrize("step", [HOUR, -HOUR, 1_000_000])
def test_it_follows_a_wall_clock_that_was_corrected(
    step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = BootClock()
    at = BootClock.now()
    before = clock.microseconds(at)
    really = time.time_ns
    monkeypatch.setattr("producers.process.boot_clock.time.time_ns", lambda: really() + step)
    assert clock.microseconds(at) == before
    clock.refresh()
    assert clock.microseconds(at) - before == pytest.approx(step // 1000, abs=500)


def test_the_time_between_two_readings_is_not_taken_for_a_correction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = BootClock()
    at = BootClock.now()
    before = clock.microseconds(at)
    really = time.time_ns
    monkeypatch.setattr("producers.process.boot_clock.time.time_ns", lambda: really() + 20_000)
    clock.refresh()
    assert abs(clock.microseconds(at) - before) <= 1

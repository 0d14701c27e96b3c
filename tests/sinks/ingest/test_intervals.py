"""Interval sets behave as sets of numbers do."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.ingest.intervals import IntervalSet

intervals = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 12)).map(lambda each: (each[0], sum(each)))
)


@given(intervals, st.tuples(st.integers(0, 60), st.integers(0, 20)))
def test_it_holds_what_a_set_holds(added: list[tuple[int, int]], asked: tuple[int, int]) -> None:
    found, wanted = IntervalSet(), set()
    for first, last in added:
        found.add(first, last)
        wanted |= set(range(first, last + 1))
    assert {value for first, last in found for value in range(first, last + 1)} == wanted
    assert all((value in found) == (value in wanted) for value in range(-1, 80))
    first, last = asked[0], sum(asked)
    missing = found.missing(first, last)
    assert {value for low, high in missing for value in range(low, high + 1)} == (
        set(range(first, last + 1)) - wanted
    )
    # Sorted, disjoint and not touching, so that there are as few as can be.
    both = [list(found), missing]
    for each in both:
        assert all(low <= high for low, high in each)
        assert all(before[1] + 1 < after[0] for before, after in pairwise(each))


def test_an_interval_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ValueError, match="3 to 2 ends before it begins"):
        IntervalSet().add(3, 2)

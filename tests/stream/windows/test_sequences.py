"""Intervals of sequence numbers against plain sets."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from stream.windows.sequences import MAXIMUM_INTERVALS, Intervals

spans = st.tuples(st.integers(0, 60), st.integers(0, 8)).map(lambda s: (s[0], s[0] + s[1]))


@given(st.lists(spans, max_size=40), spans)
def test_intervals_hold_what_a_set_holds(
    added: list[tuple[int, int]], asked: tuple[int, int]
) -> None:
    intervals, plain = Intervals(), set()
    for first, last in added:
        numbers = set(range(first, last + 1))
        missing = {n for low, high in intervals.missing(first, last) for n in range(low, high + 1)}
        assert missing == numbers - plain
        intervals.add(first, last)
        plain |= numbers
    assert len(intervals) == len(plain)
    assert {n for n in range(80) if n in intervals} == plain
    pairs = intervals.pairs()
    assert all(low <= high for low, high in pairs)
    assert all(a[1] + 1 < b[0] for a, b in pairwise(pairs))
    found = intervals.missing(*asked)
    assert {n for low, high in found for n in range(low, high + 1)} == {
        n for n in range(asked[0], asked[1] + 1) if n not in plain
    }
    assert Intervals(pairs).pairs() == pairs


def test_the_oldest_hole_is_closed_beyond_the_bound() -> None:
    intervals = Intervals([(10 * n, 10 * n + 3) for n in range(MAXIMUM_INTERVALS)])
    assert intervals.close_oldest_hole() is None
    intervals.add(10 * MAXIMUM_INTERVALS, 10 * MAXIMUM_INTERVALS)
    assert intervals.close_oldest_hole() == (4, 9)
    assert len(intervals.pairs()) == MAXIMUM_INTERVALS

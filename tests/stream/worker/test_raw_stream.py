"""How much of RAW may go."""

from hypothesis import given
from hypothesis import strategies as st

from stream.worker.raw_stream import StreamFill, purge_before


def test_nothing_goes_while_there_is_space_or_no_limit() -> None:
    assert purge_before(StreamFill(79, 100, 1, 1000), 1001, 0.8, 0.6) == 0
    assert purge_before(StreamFill(10**12, -1, 1, 1000), 1001, 0.8, 0.6) == 0


def test_the_oldest_go_until_the_wanted_fill() -> None:
    assert purge_before(StreamFill(100, 100, 1, 1000), 1001, 0.8, 0.6) == 401


def test_nothing_that_is_not_committed_goes() -> None:
    assert purge_before(StreamFill(100, 100, 1, 1000), 50, 0.8, 0.6) == 50
    assert purge_before(StreamFill(100, 100, 1, 1000), 0, 0.8, 0.6) == 0


@given(
    st.integers(0, 1000), st.integers(-1, 1000), st.integers(1, 500), st.integers(0, 500),
    st.integers(0, 2000),
)  # fmt: skip
def test_what_goes_is_always_committed(
    size: int, limit: int, first: int, count: int, committed: int
) -> None:
    before = purge_before(StreamFill(size, limit, first, first + count), committed, 0.8, 0.6)
    assert before == 0 or first < before <= committed

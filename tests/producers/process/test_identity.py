"""Names of processes: unique, and the same from the kernel's records and from /proc."""

import os
import re

from hypothesis import given
from hypothesis import strategies as st

from producers.process.identity import ProcessNames

positive = st.integers(1, 1 << 40)


@given(st.tuples(positive, positive), st.tuples(positive, positive))
def test_different_processes_have_different_names(
    one: tuple[int, int], two: tuple[int, int]
) -> None:
    names = ProcessNames("n", "boot")
    assert (names.of_ticks(*one) == names.of_ticks(*two)) == (one == two)


def test_nodes_and_boots_are_kept_apart() -> None:
    seen = {ProcessNames(*each).of_ticks(1, 1) for each in [("a", "b"), ("a", "c"), ("b", "b")]}
    assert len(seen) == 3
    # The border between the two parts counts.
    assert ProcessNames("a", "bc").of_ticks(1, 1) != ProcessNames("ab", "c").of_ticks(1, 1)


@given(positive, st.integers(0, 9_999_999))
def test_nanoseconds_and_clock_ticks_give_one_name(ticks: int, fraction: int) -> None:
    names = ProcessNames("n", "boot")
    assert os.sysconf("SC_CLK_TCK") == 100
    assert names.of(7, ticks * 10_000_000 + fraction) == names.of_ticks(7, ticks)


def test_a_living_process_has_a_name_and_a_dead_one_has_none() -> None:
    names = ProcessNames("n")
    own = names.of_living(os.getpid())
    assert own is not None
    assert re.fullmatch(rf"[0-9a-f]{{16}}-\d+-{os.getpid()}", own)
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    assert names.of_living(child) is None

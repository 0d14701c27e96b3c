"""Sets of whole numbers that are mostly without gaps, like the seqs of one boot."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class IntervalSet:
    """Disjoint closed intervals, sorted; touching ones are one."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._firsts, self._lasts, strict=True)

    def __len__(self) -> int:
        """How many intervals."""
        return len(self._firsts)

    def __contains__(self, value: int) -> bool:
        place = bisect_right(self._firsts, value) - 1
        return place >= 0 and value <= self._lasts[place]

    def add(self, first: int, last: int) -> None:
        """Add all from ``first`` to ``last``, both included."""
        if last < first:
            raise ValueError(f"the interval {first} to {last} ends before it begins")
        # All intervals that overlap or touch the new one become part of it.
        low = bisect_left(self._lasts, first - 1)
        high = bisect_right(self._firsts, last + 1)
        if low < high:
            first = min(first, self._firsts[low])
            last = max(last, self._lasts[high - 1])
        self._firsts[low:high] = [first]
        self._lasts[low:high] = [last]

    def missing(self, first: int, last: int) -> list[tuple[int, int]]:
        """What of ``first`` to ``last`` is not in the set, as intervals in order."""
        gaps = []
        place = bisect_left(self._lasts, first)
        while place < len(self._firsts) and self._firsts[place] <= last:
            if self._firsts[place] > first:
                gaps.append((first, self._firsts[place] - 1))
            first = self._lasts[place] + 1
            place += 1
        if first <= last:
            gaps.append((first, last))
        return gaps

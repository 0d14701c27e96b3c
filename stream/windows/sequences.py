"""Which sequence numbers have come: intervals, since a producer counts without a gap."""

from bisect import bisect_right

MAXIMUM_INTERVALS = 4096
"""Intervals kept of one boot. Holes come from a spool that is sent again out of order, some at a
time; beyond the bound the oldest hole is closed."""


class Intervals:
    """A set of whole numbers as sorted, disjoint, not touching intervals (both ends included)."""

    __slots__ = ("ends", "starts")

    def __init__(self, pairs: list[tuple[int, int]] | None = None) -> None:
        self.starts: list[int] = [first for first, _ in pairs or ()]
        self.ends: list[int] = [last for _, last in pairs or ()]

    def __contains__(self, number: int) -> bool:
        place = bisect_right(self.starts, number) - 1
        return place >= 0 and number <= self.ends[place]

    def __len__(self) -> int:
        """How many numbers it holds."""
        return sum(self.ends) - sum(self.starts) + len(self.starts)

    def pairs(self) -> list[tuple[int, int]]:
        """All intervals."""
        return list(zip(self.starts, self.ends, strict=True))

    def missing(self, first: int, last: int) -> list[tuple[int, int]]:
        """The parts of an interval that it does not hold."""
        found = []
        place = bisect_right(self.starts, first) - 1
        if place >= 0 and self.ends[place] >= first:
            first = self.ends[place] + 1
        place += 1
        while first <= last:
            if place == len(self.starts) or self.starts[place] > last:
                found.append((first, last))
                break
            if self.starts[place] > first:
                found.append((first, self.starts[place] - 1))
            first = self.ends[place] + 1
            place += 1
        return found

    def add(self, first: int, last: int) -> None:
        """Put an interval in."""
        starts, ends = self.starts, self.ends
        if ends and starts[-1] <= first <= ends[-1] + 1:
            ends[-1] = max(ends[-1], last)
            return
        left = bisect_right(ends, first - 2)
        right = bisect_right(starts, last + 1)
        if left < right:
            first = min(first, starts[left])
            last = max(last, ends[right - 1])
        starts[left:right] = [first]
        ends[left:right] = [last]

    def close_oldest_hole(self) -> tuple[int, int] | None:
        """Fill the first hole when there are too many intervals; gives the hole."""
        if len(self.starts) <= MAXIMUM_INTERVALS:
            return None
        hole = (self.ends[0] + 1, self.starts[1] - 1)
        self.add(*hole)
        return hole

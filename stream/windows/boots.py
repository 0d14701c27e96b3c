"""What has come from each life of a producer of one kind, and what it promised about it."""

from collections import deque
from typing import Final, NamedTuple

from msgspec import Struct

from stream.contract.timestamps import MICROSECONDS
from stream.windows.sequences import Intervals

MAXIMUM_BOOTS: Final = 256
"""Lives remembered per node and kind. The one that was silent longest is forgotten first, and what
still comes from an older one than that is refused, since it can't be told from a repeat."""
MAXIMUM_PENDING: Final = 64
"""Promises kept whose events have not all come; beyond it the newest replaces the one before."""
HOLE_TIMEOUT: Final = 60 * MICROSECONDS
"""Event time after which events that never came are taken for lost. 60 s: batches of one producer
overtake each other by seconds at most, and what comes later still counts, as late."""
BACKLOG_AGE: Final = 10 * MICROSECONDS
"""From this age of its oldest unacknowledged batch on, a producer works off a backlog, perhaps of
an earlier life; its promise then reaches only to where the backlog begins."""


class Missing(NamedTuple):
    """Events that never came, though their producer says that it sent them."""

    boot: str
    first_seq: int
    last_seq: int


class StoredBoot(Struct, array_like=True):
    """A boot in the state."""

    boot: str
    seen: list[tuple[int, int]]
    gone: list[tuple[int, int]]
    pending: list[tuple[int, int]]
    told: int
    watermark: int
    closing: bool


class Boot:
    """One life of a producer."""

    __slots__ = ("closing", "gone", "pending", "seen", "told", "watermark")

    def __init__(self) -> None:
        self.seen = Intervals()
        """Seqs that have come."""
        self.gone = Intervals()
        """Seqs that won't come, as a loss event said or as was given up."""
        self.pending: deque[tuple[int, int]] = deque()
        """Promises (next_seq, watermark) that hold once everything below next_seq has come."""
        self.told = 0
        """The latest watermark that was promised, whether it holds yet or not."""
        self.watermark = 0
        """The latest promise that holds; microseconds since the epoch, 0 before the first."""
        self.closing = False

    @classmethod
    def load(cls, stored: StoredBoot) -> "Boot":
        """Make it of what :meth:`store` gave."""
        boot = cls()
        boot.seen = Intervals(stored.seen)
        boot.gone = Intervals(stored.gone)
        boot.pending.extend(stored.pending)
        boot.told, boot.watermark = stored.told, stored.watermark
        boot.closing = stored.closing
        return boot

    def store(self, name: str) -> StoredBoot:
        """For the state."""
        return StoredBoot(
            name,
            self.seen.pairs(),
            self.gone.pairs(),
            list(self.pending),
            self.told,
            self.watermark,
            self.closing,
        )

    def promise(
        self, next_seq: int, watermark: int, now: int, oldest_age: int, closing: bool
    ) -> None:
        """Take in a progress record; all times in microseconds."""
        self.told = max(self.told, watermark)
        if oldest_age >= BACKLOG_AGE:
            watermark = min(watermark, now - oldest_age - BACKLOG_AGE)
        if len(self.pending) >= MAXIMUM_PENDING:
            self.pending.pop()
        self.pending.append((next_seq, watermark))
        self.closing = closing

    def advance(self) -> list[tuple[int, int]]:
        """Let the promises hold for which everything has come; gives the seqs given up for it."""
        given_up: list[tuple[int, int]] = []
        while self.pending:
            next_seq, watermark = self.pending[0]
            holes = self._holes(next_seq)
            if holes and self.told - watermark < HOLE_TIMEOUT:
                break
            for first, last in holes:
                self.gone.add(first, last)
                given_up.append((first, last))
            self.watermark = max(self.watermark, watermark)
            self.pending.popleft()
        return given_up

    def _holes(self, next_seq: int) -> list[tuple[int, int]]:
        if next_seq <= 0:
            return []
        holes = self.seen.missing(0, next_seq - 1)
        if not holes or not self.gone.starts:
            return holes
        return [part for hole in holes for part in self.gone.missing(*hole)]

"""Places in the spool, and what its parts tell each other."""

from dataclasses import dataclass, field
from typing import NamedTuple

from producers.base.spool_record import Meta


class Position(NamedTuple):
    """A place in the spool; compares in the order of the log."""

    segment: int
    offset: int


@dataclass(slots=True)
class LostRange:
    """Batches of one (boot, kind) without a gap between them; what a loss event tells of them."""

    meta: Meta
    first_seq: int
    last_seq: int
    first_ts: str
    last_ts: str

    @property
    def count(self) -> int:
        """Events in it."""
        return self.last_seq - self.first_seq + 1


class Ranges:
    """Collects batches into :class:`LostRange`, one per (boot, kind) and run of seqs."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], list[LostRange]] = {}

    def add(self, meta: Meta) -> None:
        """Add one batch."""
        ranges = self._open.setdefault((meta.boot, meta.kind), [])
        if ranges and ranges[-1].last_seq + 1 == meta.first_seq:
            ranges[-1].last_seq = meta.last_seq
            ranges[-1].last_ts = meta.last_ts or ranges[-1].last_ts
        else:
            ranges.append(
                LostRange(meta, meta.first_seq, meta.last_seq, meta.first_ts, meta.last_ts)
            )

    def missing(self, boot: str, kind: str, first_seq: int, last_seq: int) -> list[tuple[int, int]]:
        """The parts of a run of seqs, first and last of each, that were not collected."""
        found = [(first_seq, last_seq)]
        for each in self._open.get((boot, kind), ()):
            found = [
                part
                for first, last in found
                for part in ((first, min(last, each.first_seq - 1)),
                             (max(first, each.last_seq + 1), last))
                if part[0] <= part[1]
            ]  # fmt: skip
        return found

    def all(self) -> list[LostRange]:
        """What was collected."""
        return [each for ranges in self._open.values() for each in ranges]


@dataclass(slots=True)
class Stored:
    """A batch that was read from the spool; ``end`` is the cursor behind it."""

    meta: Meta
    payload: bytes
    position: Position
    end: Position


@dataclass(slots=True)
class Recovery:
    """What a start found on disk."""

    batches: int = 0
    """Batches above the floor."""
    bytes: int = 0
    torn_bytes: int = 0
    """At the very end: a write that the last life didn't finish."""
    damaged_bytes: int = 0
    """Elsewhere: the disk's fault."""
    gaps: list[LostRange] = field(default_factory=list)
    """Seqs that lay where the damage is."""
    unexplained_bytes: int = 0
    """Damage behind which no such gap shows, so that nobody knows what it took."""
    found: Ranges = field(default_factory=Ranges)
    """Every batch on disk, acknowledged or not."""
    next_seqs: dict[str, tuple[str, int]] = field(default_factory=dict)
    """By kind: the last life of which anything is left, acknowledged or not, and the seq behind."""

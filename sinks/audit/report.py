"""What an audit finds."""

from dataclasses import dataclass, field
from enum import IntEnum


class AuditExit(IntEnum):
    """Exit codes of ``tenwatch audit``."""

    BALANCED = 0
    NOT_BALANCED = 1


@dataclass(frozen=True, slots=True)
class Gap:
    """Seqs that were announced and are neither stored nor explained."""

    kind: str
    node: str
    boot: str
    first_seq: int
    last_seq: int
    after_offset: int | None
    """Where in the RAW log the event before the gap lies; None at the begin."""
    before_offset: int | None
    """Where the event after it lies; None at the end."""
    log_partition: int
    place: str
    """Where in the chain it can have happened, in words."""

    @property
    def count(self) -> int:
        """How many are missing."""
        return self.last_seq - self.first_seq + 1


@dataclass(frozen=True, slots=True)
class Repeat:
    """Seqs that were accounted for more than once."""

    kind: str
    node: str
    boot: str
    first_seq: int
    last_seq: int
    log_partition: int
    log_offset: int

    @property
    def count(self) -> int:
        """How many are there again."""
        return self.last_seq - self.first_seq + 1


@dataclass(slots=True)
class BootAudit:
    """The account of one boot.

    ``emitted = stored + dead + lost + in_flight + missing - repeated``.
    """

    kind: str
    node: str
    boot: str
    emitted: int = 0
    """Events that got a seq, as the producer announced, or as far as any was seen."""
    announced: bool = False
    """Whether a progress record says how many there are."""
    stored: int = 0
    dead: int = 0
    """Refused by worker or store; kept as dead letters."""
    lost: int = 0
    """With a seq, and counted in loss records that name it."""
    in_flight: int = 0
    """Announced a moment ago and not yet stored."""
    missing: int = 0
    repeated: int = 0
    seen: int = 0
    filtered: int = 0
    lost_at_source: int = 0
    """Lost before they had a seq, by the producer's own count."""
    reported_lost_at_source: int = 0
    """The same by its loss records."""
    unknown_losses: int = 0
    """Loss records of unknown count."""
    rows: int | None = None
    """Rows in the table, where they were counted, too."""
    problems: list[str] = field(default_factory=list)

    @property
    def balanced(self) -> bool:
        """Whether nothing is unexplained."""
        return not self.problems


@dataclass(slots=True)
class AuditReport:
    """The whole audit."""

    boots: list[BootAudit] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    repeats: list[Repeat] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def balanced(self) -> bool:
        """Whether every boot balances. An audit of nothing doesn't: it has proved nothing."""
        return bool(self.boots) and all(boot.balanced for boot in self.boots)

    @property
    def exit_code(self) -> int:
        """For the process that ran it."""
        return AuditExit.BALANCED if self.balanced else AuditExit.NOT_BALANCED

    def totals(self) -> dict[str, int]:
        """Sums over all boots."""
        names = (
            "emitted", "stored", "dead", "lost", "in_flight", "missing", "repeated",
            "lost_at_source", "unknown_losses",
        )  # fmt: skip
        return {name: sum(getattr(boot, name) for boot in self.boots) for name in names}

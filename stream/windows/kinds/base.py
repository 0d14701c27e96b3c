"""What a kind of bucket declares: its cell, the rows that a cell counts in, and how cells merge.

A cell sums up the events of one owner in one window. Rows of every scope are merges of cells, so
an event is counted once, in one cell, whatever number of rows it shows up in.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol, Self

from msgspec import Struct

from stream.windows.scopes import CellKey, ScopeKey, scopes_by_owner

DISTINCT_BOUND: Final = 1024
"""Different things told apart per cell and row; this number stands for that many or more."""


class Cell(Struct, array_like=True):
    """What every cell counts."""

    samples: int = 0
    late: int = 0
    """Events that came after the window had closed."""
    clamped: int = 0
    """Events from far in the future, counted in this window instead."""

    def add(self, event: Any) -> None:
        """Count one event; ``samples`` is counted by the caller."""
        raise NotImplementedError

    def merge(self, other: Self) -> None:
        """Add another cell's counts, without ``samples``, ``late`` and ``clamped``."""
        raise NotImplementedError

    def metrics(self) -> dict[str, Any]:
        """The metrics of a row of this cell; what is not known is left out."""
        raise NotImplementedError


class Places(Protocol):
    """Gives the cells that an event may change besides the one it counts in."""

    def cell(self, second: int) -> Any:
        """The same owner's cell in the window around a time; None when that is closed for good."""

    def node_cell(self, second: int) -> Any:
        """The cell of the node as a whole, of variant ``node``, in that window; or None."""


class Memory(Protocol):
    """What a kind remembers of one node across windows."""

    def record(self, event: Any, microseconds: int, cell: Any, places: Places) -> None:
        """Count what follows from this event and what was remembered; remember the event.

        ``cell`` is the one that the event counts in.
        """

    def dump(self) -> bytes:
        """For the state."""


Rows = dict[ScopeKey, Any]


@dataclass(frozen=True, slots=True)
class BucketKind:
    """One kind of bucket."""

    name: str
    """The kind of events."""
    cell: type[Cell]
    variant: Callable[[Any], str] | None = None
    """Splits the events of one owner into cells of their own (a cgroup sample's scope)."""
    scopes: Callable[[CellKey], tuple[ScopeKey, ...]] = scopes_by_owner
    """The rows that a cell counts in."""
    memory: Callable[[], Memory] | None = None
    """Makes an empty memory, where the kind needs one."""
    load_memory: Callable[[bytes], Memory] | None = None
    finish: Callable[[Mapping[CellKey, Any], Rows], None] | None = None
    """Last changes to the wanted rows of one window, given all its cells."""


@lru_cache(maxsize=65536)
def fingerprint(text: str) -> int:
    """64 bits that stand for a text, the same in every process."""
    return int.from_bytes(
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    )


def merge_distinct(known: set[int], other: set[int]) -> None:
    """Unite two bounded sets."""
    known |= other
    if len(known) > DISTINCT_BOUND:
        for extra in sorted(known)[DISTINCT_BOUND:]:
            known.discard(extra)

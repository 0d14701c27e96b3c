"""What a worker keeps of one partition between events: bytes by key, in one atomic commit.

The parts of a worker write to it through this seam, and know nothing of what keeps it.
"""

from collections.abc import Iterable
from typing import Any, Protocol


class Stored(Protocol):
    """A live object that can be written down when a commit is made."""

    def dump(self) -> bytes:
        """Its content now; never empty."""


class StateStore(Protocol):
    """State of one partition by key. A value is a live object, or the bytes that it once gave."""

    def __setitem__(self, key: str, value: Stored | bytes) -> None:
        """Note that a key changed; its object is dumped when the next commit is made."""

    def __delitem__(self, key: str) -> None:
        """Drop a key."""

    def __contains__(self, key: object) -> bool:
        """Whether the key is there."""

    def __getitem__(self, key: str) -> Any:
        """The object or the bytes."""

    def items(self) -> Iterable[tuple[str, Any]]:
        """Everything that is there."""

    def load(self, key: str, value: Stored | bytes) -> None:
        """Replace bytes by the live object that was made of them, or back; no change of state."""

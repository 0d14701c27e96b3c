"""What the join of a kind must do."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from stream.contract.owner import Owner


class JoinedLines(NamedTuple):
    """The result for a batch; both lists are parallel to its lines."""

    owners: list[Owner]
    suffixes: list[bytes]
    """What is written before a line's closing brace; starts with a comma or is empty."""


class KindJoin(Protocol):
    """Joins lines of one kind and one node. Reads only what the log held before them."""

    def missing(self, events: Sequence[Any]) -> bool:
        """Whether something is not known yet that is worth waiting for. Changes nothing."""

    def give_up(self, events: Sequence[Any]) -> bool:
        """The wait was in vain: note what is not to be waited for again. True if that is new."""

    def join(self, events: Sequence[Any]) -> JoinedLines:
        """Join with what is known now, take in what the lines tell, and set added attributes."""

"""Kind ``hostpath``: entries of folders of the node; rules may tell whose they are."""

from collections.abc import Sequence

from stream.enrichment.facts import NodeFacts
from stream.enrichment.kinds.base import JoinedLines
from stream.enrichment.lines import HostPathLine
from stream.enrichment.owners import suffix_of


class HostPathJoin:
    """Identity by path."""

    def __init__(self, facts: NodeFacts) -> None:
        self._facts = facts

    def missing(self, events: Sequence[HostPathLine]) -> bool:
        return False

    def give_up(self, events: Sequence[HostPathLine]) -> bool:
        return False

    def join(self, events: Sequence[HostPathLine]) -> JoinedLines:
        resolver = self._facts.resolver
        owners = [
            resolver.owner("hostpath", fields={"path": f"{event.root}/{event.path}"})
            for event in events
        ]
        return JoinedLines(owners, [suffix_of("hostpath", owner) for owner in owners])

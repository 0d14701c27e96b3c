"""Kind ``pod``: the metadata itself."""

from collections.abc import Sequence

from stream.enrichment.facts import NodeFacts
from stream.enrichment.kinds.base import JoinedLines
from stream.enrichment.lines import PodLine
from stream.enrichment.owners import suffix_of


class PodJoin:
    """Fills the table that the other kinds are joined to."""

    def __init__(self, facts: NodeFacts) -> None:
        self._facts = facts

    def missing(self, events: Sequence[PodLine]) -> bool:
        return False

    def give_up(self, events: Sequence[PodLine]) -> bool:
        return False

    def join(self, events: Sequence[PodLine]) -> JoinedLines:
        owners = []
        for event in events:
            self._facts.pods.apply(event)
            owners.append(self._facts.resolver.owner("pod", event.pod_uid))
        self._facts.pods_changed()
        return JoinedLines(owners, [suffix_of("pod", owner) for owner in owners])

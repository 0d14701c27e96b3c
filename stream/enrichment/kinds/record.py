"""Kinds ``progress`` and ``loss``: what producers say of themselves; nothing is joined."""

from collections.abc import Sequence

from stream.contract.owner import HOST_OWNER
from stream.enrichment.facts import NodeFacts
from stream.enrichment.kinds.base import JoinedLines
from stream.enrichment.lines import Line


class RecordJoin:
    """They belong to the node."""

    def __init__(self, facts: NodeFacts) -> None:
        self._facts = facts

    def missing(self, events: Sequence[Line]) -> bool:
        return False

    def give_up(self, events: Sequence[Line]) -> bool:
        return False

    def join(self, events: Sequence[Line]) -> JoinedLines:
        return JoinedLines([HOST_OWNER] * len(events), [b',"resolved":true'] * len(events))

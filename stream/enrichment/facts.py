"""All that enrichment knows of one node, as the log told it so far."""

from typing import Final

from stream.contract.timestamps import MICROSECONDS, format_timestamp
from stream.enrichment.files import FileTable
from stream.enrichment.identity import IdentityRules
from stream.enrichment.owners import OwnerResolver
from stream.enrichment.pods import PodTable
from stream.enrichment.processes import ProcessTable

DELETED_POD_SECONDS: Final = 600
"""How long a deleted pod stays joinable, in event time. 10 minutes: longer than any producer's
spool usually holds events back, and few pods even where many come and go."""
ENDED_PROCESS_SECONDS: Final = 15
"""How long a process that ended stays joinable, in event time. A file event follows its writer by
the debounce (3 s at most) and a flush."""


class NodeFacts:
    """Tables of one node, and its clock as its producers tell it."""

    def __init__(self, node: str, rules: IdentityRules) -> None:
        self.node = node
        self.pods = PodTable()
        self.processes = ProcessTable()
        self.files = FileTable()
        self.clock = 0
        """Latest time of any progress record of the node; microseconds since the epoch."""
        self.process_clock = 0
        """The same of the process producer: what it saw until then has come."""
        self.pods_stopped = False
        """Whether the pod producer has said that it stops; then nobody waits for metadata."""
        self.resolver = OwnerResolver(node, self.pods, rules)
        self.generation = 0
        """Rises when pods or rules change, so that what was joined before is joined anew."""

    def pods_changed(self) -> None:
        """Forget what was joined with the pods as they were."""
        self.generation += 1

    def replace_pods(self, pods: PodTable) -> None:
        """Use a table that was loaded."""
        self.pods = pods
        self.resolver = OwnerResolver(self.node, pods, self.resolver.rules)
        self.generation += 1

    def use_rules(self, rules: IdentityRules) -> None:
        """Identify by other rules from now on."""
        self.resolver = OwnerResolver(self.node, self.pods, rules)
        self.generation += 1

    def text_before(self, seconds: int) -> str:
        """The node's clock less some seconds, in the form of the wire."""
        return format_timestamp(max(0, self.clock - seconds * MICROSECONDS))

    def forget(self) -> bool:
        """Drop what is too old to be joined; True if pods were dropped."""
        self.processes.forget_ended(self.text_before(ENDED_PROCESS_SECONDS))
        if self.pods.forget_deleted(self.text_before(DELETED_POD_SECONDS)):
            self.pods_changed()
            return True
        return False

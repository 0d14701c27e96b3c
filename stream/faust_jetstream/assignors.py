"""What faust asks about the assignment and the leader, answered from the group's view."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from faust.assignor.client_assignment import ClientAssignment
from faust.assignor.leader_assignor import LeaderAssignor as FaustLeaderAssignor
from faust.assignor.partition_assignor import PartitionAssignor as FaustPartitionAssignor
from faust.types import TP

if TYPE_CHECKING:
    from .membership import View


class PartitionAssignor(FaustPartitionAssignor):  # type: ignore[misc]
    """Holds the assignment the coordinator made, and where every partition lives."""

    def set_assignment(self, assigned: Iterable[TP], view: "View", topics: dict[str, int]) -> None:
        """Take over an assignment: our topic partitions, and every member's web address."""
        actives: dict[str, list[int]] = {}
        for tp in sorted(assigned):
            actives.setdefault(tp.topic, []).append(tp.partition)
        self._assignment = ClientAssignment(actives=actives, standbys={})
        self._active_tps = self._assignment.active_tps
        self._standby_tps: set[TP] = set()
        self._topic_groups = dict.fromkeys(topics, 0)
        places: dict[str, dict[str, list[int]]] = {}
        for member, partitions in view.assignment.items():
            url = view.urls.get(member)
            if url:
                places[url] = {
                    topic: [p for p in partitions if p < count] for topic, count in topics.items()
                }
        self.changelog_distribution = places
        self.external_topic_distribution = places


class LeaderAssignor(FaustLeaderAssignor):  # type: ignore[misc]
    """Asks the group who leads, where faust has a topic for it."""

    async def on_start(self) -> None:
        """Nothing to declare."""

    def is_leader(self) -> Any:
        """Whether this worker leads the group."""
        return self.app.consumer.coordinator.is_leader()

"""Kind ``cgroup``: samples of containers, pods and the node."""

from collections.abc import Sequence

from stream.contract.cgroups import CgroupOwner, cgroup_owner
from stream.enrichment.facts import NodeFacts
from stream.enrichment.kinds.base import JoinedLines
from stream.enrichment.lines import CgroupLine
from stream.enrichment.owners import Joined, suffix_of


class CgroupJoin:
    """Pod and container by what the sample says, else by its path."""

    def __init__(self, facts: NodeFacts) -> None:
        self._facts = facts
        self._joined: dict[tuple[str, str, str], Joined] = {}
        self._generation = -1

    def missing(self, events: Sequence[CgroupLine]) -> bool:
        pods = self._facts.pods
        for event in events:
            pod_uid, container_id = _owner(event)
            if pod_uid and pods.missing(pod_uid, container_id):
                return True
        return False

    def give_up(self, events: Sequence[CgroupLine]) -> bool:
        changed = False
        for event in events:
            pod_uid, container_id = _owner(event)
            if pod_uid:
                changed |= self._facts.pods.give_up(pod_uid, container_id)
        return changed

    def join(self, events: Sequence[CgroupLine]) -> JoinedLines:
        if self._generation != self._facts.generation:
            self._joined.clear()
            self._generation = self._facts.generation
        found = [self._join(event) for event in events]
        return JoinedLines([each.owner for each in found], [each.suffix for each in found])

    def _join(self, event: CgroupLine) -> Joined:
        key = (event.cgroup, event.pod_uid, event.container_id)
        joined = self._joined.get(key)
        if joined is None:
            pod_uid, container_id = _owner(event)
            owner = self._facts.resolver.owner(
                "cgroup", pod_uid, container_id, {"cgroup": event.cgroup}
            )
            tail = suffix_of("cgroup", owner)
            if pod_uid and not event.pod_uid:
                tail += f',"pod_uid":"{pod_uid}"'.encode()
            if container_id and not event.container_id:
                tail += f',"container_id":"{container_id}"'.encode()
            joined = Joined(owner, tail)
            if len(self._joined) > 20_000:
                self._joined.clear()
            self._joined[key] = joined
        return joined


def _owner(event: CgroupLine) -> CgroupOwner:
    """What the sampler says of a cgroup counts; a node sample has no owner."""
    if event.scope == "node":
        return CgroupOwner("", "")
    by_path = cgroup_owner(event.cgroup)
    container = event.container_id or by_path.container_id
    return CgroupOwner(event.pod_uid or by_path.pod_uid, container)

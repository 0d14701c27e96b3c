"""How lines of each kind are joined. A new kind is one module here and one line in ``_JOINS``."""

from collections.abc import Callable
from typing import Final

from stream.enrichment.facts import NodeFacts
from stream.enrichment.kinds.base import KindJoin
from stream.enrichment.kinds.cgroup import CgroupJoin
from stream.enrichment.kinds.file import FileJoin, SnapshotJoin
from stream.enrichment.kinds.hostpath import HostPathJoin
from stream.enrichment.kinds.pod import PodJoin
from stream.enrichment.kinds.process import ProcessJoin
from stream.enrichment.kinds.record import RecordJoin

_JOINS: Final[dict[str, Callable[[NodeFacts], KindJoin]]] = {
    "process": ProcessJoin,
    "file": FileJoin,
    "snapshot": SnapshotJoin,
    "hostpath": HostPathJoin,
    "cgroup": CgroupJoin,
    "pod": PodJoin,
    "progress": RecordJoin,
    "loss": RecordJoin,
}


def join_of(kind: str, facts: NodeFacts) -> KindJoin:
    """The join of a kind for one node."""
    return _JOINS[kind](facts)

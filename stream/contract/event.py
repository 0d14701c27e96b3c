"""What every event has: its identity, its time, and what a worker adds to it.

An event is identified by (node, kind, boot, seq). ``boot`` names one life of one producer process,
``seq`` counts without a gap from 0 within (node, kind, boot). Everything that dedupes, and the
audit, relies on it.

A worker never rewrites a line: it appends the fields of :class:`Enrichment` to it. So fields that
a newer producer sends and an older worker doesn't know pass through untouched.
"""

from dataclasses import dataclass

from msgspec import Struct


class Event(Struct, kw_only=True, omit_defaults=True):
    """The fields that all kinds share, in the order in which they are written."""

    ts: str
    """When it happened, taken at the source; see :mod:`stream.contract.timestamps`."""
    node: str = ""
    """The Kubernetes node's name (not escaped). Set by the publisher."""
    boot: str = ""
    """The life of the producer that saw it; see :func:`new_boot_id`. Set by the publisher."""
    seq: int = -1
    """Place among this producer's events of this kind, from 0, without a gap; by the publisher."""


class Enrichment(Struct, kw_only=True, omit_defaults=True):
    """The fields that a worker appends to a line. Absent means empty (or false)."""

    namespace: str = ""
    pod: str = ""
    pod_uid: str = ""
    container: str = ""
    container_id: str = ""
    workload_kind: str = ""
    """``Deployment``, ``StatefulSet``, ``DaemonSet``, ``Job``, ``CronJob``, ``Pod``…"""
    workload: str = ""
    course: str = ""
    division: str = ""
    student: str = ""
    assignment: str = ""
    resolved: bool = False
    """Whether the pod (or host process) it belongs to is known."""


class LogPosition(Struct, kw_only=True):
    """The place of a line in the log; the order that a replay feeds again. Appended by a worker."""

    log_partition: int
    log_offset: int
    """Sequence of the RAW message in its stream."""
    log_line: int
    """Line within that message, from 0."""


@dataclass(frozen=True, slots=True)
class KindDefinition:
    """One kind of event: its name in subjects, its major schema version, and its struct."""

    name: str
    version: int
    event: type[Event]
    description: str

    @property
    def schema(self) -> str:
        """What the schema header says: ``process/1``."""
        return f"{self.name}/{self.version}"

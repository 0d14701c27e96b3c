"""What is known of the pods of one node: a table filled from the log alone.

Pods that are gone stay joinable for some minutes of event time, since what their processes did
arrives after them.
"""

from typing import Final

import msgspec
from msgspec import Struct

from stream.enrichment.lines import PodLine

MAXIMUM_PODS: Final = 4096
"""Pods remembered per node; a kubelet runs some hundreds. The longest gone go first."""
MAXIMUM_CONTAINERS: Final = 128
"""Containers remembered per pod, over its restarts; the oldest go first."""
MAXIMUM_UNKNOWN: Final = 4096
"""Pods and containers that were waited for in vain; the oldest go first."""


class PodRecord(Struct, array_like=True):
    """One pod."""

    pod_uid: str
    namespace: str = ""
    pod: str = ""
    workload_kind: str = ""
    workload: str = ""
    hostname: str = ""
    labels: dict[str, str] = {}
    containers: dict[str, str] = {}
    """Names by container id."""
    deleted_at: str = ""
    """Time of its deletion; empty while it lives."""


class _Stored(Struct, array_like=True):
    pods: dict[str, PodRecord]
    unknown: list[str]


_decoder = msgspec.msgpack.Decoder(_Stored)
_encode = msgspec.msgpack.Encoder().encode


class PodTable:
    """Pods of one node by UID. Nothing here reads a clock."""

    def __init__(self) -> None:
        self.pods: dict[str, PodRecord] = {}
        self._unknown: dict[str, None] = {}

    @classmethod
    def load(cls, stored: bytes) -> "PodTable":
        """Make a table of what :meth:`dump` wrote."""
        table = cls()
        content = _decoder.decode(stored)
        table.pods = content.pods
        table._unknown = dict.fromkeys(content.unknown)
        return table

    def dump(self) -> bytes:
        """The whole table."""
        return _encode(_Stored(self.pods, list(self._unknown)))

    def apply(self, event: PodLine) -> None:
        """Take in one observation or deletion. What it leaves out stays as it was known."""
        record = self.pods.pop(event.pod_uid, None) or PodRecord(event.pod_uid)
        for name in ("namespace", "pod", "workload_kind", "workload", "hostname", "labels"):
            value = getattr(event, name)
            if value:
                setattr(record, name, value)
        for container in event.containers:
            if container.container_id:
                record.containers.pop(container.container_id, None)
                record.containers[container.container_id] = container.name
                self._unknown.pop(container.container_id, None)
        while len(record.containers) > MAXIMUM_CONTAINERS:
            del record.containers[next(iter(record.containers))]
        record.deleted_at = event.ts if event.action == "deleted" else ""
        self.pods[event.pod_uid] = record
        self._unknown.pop(event.pod_uid, None)
        while len(self.pods) > MAXIMUM_PODS:
            gone = [uid for uid, each in self.pods.items() if each.deleted_at]
            del self.pods[min(gone, key=lambda uid: self.pods[uid].deleted_at)
                          if gone else next(iter(self.pods))]  # fmt: skip

    def missing(self, pod_uid: str, container_id: str) -> bool:
        """Whether it is worth waiting for metadata of this pod and container."""
        if pod_uid in self._unknown:
            return False
        record = self.pods.get(pod_uid)
        if record is None:
            return True
        return bool(
            container_id
            and container_id not in record.containers
            and container_id not in self._unknown
            and not record.deleted_at
        )

    def give_up(self, pod_uid: str, container_id: str) -> bool:
        """Note that the wait was in vain, so that nothing waits for it again.

        True if that changes the table.
        """
        if not self.missing(pod_uid, container_id):
            return False
        self._unknown[container_id if pod_uid in self.pods else pod_uid] = None
        while len(self._unknown) > MAXIMUM_UNKNOWN:
            del self._unknown[next(iter(self._unknown))]
        return True

    def forget_deleted(self, before: str) -> bool:
        """Drop the pods that were deleted before a time; True if there were any."""
        gone = [
            uid for uid, each in self.pods.items() if each.deleted_at and each.deleted_at < before
        ]
        for uid in gone:
            del self.pods[uid]
        return bool(gone)

"""What is known of all pods, and which events tell what changed."""

from collections.abc import Iterable

from producers.pod.api_source import AllPods, Change, PodChanged
from producers.pod.records import PodRecord, event_of, merged
from stream.contract.kinds.pod import PodEvent


class PodTable:
    """Joins both sources. A pod that the API deleted stays deleted, though its log folder and its
    last processes outlive it on the node."""

    def __init__(self) -> None:
        self._api: dict[str, PodRecord] = {}
        self._node: dict[str, PodRecord] = {}
        self._deleted: set[str] = set()
        """Deleted in the API, still to be seen on the node."""
        self._published: dict[str, tuple[PodRecord, bool]] = {}

    def __len__(self) -> int:
        return len(self._published)

    def from_api(self, changes: Iterable[Change]) -> None:
        """Take in what the API told, in its order."""
        for change in changes:
            if isinstance(change, AllPods):
                found = {each.uid: each for each in change.records}
                self._deleted.update(uid for uid in self._api if uid not in found)
                self._deleted.difference_update(found)
                self._api = found
            elif isinstance(change, PodChanged):
                self._api[change.record.uid] = change.record
                self._deleted.discard(change.record.uid)
            else:
                self._api.pop(change.record.uid, None)
                self._deleted.add(change.record.uid)

    def from_node(self, found: dict[str, PodRecord]) -> None:
        """Take in what the node shows now."""
        self._node = found
        self._deleted.intersection_update(found)

    def events(self, ts: str, *, everything: bool = False) -> list[PodEvent]:
        """What changed since the last call; with ``everything``, every pod that lives, too."""
        events = []
        living: dict[str, tuple[PodRecord, bool]] = {}
        for uid in {**self._api, **self._node}:
            if uid in self._deleted:
                continue
            record = merged(self._api.get(uid), self._node.get(uid))
            if record is None or not record.named:
                continue
            living[uid] = record, uid in self._api
            if everything or self._published.get(uid) != living[uid]:
                events.append(event_of(record, ts=ts, deleted=False, from_api=uid in self._api))
        for uid, (record, from_api) in self._published.items():
            if uid not in living:
                events.append(event_of(record, ts=ts, deleted=True, from_api=from_api))
        self._published = living
        return events

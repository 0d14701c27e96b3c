"""Buckets of kind ``snapshot``: how much content was kept."""

from typing import Any, Final, Self

from stream.windows.kinds.base import BucketKind, Cell


class SnapshotCell(Cell, array_like=True):
    """Number and size of contents."""

    bytes_: int = 0

    def add(self, event: Any) -> None:
        self.bytes_ += event.size

    def merge(self, other: Self) -> None:
        self.bytes_ += other.bytes_

    def metrics(self) -> dict[str, Any]:
        return {"snapshots": self.samples, "snapshot_bytes": self.bytes_}


SNAPSHOT: Final = BucketKind("snapshot", SnapshotCell)

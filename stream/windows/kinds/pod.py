"""Buckets of kind ``pod``: observations and deletions of pods."""

from typing import Any, Final, Self

from stream.windows.kinds.base import BucketKind, Cell


class PodCell(Cell, array_like=True):
    """How often metadata came."""

    observed: int = 0
    deleted: int = 0

    def add(self, event: Any) -> None:
        if event.action == "deleted":
            self.deleted += 1
        else:
            self.observed += 1

    def merge(self, other: Self) -> None:
        self.observed += other.observed
        self.deleted += other.deleted

    def metrics(self) -> dict[str, Any]:
        return {"pods_observed": self.observed, "pods_deleted": self.deleted}


POD: Final = BucketKind("pod", PodCell)

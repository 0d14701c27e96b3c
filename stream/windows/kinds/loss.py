"""Buckets of kind ``loss``: what producers said that they lost."""

from typing import Any, Final, Self

from stream.windows.kinds.base import BucketKind, Cell


class LossCell(Cell, array_like=True):
    """Records of loss, and how much they speak of."""

    lost: int = 0
    unknown: int = 0

    def add(self, event: Any) -> None:
        if event.count is None:
            self.unknown += 1
        else:
            self.lost += event.count

    def merge(self, other: Self) -> None:
        self.lost += other.lost
        self.unknown += other.unknown

    def metrics(self) -> dict[str, Any]:
        return {"losses": self.samples, "lost": self.lost, "lost_unknown": self.unknown}


LOSS: Final = BucketKind("loss", LossCell)

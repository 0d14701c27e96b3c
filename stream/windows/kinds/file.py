"""Buckets of kind ``file``: files that appeared, changed, moved or went, and by how much."""

from typing import Any, Final, Self

from msgspec import field

from stream.windows.kinds.base import BucketKind, Cell, add_distinct, merge_distinct

_COUNTS: Final = (
    "creates",
    "modifies",
    "deletes",
    "moves",
    "found",
    "bytes_delta",
    "bytes_changed",
    "lines_delta",
    "lines_changed",
)
_OF_ACTION: Final = {
    "created": "creates",
    "modified": "modifies",
    "deleted": "deletes",
    "moved": "moves",
    "found": "found",
}


class FileCell(Cell, array_like=True):
    """``found`` is what a first scan saw: it touched nothing."""

    creates: int = 0
    modifies: int = 0
    deletes: int = 0
    moves: int = 0
    found: int = 0
    bytes_delta: int = 0
    bytes_changed: int = 0
    lines_delta: int = 0
    lines_changed: int = 0
    paths: set[int] = field(default_factory=set)

    def add(self, event: Any) -> None:
        name = _OF_ACTION[event.action]
        setattr(self, name, getattr(self, name) + 1)
        if event.action != "found":
            add_distinct(self.paths, event.path)
        if event.size_delta is not None:
            self.bytes_delta += event.size_delta
            self.bytes_changed += abs(event.size_delta)
        if event.lines_delta is not None:
            self.lines_delta += event.lines_delta
            self.lines_changed += abs(event.lines_delta)

    def merge(self, other: Self) -> None:
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        merge_distinct(self.paths, other.paths)

    def metrics(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _COUNTS} | {"files_touched": len(self.paths)}


FILE: Final = BucketKind("file", FileCell)

"""Buckets of kind ``file``: files that appeared, changed, moved or went, and by how much."""

from typing import Any, Final, Self

from msgspec import field

from stream.windows.kinds.base import DISTINCT_BOUND, BucketKind, Cell, fingerprint, merge_distinct

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
        match event.action:
            case "modified":
                self.modifies += 1
            case "created":
                self.creates += 1
            case "deleted":
                self.deletes += 1
            case "moved":
                self.moves += 1
            case _:
                self.found += 1
        if event.action != "found" and len(self.paths) < DISTINCT_BOUND:
            self.paths.add(fingerprint(event.path))
        size, lines = event.size_delta, event.lines_delta
        if size is not None:
            self.bytes_delta += size
            self.bytes_changed += abs(size)
        if lines is not None:
            self.lines_delta += lines
            self.lines_changed += abs(lines)

    def merge(self, other: Self) -> None:
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        merge_distinct(self.paths, other.paths)

    def metrics(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _COUNTS} | {"files_touched": len(self.paths)}


FILE: Final = BucketKind("file", FileCell)

"""Buckets of kind ``hostpath``: how much lies in folders of the node, and what came and went."""

from typing import Any, Final, Self

import msgspec
from msgspec import Struct

from stream.windows.kinds.base import BucketKind, Cell, Places
from stream.windows.scopes import HOST, NODE, CellKey, ScopeKey, scopes_by_owner


class HostPathCell(Cell, array_like=True):
    """``entries`` is the state after the last listing; only the node's own cell has it."""

    appeared: int = 0
    changed: int = 0
    vanished: int = 0
    entries: int | None = None
    entries_bytes: int | None = None

    def add(self, event: Any) -> None:
        if event.action == "appeared":
            self.appeared += 1
        elif event.action == "changed":
            self.changed += 1
        elif event.action == "vanished":
            self.vanished += 1

    def merge(self, other: Self) -> None:
        self.appeared += other.appeared
        self.changed += other.changed
        self.vanished += other.vanished
        if other.entries is not None:
            self.entries, self.entries_bytes = other.entries, other.entries_bytes

    def metrics(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "appeared": self.appeared,
            "changed": self.changed,
            "vanished": self.vanished,
        }
        if self.entries is not None:
            found["entries"] = self.entries
            found["entries_bytes"] = self.entries_bytes
        return found


class _Root(Struct, array_like=True):
    entries: int = 0
    size: int = 0
    parts: dict[int, tuple[int, int]] = {}
    """Parts of a listing that has not come whole yet."""


_decoder = msgspec.msgpack.Decoder(dict[str, _Root])
_encode = msgspec.msgpack.Encoder().encode


class Roots:
    """What each root held when it was last listed."""

    def __init__(self, roots: dict[str, _Root] | None = None) -> None:
        self._roots = roots if roots is not None else {}

    @classmethod
    def load(cls, stored: bytes) -> "Roots":
        """Make it of what :meth:`dump` gave."""
        return cls(_decoder.decode(stored))

    def dump(self) -> bytes:
        return _encode(self._roots)

    def record(self, event: Any, microseconds: int, cell: HostPathCell, places: Places) -> None:
        if event.action != "listing":
            return
        root = self._roots.setdefault(event.root, _Root())
        if event.missing:
            root.entries, root.size, root.parts = 0, 0, {}
        else:
            size = sum(entry.size for entry in event.entries if entry.type == "file")
            if event.part == 0:
                root.parts = {}
            root.parts[event.part] = (len(event.entries), size)
            if len(root.parts) >= event.parts:
                root.entries = sum(count for count, _ in root.parts.values())
                root.size = sum(each for _, each in root.parts.values())
                root.parts = {}
        whole: HostPathCell | None = places.node_cell(microseconds // 1_000_000)
        if whole is not None and not root.parts:
            whole.entries = sum(each.entries for each in self._roots.values())
            whole.entries_bytes = sum(each.size for each in self._roots.values())


def _scopes(key: CellKey) -> tuple[ScopeKey, ...]:
    return (NODE, HOST) if key.variant == "node" else scopes_by_owner(key)


HOSTPATH: Final = BucketKind(
    "hostpath", HostPathCell, scopes=_scopes, memory=Roots, load_memory=Roots.load
)

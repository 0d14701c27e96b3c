"""One window of one kind on one node: its cells, and the rows that they make."""

from collections.abc import Iterable
from functools import cache
from typing import Any, Final

import msgspec

from stream.contract.buckets import WINDOW_SECONDS
from stream.contract.owner import Owner
from stream.windows.kinds.base import BucketKind, Cell
from stream.windows.scopes import CellKey, ScopeKey, cell_key

_encode: Final = msgspec.msgpack.Encoder().encode


@cache
def _decoder(cell: type[Cell]) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(tuple[bool, bool, list[tuple[list[str], cell]]])  # type: ignore[valid-type]


class Window:
    """Cells by owner. A closed window lies packed in memory until a late event opens it again."""

    __slots__ = (
        "_cells",
        "_kind",
        "_packed",
        "by_owner",
        "closed",
        "full",
        "idle",
        "index",
        "touched",
        "unsent",
    )

    def __init__(self, kind: BucketKind, index: int) -> None:
        self._kind = kind
        self.index = index
        """Seconds since the epoch, divided by 10."""
        self.closed = False
        """Whether the watermark has passed its end."""
        self.idle = False
        """Closed early for want of a living producer; not part of the state."""
        self.unsent = False
        """Closed or corrected, and the rows that say so are not in a commit yet."""
        self.full = True
        """Whether all its rows are to be sent, not only those that changed."""
        self.touched: set[CellKey] = set()
        """Cells that changed since rows were made of them."""
        self._cells: dict[CellKey, Any] = {}
        self.by_owner: dict[Owner | tuple[Owner, str], Any] = {}
        """Cells that were asked for since rows were made, for those who look for themselves."""
        self._packed: bytes | None = None

    @classmethod
    def load(cls, kind: BucketKind, index: int, stored: bytes) -> "Window":
        """Make it of what :meth:`dump` gave."""
        window = cls(kind, index)
        window._packed = stored
        window.closed, window.unsent, _ = _decoder(kind.cell).decode(stored)
        if not window.closed:
            window._unpack()
        return window

    def dump(self) -> bytes:
        """For the state."""
        if self._packed is None:
            cells = list(self._cells.items())
            self._packed = _encode((self.closed, self.unsent, cells))
            if self.closed:
                self._cells = {}
                self.by_owner = {}
                self.touched.clear()
        stored = self._packed
        if not self.closed:
            self._packed = None
        return stored

    def changed(self) -> None:
        """Its flags changed: what was packed before is void."""
        self._unpack()

    def _unpack(self) -> None:
        if self._packed is not None:
            _, _, cells = _decoder(self._kind.cell).decode(self._packed)
            self._cells = {CellKey(*key): cell for key, cell in cells}
            self._packed = None

    @property
    def end(self) -> int:
        """Microseconds since the epoch."""
        return (self.index + 1) * WINDOW_SECONDS * 1_000_000

    @property
    def cells(self) -> dict[CellKey, Any]:
        """All cells."""
        self._unpack()
        return self._cells

    def cell(self, owner: Owner, variant: str = "") -> Any:
        """The cell of an owner, which is about to be changed."""
        key = (owner, variant) if variant else owner
        cell = self.by_owner.get(key)
        if cell is None:
            cell = self.by_owner[key] = self.cell_of(cell_key(owner, variant))
        return cell

    def cell_of(self, key: CellKey) -> Any:
        """The cell of a key, which is about to be changed."""
        self._unpack()
        self.touched.add(key)
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = self._kind.cell()
        return cell

    def take_in(self, other: "Window", *, clamped: bool) -> None:
        """Add all cells of another window to this one's."""
        for key, cell in other.cells.items():
            own = self.cell_of(key)
            own.samples += cell.samples
            own.clamped += cell.samples if clamped else cell.clamped
            own.merge(cell)

    def rows(self, wanted: Iterable[ScopeKey] | None) -> dict[ScopeKey, Any]:
        """Merged cells by row; of the wanted rows, or of all."""
        kind, cells = self._kind, self.cells
        only = None if wanted is None else set(wanted)
        rows: dict[ScopeKey, Any] = {}
        for key, cell in cells.items():
            for scope in kind.scopes(key):
                if only is not None and scope not in only:
                    continue
                row = rows.get(scope)
                if row is None:
                    row = rows[scope] = kind.cell()
                row.samples += cell.samples
                row.late += cell.late
                row.clamped += cell.clamped
                row.merge(cell)
        if kind.finish is not None:
            kind.finish(cells, rows)
        return rows

    def take_touched(self) -> set[ScopeKey]:
        """The rows that changed since this was last asked."""
        scopes = {scope for key in self.touched for scope in self._kind.scopes(key)}
        self.touched.clear()
        self.by_owner.clear()
        return scopes

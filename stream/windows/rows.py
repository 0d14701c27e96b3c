"""Rows on the wire: NDJSON, one object per row."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from stream.contract.buckets import WINDOW_SECONDS
from stream.contract.timestamps import MICROSECONDS, format_timestamp
from stream.windows.scopes import ScopeKey
from stream.windows.window import Window

MESSAGE_BYTES: Final = 256 * 1024
"""Rows are cut into messages of about this size; a quarter of the server's ``max_payload``."""
_encode = msgspec.json.Encoder().encode


def window_time(index: int) -> str:
    """The start of a window: ``2026-01-02T03:04:10Z``."""
    return f"{format_timestamp(index * WINDOW_SECONDS * MICROSECONDS)[:19]}Z"


def encode_rows(
    kind: str,
    node: str,
    window: Window,
    wanted: Iterable[ScopeKey] | None,
    version: int,
    final: bool,
) -> Iterator[bytes]:
    """The rows of a window, each as one line, in a fixed order."""
    start, end = window_time(window.index), window_time(window.index + 1)
    for key, cell in sorted(window.rows(wanted).items(), key=_by_key):
        row: dict[str, Any] = {
            "kind": kind,
            "scope": key.scope,
            "node": node,
            "window_start": start,
            "window_end": end,
            "final": final,
            "version": version,
            "late": cell.late,
            "samples": cell.samples,
        }
        row.update((name, value) for name, value in zip(_FIELDS, key[1:], strict=True) if value)
        if cell.clamped:
            row["clamped"] = cell.clamped
        row.update(cell.metrics())
        yield _encode(row) + b"\n"


_FIELDS: Final = ScopeKey._fields[1:]


def _by_key(item: tuple[ScopeKey, Any]) -> ScopeKey:
    return item[0]


def pack_rows(rows: Iterable[bytes]) -> Iterator[bytes]:
    """Lines as messages of bounded size."""
    parts: list[bytes] = []
    size = 0
    for row in rows:
        if parts and size + len(row) > MESSAGE_BYTES:
            yield b"".join(parts)
            parts, size = [], 0
        parts.append(row)
        size += len(row)
    if parts:
        yield b"".join(parts)

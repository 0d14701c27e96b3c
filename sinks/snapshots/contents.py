"""Contents and versions of files, by the named queries ``snapshot_*``."""

import base64
import binascii
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sinks.errors import SnapshotError
from sinks.queries import named_query
from sinks.store.asking import Asks


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a file, or its end."""

    ts: Any
    """When, as the store gives it (UTC)."""
    what: str
    """``content``, ``deleted``, ``moved`` (to this path) or ``moved away``."""
    hash: str
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class FileAt:
    """A file as it was at a time."""

    path: str
    ts: Any
    """When that content was saved."""
    hash: str
    size: int
    content: bytes
    deleted_ts: Any = None
    """When it was deleted or moved away, if it was gone by the time that was asked for."""


def versions(asks: Asks, path: str, student: str = "", **times: str) -> list[Version]:
    """All versions of a file, oldest first. ``times`` are ``since`` and ``until``."""
    rows = _ask(asks, "snapshot_versions", {"path": path, "student": student, **times})
    return [Version(ts, str(what), str(digest), int(size)) for ts, what, digest, size in rows]


def content_at(asks: Asks, path: str, at: str = "now", student: str = "") -> FileAt:
    """The content at a time; raises ``SnapshotError`` when none was kept before it."""
    rows = _ask(asks, "snapshot_at", {"path": path, "at": at, "student": student})
    if not rows:
        raise SnapshotError(
            f"no content of {path!r} was kept at or before {at}; "
            "snapshot_versions lists what there is"
        )
    ts, found, digest, size, encoding, content, deleted = rows[0]
    return FileAt(
        str(found), ts, str(digest), int(size), _decode(str(encoding), str(content)), deleted
    )


def tree_at(asks: Asks, prefix: str, at: str = "now", student: str = "") -> list[str]:
    """Paths below a folder that existed at a time and whose content was kept."""
    rows = _ask(asks, "snapshot_tree", {"prefix": prefix, "at": at, "student": student})
    return [str(row[0]) for row in rows]


def difference(before: FileAt | None, after: FileAt | None) -> str:
    """A unified diff; None stands for a file that is not there. Binary contents are only named."""
    texts = []
    for each in (before, after):
        try:
            texts.append(each.content.decode("utf-8") if each is not None else "")
        except UnicodeDecodeError:
            same = before is not None and after is not None and before.content == after.content
            return "" if same else "binary contents differ\n"
    lines = difflib.unified_diff(
        texts[0].splitlines(keepends=True),
        texts[1].splitlines(keepends=True),
        before.path if before is not None else "/dev/null",
        after.path if after is not None else "/dev/null",
        str(before.ts) if before is not None else "",
        str(after.ts) if after is not None else "",
    )
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def _ask(asks: Asks, name: str, values: Mapping[str, str]) -> list[tuple[Any, ...]]:
    query = named_query(name)
    return [tuple(row) for row in asks.rows(query.sql, query.bind(values))]


def _decode(encoding: str, content: str) -> bytes:
    if encoding != "base64":
        return content.encode("utf-8", "surrogateescape")
    try:
        return base64.b64decode(content, validate=True)
    except binascii.Error as error:
        raise SnapshotError(f"a stored content is not the base64 that it claims: {error}") from None

"""The last known entries of each root, on disk in SQLite, so that they cost no memory.

What a scan writes is made to last only by :meth:`Inventory.commit`, when what it reported is
surely in the spool; after a crash the differences are reported again. One thread uses it.
"""

import contextlib
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from producers.hostpath.errors import InventoryError

_log = logging.getLogger(__name__)

_SCHEMA_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE roots (id INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE);
CREATE TABLE entries (
    root INTEGER NOT NULL, folder BLOB NOT NULL, name BLOB NOT NULL,
    type TEXT NOT NULL, size INTEGER NOT NULL, mtime_us INTEGER NOT NULL, mode INTEGER NOT NULL,
    PRIMARY KEY (root, folder, name)
) WITHOUT ROWID;
"""
_CHUNK: Final = 500


class Entry(NamedTuple):
    """One entry of a folder."""

    type: str
    size: int
    """Bytes; 0 for what has no content."""
    mtime_us: int
    """Microseconds since the epoch."""
    mode: int
    """Permission bits."""


class Inventory:
    """The saved entries. A damaged file is set aside and begun anew: the next scan lists all."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._open(path)
        except sqlite3.DatabaseError as error:
            if not path.exists():
                raise InventoryError(f"{path} can't be made: {error}") from None
            _log.error("the inventory is set aside: %s: %s", path, error)
            self._database.close()
            for suffix in ("-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    path.with_name(path.name + suffix).unlink()
            path.replace(path.with_name(path.name + ".damaged"))
            self._open(path)

    def _open(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        run = self._database.execute
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")
        run("PRAGMA cache_size = -2048")
        run("PRAGMA journal_size_limit = 8388608")
        version = run("PRAGMA user_version").fetchone()[0]
        if version == 0:
            self._database.executescript(
                f"BEGIN; {_SCHEMA} PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;"
            )
        elif version != _SCHEMA_VERSION:
            raise sqlite3.DatabaseError(f"written by another version of this program ({version})")
        run("BEGIN")

    def root_id(self, root: bytes) -> tuple[int, bool]:
        """The number of a root, and whether it was known before."""
        run = self._database.execute
        found = run("SELECT id FROM roots WHERE path = ?", (root,)).fetchone()
        if found is not None:
            return found[0], True
        return int(run("INSERT INTO roots (path) VALUES (?)", (root,)).lastrowid or 0), False

    def get(self, root: int, folder: bytes, name: bytes) -> Entry | None:
        """What was last known of an entry."""
        row = self._database.execute(
            "SELECT type, size, mtime_us, mode FROM entries "
            "WHERE root = ? AND folder = ? AND name = ?",
            (root, folder, name),
        ).fetchone()
        return None if row is None else Entry._make(row)

    def put(self, root: int, folder: bytes, name: bytes, entry: Entry) -> None:
        """Remember an entry."""
        self._database.execute(
            "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)",
            (root, folder, name, *entry),
        )

    def remove(self, root: int, folder: bytes, name: bytes) -> None:
        """Forget an entry."""
        self._database.execute(
            "DELETE FROM entries WHERE root = ? AND folder = ? AND name = ?", (root, folder, name)
        )

    def count(self, root: int) -> int:
        """Entries of a root."""
        row = self._database.execute(
            "SELECT count(*) FROM entries WHERE root = ?", (root,)
        ).fetchone()
        return int(row[0])

    def count_in(self, root: int, folder: bytes) -> int:
        """Entries directly in a folder."""
        row = self._database.execute(
            "SELECT count(*) FROM entries WHERE root = ? AND folder = ?", (root, folder)
        ).fetchone()
        return int(row[0])

    def names_in(self, root: int, folder: bytes) -> Iterator[tuple[bytes, Entry]]:
        """Name and entry of what lies directly in a folder; it may be changed meanwhile."""
        last = b""
        while True:
            rows = self._database.execute(
                "SELECT name, type, size, mtime_us, mode FROM entries "
                "WHERE root = ? AND folder = ? AND name > ? ORDER BY name LIMIT ?",
                (root, folder, last, _CHUNK),
            ).fetchall()
            yield from ((name, Entry._make(rest)) for name, *rest in rows)
            if len(rows) < _CHUNK:
                return
            last = rows[-1][0]

    def all(self, root: int) -> Iterator[tuple[bytes, Entry]]:
        """Relative path and entry of everything in a root, folder by folder."""
        folder, last = b"", b""
        while True:
            rows = self._database.execute(
                "SELECT folder, name, type, size, mtime_us, mode FROM entries "
                "WHERE root = ? AND (folder, name) > (?, ?) ORDER BY folder, name LIMIT ?",
                (root, folder, last, _CHUNK),
            ).fetchall()
            for folder, last, *rest in rows:
                yield join(folder, last), Entry._make(rest)
            if len(rows) < _CHUNK:
                return

    def commit(self) -> None:
        """Make all so far last through a crash; raises sqlite3.Error when the disk is full."""
        self._database.execute("COMMIT")
        self._database.execute("BEGIN")

    def recover(self) -> None:
        """Go on after a failed write, which may have undone all since the last commit."""
        if not self._database.in_transaction:
            self._database.execute("BEGIN")

    def close(self, *, commit: bool) -> None:
        """Close, with or without what was written since the last commit."""
        if self._database.in_transaction:
            self._database.execute("COMMIT" if commit else "ROLLBACK")
        self._database.close()


def join(folder: bytes, name: bytes) -> bytes:
    """A relative path; the root itself is empty."""
    return folder + b"/" + name if folder else name

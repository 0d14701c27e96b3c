"""What was last reported of each file, kept on disk in SQLite.

It is what disk is compared with, at start and after every loss; it survives kill -9 (WAL) and
costs no memory per file. Only one thread uses it.
"""

import sqlite3
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

from producers.file.errors import StateError

_SCHEMA_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE roots (path BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE folders (id INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE);
CREATE TABLE files (
    folder INTEGER NOT NULL, name BLOB NOT NULL,
    inode INTEGER NOT NULL, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL,
    hash BLOB NOT NULL, lines INTEGER, sent BLOB NOT NULL,
    reported_us INTEGER NOT NULL, is_new INTEGER NOT NULL,
    PRIMARY KEY (folder, name)
) WITHOUT ROWID;
CREATE INDEX files_by_inode ON files (inode);
CREATE TABLE gone (path BLOB PRIMARY KEY, reported_us INTEGER NOT NULL) WITHOUT ROWID;
"""
_COLUMNS: Final = "inode, size, mtime_ns, ctime_ns, hash, lines, sent, reported_us, is_new"
_CHUNK: Final = 500


class Row(NamedTuple):
    """One file as it was last reported."""

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    hash: bytes
    """BLAKE2b of the content; empty when it was not read."""
    lines: int | None
    sent: bytes
    """Hash of the last snapshot of this path; empty for none."""
    reported_us: int
    is_new: bool
    """The last report was its first."""

    @property
    def is_doubtful(self) -> bool:
        """Nothing proves that the last report left."""
        return self.mtime_ns < 0


class State:
    """The saved state; raises :class:`~producers.file.errors.StateError` for a damaged file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._open()
        except sqlite3.Error as error:
            raise StateError(f"{path}: {error}") from error
        self.count = self._number("SELECT count(*) FROM files")
        self._folder_id = lru_cache(maxsize=8192)(self._find_folder)

    def _open(self) -> None:
        run = self._database.execute
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")
        run("PRAGMA cache_size = -4096")
        run("PRAGMA journal_size_limit = 8388608")
        version = self._number("PRAGMA user_version")
        if version == 0:
            self._database.executescript(
                f"BEGIN; {_SCHEMA} PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;"
            )
        elif version != _SCHEMA_VERSION:
            raise StateError(
                f"{self.path}: written by another version of this program ({version}); "
                "it is set aside and begun anew"
            )
        run("BEGIN")

    def _one(self, query: str, *values: object) -> object:
        row = self._database.execute(query, values).fetchone()
        return None if row is None else row[0]

    def _number(self, query: str, *values: object) -> int:
        found = self._one(query, *values)
        return found if isinstance(found, int) else 0

    # --- what was said before -------------------------------------------------------------------

    def meta(self, name: str) -> int | None:
        """A number that was kept under a name."""
        value = self._one("SELECT value FROM meta WHERE name = ?", name)
        return value if isinstance(value, int) else None

    def set_meta(self, name: str, value: int) -> None:
        """Keep a number under a name."""
        self._database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def is_known_root(self, root: bytes) -> bool:
        """Whether a first scan of this folder was completed once."""
        return self._one("SELECT 1 FROM roots WHERE path = ?", root) is not None

    def set_known_root(self, root: bytes) -> None:
        """Remember that a first scan was completed."""
        self._database.execute("INSERT OR IGNORE INTO roots VALUES (?)", (root,))

    # --- files ----------------------------------------------------------------------------------

    def _find_folder(self, folder: bytes) -> int | None:
        found = self._one("SELECT id FROM folders WHERE path = ?", folder)
        return found if isinstance(found, int) else None

    def get(self, path: bytes) -> Row | None:
        """What was last reported of a file; None if nothing, or that it is gone."""
        folder, _, name = path.rpartition(b"/")
        number = self._folder_id(folder)
        if number is None:
            return None
        row = self._database.execute(
            f"SELECT {_COLUMNS} FROM files WHERE folder = ? AND name = ?",  # noqa: S608
            (number, name),
        ).fetchone()
        return None if row is None else Row._make(row)

    def put(self, path: bytes, row: Row, *, is_new: bool) -> None:
        """Remember what was reported; ``is_new`` when :meth:`get` found nothing."""
        folder, _, name = path.rpartition(b"/")
        number = self._folder_id(folder)
        if number is None:
            run = self._database.execute
            number = run("INSERT INTO folders (path) VALUES (?)", (folder,)).lastrowid
            self._folder_id.cache_clear()
        self._database.execute(
            f"INSERT OR REPLACE INTO files (folder, name, {_COLUMNS}) "  # noqa: S608
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (number, name, *row),
        )
        self.count += is_new

    def remove(self, path: bytes, reported_us: int) -> None:
        """Forget a file whose end was reported, except that it was, for a while."""
        folder, _, name = path.rpartition(b"/")
        run = self._database.execute
        done = run(
            "DELETE FROM files WHERE folder = ? AND name = ?", (self._folder_id(folder), name)
        )
        self.count -= done.rowcount
        run("INSERT OR REPLACE INTO gone VALUES (?, ?)", (path, reported_us))

    def with_inode(self, inode: int) -> list[tuple[bytes, Row]]:
        """The files that were last reported with this inode; at most some hundreds."""
        rows = self._database.execute(
            f"SELECT path, name, {_COLUMNS} FROM files JOIN folders ON folder = id "  # noqa: S608
            f"WHERE inode = ? LIMIT {_CHUNK}",
            (inode,),
        ).fetchall()
        return [(folder + b"/" + name, Row._make(rest)) for folder, name, *rest in rows]

    def count_in(self, folder: bytes) -> int:
        """Files that lie directly in a folder."""
        return self._number("SELECT count(*) FROM files WHERE folder = ?", self._folder_id(folder))

    def files_in(self, folder: bytes) -> Iterator[bytes]:
        """The paths of the files directly in a folder; it may be changed meanwhile."""
        number = self._folder_id(folder)
        last = b""
        while number is not None:
            names = self._database.execute(
                "SELECT name FROM files WHERE folder = ? AND name > ? ORDER BY name LIMIT ?",
                (number, last, _CHUNK),
            ).fetchall()
            for (name,) in names:
                yield folder + b"/" + name
            if len(names) < _CHUNK:
                return
            last = names[-1][0]

    def folders_at(self, path: bytes) -> Iterator[bytes]:
        """A folder and every folder beneath that held files; it may be changed meanwhile."""
        if self._folder_id(path) is not None:
            yield path
        last = path + b"/"
        beyond = path + b"0"  # the character after the slash
        while True:
            rows = self._database.execute(
                "SELECT path FROM folders WHERE path > ? AND path < ? ORDER BY path LIMIT ?",
                (last, beyond, _CHUNK),
            ).fetchall()
            yield from (each for (each,) in rows)
            if len(rows) < _CHUNK:
                return
            last = rows[-1][0]

    def move_folder(self, old: bytes, new: bytes) -> None:
        """Carry a folder's own files to another path; files known there are replaced."""
        run = self._database.execute
        source, target = self._folder_id(old), self._folder_id(new)
        if source is None:
            return
        if target is None:
            run("UPDATE folders SET path = ? WHERE id = ?", (new, source))
        else:
            moved = run("UPDATE OR REPLACE files SET folder = ? WHERE folder = ?", (target, source))
            run("DELETE FROM folders WHERE id = ?", (source,))
            if moved.rowcount:
                self.count = self._number("SELECT count(*) FROM files")
        self._folder_id.cache_clear()

    def drop_empty_folders(self) -> None:
        """Forget folders that hold no file any more."""
        self._database.execute(
            "DELETE FROM folders WHERE NOT EXISTS (SELECT 1 FROM files WHERE folder = id)"
        )
        self._folder_id.cache_clear()

    # --- crash safety ---------------------------------------------------------------------------

    def doubt_since(self, reported_us: int) -> list[bytes]:
        """Doubt what was reported from a time on, so that a scan finds and reports it again.

        Returns the paths whose end was reported since then.
        """
        self._database.execute(
            "UPDATE files SET mtime_ns = -1, hash = x'', sent = x'' WHERE reported_us >= ?",
            (reported_us,),
        )
        rows = self._database.execute(
            "SELECT path FROM gone WHERE reported_us >= ?", (reported_us,)
        ).fetchall()
        return [path for (path,) in rows]

    def forget_ends(self, before_us: int) -> None:
        """Forget that files are gone whose end was reported before a time."""
        self._database.execute("DELETE FROM gone WHERE reported_us < ?", (before_us,))

    def commit(self) -> None:
        """Make all of it last through a crash of this process."""
        self._database.execute("COMMIT")
        self._database.execute("BEGIN")

    def recover(self, *, undo: bool = False) -> None:
        """Go on after a failed write, which may have undone all since the last commit.

        ``undo`` undoes it in any case.
        """
        if undo and self._database.in_transaction:
            self._database.execute("ROLLBACK")
        if not self._database.in_transaction:
            self._database.execute("BEGIN")
        self._folder_id.cache_clear()
        self.count = self._number("SELECT count(*) FROM files")

    def close(self) -> None:
        """Commit and close."""
        self._database.execute("COMMIT")
        self._database.close()

"""What the endpoint needs of the store: fresh chDB connections, nothing else."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeAlias

Progress: TypeAlias = Mapping[str, int]
"""Counts of a query so far, by the names that X-ClickHouse-Progress uses."""


class EngineResult(Protocol):
    """Result of one statement, as chDB's extension gives it."""

    def bytes(self) -> bytes | None:
        """Formatted output; empty when it went INTO OUTFILE."""

    def rows_read(self) -> int:
        """Rows of the result."""

    def bytes_read(self) -> int:
        """Bytes of the result before formatting."""

    def storage_rows_read(self) -> int:
        """Rows read from storage."""

    def storage_bytes_read(self) -> int:
        """Bytes read from storage."""

    def rows_written(self) -> int:
        """Rows written by an INSERT, those of materialized views included."""

    def bytes_written(self) -> int:
        """Bytes written by an INSERT."""

    def elapsed(self) -> float:
        """Seconds the engine took."""


class EngineConnection(Protocol):
    """A connection of chDB; it serialises its calls and keeps its own settings."""

    def query(self, sql: str, format: str, *, params: Mapping[str, str]) -> EngineResult:
        """Run one statement; RuntimeError with ClickHouse's text when it fails."""

    def set_progress_callback(self, callback: Callable[[Progress], None]) -> None:
        """Report progress of the running query to `callback`, from the engine's threads."""

    def send_insert(self, sql: str, format: str) -> object:
        """Begin an INSERT whose data follows; `sql` is its head without FORMAT."""

    def insert_append(self, insert: object, data: bytes) -> None:
        """Give it more data."""

    def insert_done(self, insert: object) -> EngineResult:
        """Commit it."""

    def insert_cancel(self, insert: object) -> None:
        """Give it up; nothing is kept of the block that was not written yet."""

    def close(self) -> None:
        """Give it back to the engine."""


class Readers(Protocol):
    """The store, seen from the endpoint."""

    def open_reader(self) -> EngineConnection:
        """A connection of its own, open until closed; less than 1 ms, from any thread."""


class ChdbReaders:
    """Readers of one chDB data folder, in the process that owns it.

    Uses the extension's connection itself: `chdb.state` would import pyarrow and numpy, some
    38 MB that nothing here uses. The path is made real first, as clickhouse-connect does for the
    writer's connection, because chDB compares engine paths as text.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path.resolve())

    def open_reader(self) -> EngineConnection:
        """Connect to the folder; the first one in a process starts the engine."""
        from chdb import _chdb

        connection: EngineConnection = _chdb.connect(self._path)  # type: ignore[attr-defined]
        return connection

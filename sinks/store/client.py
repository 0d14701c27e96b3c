"""One client for the embedded engine and for a server: commands, queries, and lines passed through.

A :class:`Store` has one writer, which one thread at a time may use, and makes readers of their own
for whoever asks. Embedded, all of them share the one engine of this process.
"""

import contextlib
import logging
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

import clickhouse_connect
import msgspec
from clickhouse_connect.driver.exceptions import ClickHouseError

from sinks.errors import QueryRefusedError, SchemaError, StoreAwayError, StoreError
from sinks.store.errors import store_error
from sinks.store.lock import StoreLock
from sinks.store.settings import StoreSettings

_log = logging.getLogger("tenwatch.sink.store")

IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_CODE: Final = re.compile(r"Code: (\d+)")
INSERT_SETTINGS: Final[dict[str, Any]] = {
    # An insert is answered when its part is written, never from a buffer.
    "async_insert": 0,
    # A repeat with the same token is dropped in the tables that a view feeds, too.
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    "insert_deduplicate": 1,
    # One insert is one block, so that it is stored whole or not at all.
    "max_insert_block_size": 1_048_576,
    "max_block_size": 1_048_576,
    "min_insert_block_size_rows": 0,
    "min_insert_block_size_bytes": 0,
    "input_format_parallel_parsing": 0,
    "max_insert_threads": 1,
    # RFC 3339, as the contract writes it. Fields of newer producers are left out, not refused.
    "date_time_input_format": "best_effort",
    "input_format_skip_unknown_fields": 1,
    "input_format_null_as_default": 1,
    "input_format_defaults_for_omitted_fields": 1,
    "distributed_foreground_insert": 1,
    # An old spool may hold many days; each is a partition.
    "max_partitions_per_insert_block": 0,
}


class Client:
    """One connection to the store; its calls wait for each other. Raises ``StoreError`` s only."""

    def __init__(self, settings: StoreSettings, connection: Any) -> None:
        self._settings = settings
        self._connection = connection

    def close(self) -> None:
        """Give the connection back."""
        with contextlib.suppress(ClickHouseError, RuntimeError, OSError):
            self._connection.close()

    def command(
        self,
        statement: str,
        parameters: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Run a statement without a result."""
        with _translated():
            self._connection.command(
                statement, parameters=parameters and dict(parameters), settings=settings
            )

    def rows(
        self,
        statement: str,
        parameters: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> list[tuple[Any, ...]]:
        """All rows of a query; times come with their zone (UTC)."""
        with _translated():
            result = self._connection.query(
                statement,
                parameters=parameters and dict(parameters),
                settings=settings,
                query_tz="UTC",
                tz_mode="aware",
            )
            return [tuple(row) for row in result.result_rows]

    def dictionaries(
        self, statement: str, parameters: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """All rows of a query, by column name."""
        with _translated():
            result = self._connection.query(
                statement,
                parameters=parameters and dict(parameters),
                query_tz="UTC",
                tz_mode="aware",
            )
            return [dict(zip(result.column_names, row, strict=True)) for row in result.result_rows]

    def value(self, statement: str, parameters: Mapping[str, Any] | None = None) -> Any:
        """The first column of the first row; None when there is no row."""
        found = self.rows(statement, parameters)
        return found[0][0] if found else None

    def insert_lines(self, table: str, lines: bytes, *, insert_id: int, token: str) -> int | None:
        """Store NDJSON in one insert, all of it or nothing, and give the number of rows read.

        None where the store doesn't tell: a server counts the rows of views with those of the
        table.

        ``insert_id`` goes into each row's column of that name. A repeat with the same token and
        lines changes nothing (within the table's deduplication window).
        """
        settings = {
            **INSERT_SETTINGS,
            "insert_deduplication_token": token,
            "log_comment": str(insert_id),
        }
        with _translated():
            summary = self._connection.raw_insert(
                f"{quoted(self._settings.database)}.{quoted(table)}",
                insert_block=lines,
                fmt="JSONEachRow",
                settings=settings,
            ).summary
        return None if self._settings.url else int(summary.get("written_rows", 0))


class Store:
    """The open store. Embedded, it holds the lock on the folder while it is open."""

    def __init__(self, settings: StoreSettings) -> None:
        """Opens it; raises ``StoreLockedError``, ``StoreFullError`` or ``StoreAwayError``."""
        if not settings.path and not settings.url:
            raise SchemaError("no store is named; give store.path (embedded) or store.url (server)")
        if settings.path and settings.url:
            raise SchemaError("both store.path and store.url are given; keep one")
        if not IDENTIFIER.fullmatch(settings.database) or settings.database == "default":
            raise SchemaError(f"store.database {settings.database!r} can't be used; give a word")
        self.settings = settings
        self._lock: StoreLock | None = None
        if settings.target == "embedded":
            self._prepare_folder(settings.folder)
        try:
            self.writer = self._client()
        except StoreError:
            self._release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def database(self) -> str:
        """The database, quoted for a statement."""
        return quoted(self.settings.database)

    def reader(self) -> Client:
        """A connection of its own for queries; close it after use. From any thread."""
        return self._client(self.settings.database)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Client]:
        """A reader for the time of a block."""
        client = self.reader()
        try:
            yield client
        finally:
            client.close()

    def close(self) -> None:
        """Close the writer and free the folder."""
        self.writer.close()
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _prepare_folder(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            spare = folder.with_name(folder.name + ".tmp")
            spare.mkdir(exist_ok=True, mode=0o700)
            self._lock = StoreLock(folder)
            self._lock.acquire()
        except OSError as error:
            raise store_error(f"the store at {folder} can't be opened: {error}", None) from None
        # The library hands lines to the engine in files of the temporary folder; what was in one
        # when a process was killed is of no use to the next.
        for left in spare.glob("*.raw"):
            left.unlink(missing_ok=True)
        tempfile.tempdir = str(spare)

    def _client(self, database: str | None = None) -> Client:
        settings = self.settings
        with _translated():
            if settings.target == "embedded":
                connection = clickhouse_connect.get_client(
                    interface="chdb",
                    path=str(settings.folder),
                    database=database,
                    settings={
                        "max_threads": settings.threads,
                        "max_memory_usage": settings.memory_megabytes << 20,
                    },
                )
            else:
                user, password = _sql_credentials(settings.credentials_file)
                parts = urlsplit(settings.url)
                if parts.username or parts.password:
                    raise QueryRefusedError(
                        "store.url holds a user or password; put them into the credentials file"
                    )
                connection = clickhouse_connect.get_client(
                    host=parts.hostname or "127.0.0.1",
                    port=parts.port or (8443 if parts.scheme == "https" else 8123),
                    interface=parts.scheme,
                    username=user,
                    password=password,
                    database=database,
                    autogenerate_session_id=False,
                    send_receive_timeout=settings.timeout_seconds,
                    settings={"max_threads": settings.threads},
                )
        return Client(settings, connection)


def quoted(identifier: str) -> str:
    """A name of ours for a statement; raises ``SchemaError`` for any other text."""
    if not IDENTIFIER.fullmatch(identifier):
        raise SchemaError(f"{identifier!r} is not a plain name (letters, digits, underscore)")
    return f"`{identifier}`"


def columns_of(client: Client, database: str, table: str) -> Sequence[tuple[str, str, str]]:
    """Name, type and comment of each column, in order; empty when there is no such table."""
    return [
        (str(name), str(kind), str(comment))
        for name, kind, comment in client.rows(
            "SELECT name, type, comment FROM system.columns "
            "WHERE database = {database:String} AND table = {table:String} ORDER BY position",
            {"database": database, "table": table},
        )
    ]


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Errors of the library as errors of this package."""
    try:
        yield
    except StoreError:
        raise
    except ClickHouseError as error:
        garbled = _garbled_message(error)
        if garbled is not None:
            found = _CODE.search(garbled)
            raise store_error(garbled, int(found[1]) if found else None) from error
        raise store_error(str(error), getattr(error, "code", None)) from error
    except OSError as error:
        raise store_error(f"{error} (errno: {error.errno})", None) from error
    except RuntimeError as error:
        raise StoreAwayError(str(error)) from error


def _garbled_message(error: BaseException) -> str | None:
    """What the engine said, where the library failed on bytes that it had quoted from a row."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UnicodeDecodeError):
            return cause.object.decode("utf-8", "replace")
        cause = cause.__cause__ or cause.__context__
    return None


def _sql_credentials(path: str) -> tuple[str, str]:
    path = path or os.environ.get("TENWATCH_CREDENTIALS_FILE", "")
    if not path:
        return "default", ""
    try:
        content = msgspec.json.decode(Path(path).read_bytes())
        return str(content["sql"]["user"]), str(content["sql"]["password"])
    except OSError as error:
        raise StoreAwayError(
            f"the credentials file {path} can't be read: {error.strerror}"
        ) from None
    except (msgspec.DecodeError, KeyError, TypeError):
        raise StoreAwayError(
            f'the credentials file {path} has no {{"sql": {{"user", "password"}}}}'
        ) from None

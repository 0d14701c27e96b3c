"""From a request to a query that runs: checked, on a locked connection, on a thread of a place.

A connection costs less than 1 ms and is dropped after its query, so no setting, temporary table
or current database survives from one client to the next.
"""

import asyncio
import contextlib
import json
import logging
import os
import threading
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from sinks.sql_endpoint.access import Scope, current_database
from sinks.sql_endpoint.config import EndpointSettings, Role
from sinks.sql_endpoint.engine_parser import EngineParser
from sinks.sql_endpoint.errors import SqlEndpointError, StatementRefusedError, from_engine
from sinks.sql_endpoint.formats import Formats
from sinks.sql_endpoint.native_hello import hello, is_hello
from sinks.sql_endpoint.query_settings import engine_settings
from sinks.sql_endpoint.readers import EngineConnection, Progress, Readers
from sinks.sql_endpoint.request import SqlRequest
from sinks.sql_endpoint.running_query import RunningQuery, open_pipe
from sinks.sql_endpoint.statement import ReadStatement, read_statement, render
from sinks.sql_endpoint.users import Account
from sinks.sql_endpoint.write_statement import WRITE_WORDS, first_word, read_write_statement
from sinks.sql_endpoint.writes import run_write

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_KILL_AGAIN_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class FinishedWrite:
    """A statement that wrote and has ended."""

    progress: Progress
    """Its counts."""


class Engine:
    """The threads and connections of the endpoint."""

    def __init__(self, readers: Readers, settings: EndpointSettings) -> None:
        self._readers = readers
        self._settings = settings
        # One thread per place; one more to kill from, which must never wait behind a query.
        self._threads = ThreadPoolExecutor(settings.traffic.concurrent, "sql-endpoint-query")
        self._control = ThreadPoolExecutor(1, "sql-endpoint-kill")
        self._killer: EngineConnection | None = None
        self._of_thread = threading.local()
        self._parsers: list[EngineConnection] = []
        self._formats = self._input_formats = Formats(())
        self.version = ""

    async def start(self) -> None:
        """Ask the engine for its version and formats; RuntimeError when it does not open."""
        await asyncio.get_running_loop().run_in_executor(self._control, self._introduce)

    def _introduce(self) -> None:
        # This connection stays open: to kill from, and because the engine stops with its last one.
        self._killer = self._readers.open_reader()
        answer = self._killer.query(
            "SELECT version(), groupArrayIf(name, is_output), groupArrayIf(name, is_input) "
            "FROM system.formats",
            "JSONCompactEachRow",
            params={},
        )
        self.version, output, input_ = json.loads(answer.bytes() or b"")
        self._formats, self._input_formats = Formats(output), Formats(input_)

    async def stop(self) -> None:
        """End the threads; every query must have ended."""
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self._control.shutdown)
        for connection in self._parsers:
            connection.close()
        self._parsers.clear()
        if self._killer is not None:
            self._killer.close()
            self._killer = None

    async def in_thread(self, function: Callable[[], _T]) -> _T:
        """Run `function` on a thread of a place."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    async def prepare(
        self, request: SqlRequest, account: Account
    ) -> RunningQuery | FinishedWrite | bytes:
        """Check a request's statement. Raises SqlEndpointError.

        A statement that reads comes back ready to be started. A statement that writes has ended
        when this returns; it is not stopped when its client leaves. Bytes are a whole answer in
        format Native.
        """
        work = asyncio.ensure_future(self.in_thread(lambda: self._prepare(request, account)))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            # The thread goes on; what it opened must be closed all the same.
            with contextlib.suppress(SqlEndpointError):
                prepared = await work
                if isinstance(prepared, RunningQuery):
                    await prepared.end()
            raise

    def _prepare(
        self, request: SqlRequest, account: Account
    ) -> RunningQuery | FinishedWrite | bytes:
        served = self._settings.database
        scope = Scope(served, current_database(request.database, served), account)
        try:
            parser = self._parser()
            word = first_word(request.body, parser)
            if word in WRITE_WORDS:
                if account.role is not Role.ADMIN:
                    raise StatementRefusedError(f"{word} is not served to this user")
                return self._write(request, scope, parser)
            statement = read_statement(request.text(), request.parameters, scope, parser)
            if request.native_revision and is_hello(statement.tree):
                return hello(
                    self._settings.server_name, self.version, "UTC", request.native_revision
                )
            return self._prepare_read(request, statement, scope, parser)
        except RuntimeError as error:
            raise from_engine(error) from None
        except SqlEndpointError as error:
            if error.code == SqlEndpointError.code:
                self._of_thread.parser = None  # its connection may be what failed
            raise

    def _parser(self) -> EngineParser:
        """This thread's parser, on a connection that runs nothing of a client."""
        parser: EngineParser | None = getattr(self._of_thread, "parser", None)
        if parser is None:
            connection = self._readers.open_reader()
            self._parsers.append(connection)
            parser = EngineParser(connection, self._settings.query.statement_bytes)
            self._of_thread.parser = parser
        return parser

    def _write(self, request: SqlRequest, scope: Scope, parser: EngineParser) -> FinishedWrite:
        if not request.may_write:
            raise StatementRefusedError("a statement that writes needs the method POST")
        statement = read_write_statement(request.body, request.parameters, scope, parser)
        asked = {**request.settings, **statement.settings}
        chosen = engine_settings(asked, self._settings.query, writes=True)
        data_format = self._input_formats.require(statement.format) if statement.format else ""
        connection = self._readers.open_reader()
        try:
            connection.query(f"USE `{scope.database}`", "Null", params={})
            connection.query(f"SET {_clause(chosen)}", "Null", params={})
            return FinishedWrite(run_write(connection, statement, data_format, request.parameters))
        finally:
            connection.close()

    def _prepare_read(
        self, request: SqlRequest, statement: ReadStatement, scope: Scope, parser: EngineParser
    ) -> RunningQuery:
        asked = {**request.settings, **statement.settings}
        chosen = engine_settings(asked, self._settings.query, writes=False)
        output_format = self._formats.require(statement.format or request.default_format)
        token = uuid.uuid4().hex
        with contextlib.ExitStack() as undo:
            descriptors = open_pipe()
            for descriptor in descriptors:
                undo.callback(os.close, descriptor)
            target = f"/proc/self/fd/{descriptors[1]}"
            sql = render(statement, target, output_format, scope, parser)
            connection = self._readers.open_reader()
            undo.callback(connection.close)
            self._lock(connection, chosen, token, scope.current, statement)
            undo.pop_all()
        return RunningQuery(
            self, connection, sql, output_format, request.parameters, token, descriptors,
            chosen["session_timezone"],
        )  # fmt: skip

    def _lock(
        self, connection: EngineConnection, chosen: Mapping[str, str], token: str,
        database: str, statement: ReadStatement,
    ) -> None:  # fmt: skip
        """Give the connection its settings, its database, and take its right to write.

        With readonly=1 the engine itself refuses writes, changes of settings, and table functions
        that reach outside. Only `system.settings` is read with 2, since clients of ClickHouse
        look there whether they may send settings.
        """
        connection.query(f"USE `{database}`", "Null", params={})
        values = {
            **chosen,
            "log_comment": token,
            "readonly": "2" if statement.asks_settings else "1",
        }
        connection.query(f"SET {_clause(values)}", "Null", params={})

    async def end(self, token: str, done: asyncio.Future[None]) -> None:
        """Kill the statement that carries `token` until it is `done`."""
        loop = asyncio.get_running_loop()
        while not done.done():
            # Again and again: the statement may not have been known to the engine yet.
            await loop.run_in_executor(self._control, self._kill, token)
            await asyncio.wait([done], timeout=_KILL_AGAIN_SECONDS)

    def _kill(self, token: str) -> None:
        if self._killer is None:
            return
        try:
            self._killer.query(
                "KILL QUERY WHERE Settings['log_comment'] = {token:String} ASYNC",
                "Null",
                params={"token": token},
            )
        except RuntimeError as error:
            _log.warning("a query could not be killed: %s", from_engine(error).name)


def _clause(settings: Mapping[str, str]) -> str:
    return ", ".join(f"{name} = {_quoted(value)}" for name, value in settings.items())


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"

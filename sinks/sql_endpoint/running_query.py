"""One query in the engine: on a thread and a connection of its own, its result in a pipe.

The engine writes the formatted result INTO OUTFILE of a pipe (`/proc/self/fd/N`), so every format
is streamed in constant memory with the engine's own headers and footers, a slow client holds the
engine back, and the event loop only moves bytes.
"""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Callable, Mapping
from typing import Protocol

from sinks.sql_endpoint.errors import SqlEndpointError, from_engine
from sinks.sql_endpoint.readers import EngineConnection, Progress

_PIPE_BYTES = 256 * 1024


class Stage(Protocol):
    """Where queries run."""

    async def in_thread(self, function: Callable[[], None]) -> None:
        """Run `function` on a thread that may block."""

    async def end(self, token: str, done: asyncio.Future[None]) -> None:
        """Kill the statement whose log_comment is `token`, until it is `done`."""


def open_pipe() -> tuple[int, int]:
    """A pipe for a result: read end, which never blocks, and write end."""
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    with contextlib.suppress(OSError):  # over the user's quota of pipe memory: the default serves
        fcntl.fcntl(read_end, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return read_end, write_end


class RunningQuery:
    """One checked statement: started with `start`, read with `read`, and always `end`ed."""

    def __init__(
        self, stage: Stage, connection: EngineConnection, sql: str, output_format: str,
        parameters: Mapping[str, str], token: str, pipe: tuple[int, int], timezone: str,
    ) -> None:  # fmt: skip
        """`sql` writes its result to the write end of `pipe`; `token` is its log_comment."""
        self.format = output_format
        self.timezone = timezone
        self.progress: Progress = {}
        self.error: SqlEndpointError | None = None
        self.ended = False
        self._stage = stage
        self._connection = connection
        self._sql = sql
        self._parameters = parameters
        self._token = token
        self._read_end, self._write_end = pipe
        self._reader: asyncio.StreamReader | None = None
        self._transport: asyncio.ReadTransport | None = None
        self._done: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Run the statement on a thread of the engine's pool."""
        loop = asyncio.get_running_loop()
        self._done = asyncio.ensure_future(self._stage.in_thread(self._run))
        reader = asyncio.StreamReader(limit=_PIPE_BYTES, loop=loop)
        pipe = os.fdopen(self._read_end, "rb", buffering=0)
        self._transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader, loop=loop), pipe
        )
        self._reader = reader

    def _run(self) -> None:
        """On a thread: the statement from its start to its end."""
        connection = self._connection
        try:
            connection.set_progress_callback(self._note_progress)
            # The format twice: SHOW TABLES heeds only the argument, SELECT only its clause.
            result = connection.query(self._sql, self.format, params=self._parameters)
            self.progress = {
                **self.progress,
                "read_rows": max(result.storage_rows_read(), self.progress.get("read_rows", 0)),
                "read_bytes": max(result.storage_bytes_read(), self.progress.get("read_bytes", 0)),
                "result_rows": result.rows_read(),
                "result_bytes": result.bytes_read(),
                "elapsed_ns": int(result.elapsed() * 1e9),
            }
        except Exception as error:
            self.error = from_engine(error)
        finally:
            os.close(self._write_end)
            connection.close()

    def _note_progress(self, progress: Progress) -> None:
        self.progress = progress

    async def read(self, size: int) -> bytes:
        """The next bytes of the result; empty at its end. Then `error` says whether it is whole."""
        if self._reader is None or self._done is None:
            raise RuntimeError("read() before start(); start the query first")
        piece = await self._reader.read(size)
        if not piece:
            await asyncio.shield(self._done)
            self.ended = True
        return piece

    async def end(self) -> None:
        """Stop the statement if it still runs, and give back what it holds. Safe to repeat."""
        if self._transport is not None:
            self._transport.close()
        if self._done is None:
            os.close(self._read_end)
            os.close(self._write_end)
            self._connection.close()
            self._done = asyncio.get_running_loop().create_future()
            self._done.set_result(None)
        # Shielded: who ends it may be stopped meanwhile, and the engine must not go on.
        await asyncio.shield(asyncio.ensure_future(self._stage.end(self._token, self._done)))

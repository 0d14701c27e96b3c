"""One response with a result: held back, then streamed, ended or broken off as ClickHouse does."""

import asyncio
import json
import secrets
import string
from collections.abc import Mapping

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.abc import AbstractStreamWriter

from sinks.sql_endpoint.compression import BLOCKS, encoder
from sinks.sql_endpoint.errors import ClientTooSlowError, SqlEndpointError
from sinks.sql_endpoint.readers import Progress

_TAG_LETTERS = string.ascii_lowercase + string.digits
_COUNTS = (
    "read_rows", "read_bytes", "written_rows", "written_bytes", "total_rows_to_read",
    "result_rows", "result_bytes", "elapsed_ns",
)  # fmt: skip
EXCEPTION_CODE = "X-ClickHouse-Exception-Code"
EXCEPTION_TAG = "X-ClickHouse-Exception-Tag"
PROGRESS = "X-ClickHouse-Progress"
SUMMARY = "X-ClickHouse-Summary"


def counts(progress: Progress) -> str:
    """The value of X-ClickHouse-Summary and X-ClickHouse-Progress: counts, as strings."""
    return json.dumps({name: str(progress.get(name, 0)) for name in _COUNTS}, separators=(",", ":"))


class ResultResponse(web.StreamResponse):
    """A response whose headers may begin with progress while the query still runs.

    `stall_seconds` is how long the client may take nothing of it.
    """

    def __init__(self, request: web.Request, encoding: str, stall_seconds: float) -> None:
        super().__init__()
        self._request = request
        self._stall_seconds = stall_seconds
        self._packer = encoder(encoding)
        self._last_progress = ""
        self._tag = "".join(secrets.choice(_TAG_LETTERS) for _ in range(16))
        self.headers[EXCEPTION_TAG] = self._tag
        if encoding and encoding != BLOCKS:
            self.headers[hdrs.CONTENT_ENCODING] = encoding

    @property
    def announced(self) -> bool:
        """Whether the status went out already, with progress behind it."""
        return bool(self._last_progress)

    def announce(self, progress: Progress) -> None:
        """Send the status and a progress header now; the other headers follow with the result.

        HTTP/1.1 clients read headers until the empty line, so this also keeps proxies from
        giving up on a query that takes long.
        """
        transport = self._request.transport
        if transport is None or self._request.version < HttpVersion11:
            return
        line = f"{PROGRESS}: {counts(progress)}"
        before = self._last_progress or "HTTP/1.1 200 OK"
        # The last line is kept back: aiohttp writes it in the place of its status line.
        transport.write(f"{before}\r\n".encode())
        self._last_progress = line

    async def _write_headers(self) -> None:
        """Hook of aiohttp (its tests and ours show when it changes): status line and headers."""
        if not self._last_progress:
            await super()._write_headers()
            return
        writer: AbstractStreamWriter | None = self._payload_writer
        if writer is None:
            raise RuntimeError("the response is not prepared")
        await writer.write_headers(self._last_progress, self.headers)

    async def begin(self, headers: Mapping[str, str]) -> None:
        """Send the headers; the result follows in chunks."""
        self.headers.update(headers)
        self.enable_chunked_encoding()
        await self.prepare(self._request)

    async def send(self, piece: bytes) -> None:
        """Send more of the result; ClientTooSlowError when the client takes nothing."""
        if self._packer is not None:
            piece = await asyncio.to_thread(self._packer.encode, piece)
        await self._put(piece)

    async def finish(self) -> web.StreamResponse:
        """Send the end."""
        await self._put(self._packer.finish() if self._packer is not None else b"")
        await self.write_eof()
        return self

    async def whole(self, body: bytes, headers: Mapping[str, str]) -> web.StreamResponse:
        """Send a result that is complete, with its length where nothing went out yet."""
        if self.announced:
            await self.begin(headers)
            await self.send(body)
            return await self.finish()
        if self._packer is not None:
            body = await asyncio.to_thread(self._packer.encode, body) + self._packer.finish()
        return web.Response(body=body, headers={**self.headers, **headers})

    async def fail_before_result(
        self, error: SqlEndpointError, headers: Mapping[str, str]
    ) -> web.StreamResponse:
        """The status went out as 200 already: the code header and the text say what failed."""
        await self.begin({**headers, EXCEPTION_CODE: str(error.code)})
        await self.send(error.text().encode())
        return await self.finish()

    async def fail_in_result(self, error: SqlEndpointError) -> web.StreamResponse:
        """End a result that failed: the block of ClickHouse 25.11 and newer, and no last chunk.

        A client that looks at nothing but HTTP sees from the missing chunk that this is not whole.
        """
        message = error.text().strip().encode()
        tag = self._tag.encode()
        await self.send(
            b"\r\n__exception__\r\n%b\r\n%b\n%d %b\r\n__exception__\r\n"
            % (tag, message, len(message) + 1, tag)
        )
        await self._put(self._packer.finish() if self._packer is not None else b"")
        self.abort()
        return self

    def abort(self) -> None:
        """Close the connection after what was sent."""
        if self._request.transport is not None:
            self._request.transport.close()

    async def _put(self, piece: bytes) -> None:
        if not piece:
            return
        try:
            await asyncio.wait_for(self.write(piece), self._stall_seconds)
        except TimeoutError:
            if self._request.transport is not None:
                self._request.transport.abort()
            raise ClientTooSlowError(
                f"the client took nothing for {self._stall_seconds:g} s"
            ) from None

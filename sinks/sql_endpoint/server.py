"""The HTTP server: routes, responses and their headers."""

import asyncio
import json
import logging
import secrets
import ssl
import string
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

from aiohttp import hdrs, web

from sinks.sql_endpoint.admission import Admission
from sinks.sql_endpoint.compression import Encoder, encoder
from sinks.sql_endpoint.config import EndpointSettings, Role, User
from sinks.sql_endpoint.engine import Engine, FinishedWrite, RunningQuery
from sinks.sql_endpoint.errors import (
    AuthenticationFailedError,
    ClientTooSlowError,
    SqlEndpointError,
    TooManyQueriesError,
)
from sinks.sql_endpoint.formats import content_type
from sinks.sql_endpoint.readers import Progress, Readers
from sinks.sql_endpoint.request import SqlRequest, read_request
from sinks.sql_endpoint.users import Users

_log = logging.getLogger(__name__)

_Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

_PIECE = 256 * 1024
_REQUEST_LINE_BYTES = 1024 * 1024  # ClickHouse's http_max_uri_size
_TAG_LETTERS = string.ascii_lowercase + string.digits


class SqlEndpoint:
    """SQL over HTTP on the store of this process, as ClickHouse's own HTTP interface has it.

    `readers` gives connections to the store; `users` are all who may ask.
    """

    def __init__(self, readers: Readers, users: Iterable[User], settings: EndpointSettings) -> None:
        self._settings = settings
        self._users = Users(users)
        self._engine = Engine(readers, settings)
        self._admission = Admission(settings.traffic)
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """Address to ask, without credentials; known after `start`."""
        scheme = "https" if self._settings.certificate else "http"
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        return f"{scheme}://{host}:{self._port}"

    @property
    def admission(self) -> Admission:
        """Counters of running, waiting and refused queries."""
        return self._admission

    async def start(self) -> None:
        """Listen; OSError when the address is taken."""
        await self._engine.start()
        app = web.Application(client_max_size=self._settings.traffic.insert_body_bytes)
        app.router.add_get("/ping", self._ping)
        app.router.add_get("/replicas_status", self._ping)
        app.router.add_route("*", "/", self._guarded(self._query))
        app.router.add_route("*", "/{path:.*}", self._guarded(self._unknown))
        # No access log: its lines hold the URL, and the URL may hold credentials.
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handler_cancellation=True,
            max_line_size=_REQUEST_LINE_BYTES,
            max_field_size=64 * 1024,
        )
        await self._runner.setup()
        site = web.TCPSite(
            self._runner, self._settings.host, self._settings.port, ssl_context=self._tls()
        )
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening, end the running queries, give back the threads."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        await self._engine.stop()

    def _tls(self) -> ssl.SSLContext | None:
        if self._settings.certificate is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._settings.certificate, self._settings.private_key)
        return context

    async def _ping(self, _request: web.Request) -> web.Response:
        return web.Response(text="Ok.\n")

    async def _unknown(self, request: web.Request) -> web.Response:
        return web.Response(
            status=404,
            text=f"There is no handle {request.path[:200]}\n\n"
            "Use / or /ping for health checks.\n"
            "Send queries from your program with POST method or GET /?query=...\n",
        )

    def _guarded(self, handler: _Handler) -> _Handler:
        """Turn refusals into responses, and never let one's text or URL into the log."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            try:
                return await handler(request)
            except SqlEndpointError as error:
                return self._refusal(error)
            except (web.HTTPException, ConnectionError, asyncio.CancelledError):
                raise
            except Exception:
                _log.exception("a request failed in the endpoint itself")
                return self._refusal(SqlEndpointError("the endpoint failed; see its log"))

        return guarded

    def _refusal(self, error: SqlEndpointError) -> web.Response:
        headers = {
            "X-ClickHouse-Exception-Code": str(error.code),
            "X-ClickHouse-Server-Display-Name": self._settings.server_name,
        }
        if isinstance(error, TooManyQueriesError):
            headers[hdrs.RETRY_AFTER] = "1"
        if isinstance(error, AuthenticationFailedError):
            headers[hdrs.WWW_AUTHENTICATE] = 'Basic realm="ClickHouse server HTTP API"'
        return web.Response(status=error.status, text=error.text(), headers=headers)

    async def _query(self, request: web.Request) -> web.StreamResponse:
        if request.method not in (hdrs.METH_GET, hdrs.METH_POST):
            return web.Response(status=501, text=f"The method {request.method} is not served.\n")
        account = self._users.authenticate(request.headers, request.query)
        traffic = self._settings.traffic
        writes = account.role is Role.ADMIN
        sql = await read_request(
            request, traffic.insert_body_bytes if writes else traffic.body_bytes
        )
        if not sql.body.strip() and request.method == hdrs.METH_GET:
            return web.Response(text="Ok.\n")
        async with self._admission.place():
            query = await self._engine.prepare(sql, account)
            if isinstance(query, FinishedWrite):
                return web.Response(headers=self._common_headers(sql, query.progress))
            if isinstance(query, bytes):
                headers = {**self._common_headers(sql, {}), "X-ClickHouse-Format": "Native"}
                return web.Response(body=query, headers=headers)
            try:
                await query.start()
                return await self._respond(request, sql, query)
            finally:
                await query.end()

    async def _respond(
        self, request: web.Request, sql: SqlRequest, query: RunningQuery
    ) -> web.StreamResponse:
        traffic = self._settings.traffic
        held = traffic.wait_end_buffer_bytes if sql.wait_end else traffic.response_buffer_bytes
        buffered = bytearray()
        ended = False
        while not ended and len(buffered) < held:
            piece = await query.read(_PIECE)
            buffered += piece
            ended = not piece
        if ended and query.error is not None:
            raise query.error
        tag = "".join(secrets.choice(_TAG_LETTERS) for _ in range(16))
        headers = self._headers(sql, query, tag)
        packer = encoder(sql.compress)
        if ended:
            body = bytes(buffered)
            if packer is not None:
                body = await self._engine.compute(packer.encode, body) + packer.finish()
            return web.Response(body=body, headers=headers)
        response = web.StreamResponse(headers=headers)
        response.enable_chunked_encoding()
        await response.prepare(request)
        await self._send(request, response, packer, bytes(buffered))
        buffered.clear()
        while piece := await query.read(_PIECE):
            await self._send(request, response, packer, piece)
        if query.error is not None:
            await self._send(request, response, packer, _exception_block(query.error, tag))
            await self._write(request, response, packer.finish() if packer is not None else b"")
            # No last chunk: a client that looks at nothing else must see that this is not whole.
            self._abort(request)
            return response
        await self._write(request, response, packer.finish() if packer is not None else b"")
        await response.write_eof()
        return response

    async def _send(
        self, request: web.Request, response: web.StreamResponse, packer: Encoder | None,
        piece: bytes,
    ) -> None:  # fmt: skip
        if packer is not None:
            piece = await self._engine.compute(packer.encode, piece)
        await self._write(request, response, piece)

    async def _write(
        self, request: web.Request, response: web.StreamResponse, piece: bytes
    ) -> None:
        if not piece:
            return
        patience = self._settings.traffic.stalled_client_seconds
        try:
            await asyncio.wait_for(response.write(piece), patience)
        except TimeoutError:
            self._abort(request)
            raise ClientTooSlowError(f"the client read nothing for {patience:g} s") from None

    def _abort(self, request: web.Request) -> None:
        if request.transport is not None:
            request.transport.close()

    def _headers(self, sql: SqlRequest, query: RunningQuery, tag: str) -> dict[str, str]:
        headers = self._common_headers(sql, query.progress)
        headers[hdrs.CONTENT_TYPE] = content_type(query.format)
        headers["X-ClickHouse-Format"] = query.format
        headers["X-ClickHouse-Exception-Tag"] = tag
        if sql.send_progress:
            headers["X-ClickHouse-Progress"] = _counts(query.progress)
        if sql.compress:
            headers[hdrs.CONTENT_ENCODING] = sql.compress
        return headers

    def _common_headers(self, sql: SqlRequest, progress: Progress) -> dict[str, str]:
        return {
            "X-ClickHouse-Server-Display-Name": self._settings.server_name,
            "X-ClickHouse-Query-Id": sql.query_id,
            "X-ClickHouse-Timezone": self._engine.timezone,
            "X-ClickHouse-Summary": _counts(progress),
        }


def _counts(progress: Progress) -> str:
    """The value of X-ClickHouse-Summary and X-ClickHouse-Progress: counts, as strings."""
    names = (
        "read_rows", "read_bytes", "written_rows", "written_bytes", "total_rows_to_read",
        "result_rows", "result_bytes", "elapsed_ns",
    )  # fmt: skip
    counts = {name: str(progress.get(name, 0)) for name in names}
    return json.dumps(counts, separators=(",", ":"))


def _exception_block(error: SqlEndpointError, tag: str) -> bytes:
    """The end of a result that failed, as ClickHouse 25.11 and newer writes it."""
    message = error.text().strip().encode()
    return b"\r\n__exception__\r\n%b\r\n%b\n%d %b\r\n__exception__\r\n" % (
        tag.encode(),
        message,
        len(message) + 1,
        tag.encode(),
    )

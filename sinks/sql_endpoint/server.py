"""The HTTP server: routes, responses and their headers."""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

from aiohttp import hdrs, web

from sinks.sql_endpoint.admission import Admission
from sinks.sql_endpoint.config import EndpointSettings, Role, User
from sinks.sql_endpoint.engine import Engine, FinishedWrite
from sinks.sql_endpoint.errors import (
    AuthenticationFailedError,
    ClientTooSlowError,
    SqlEndpointError,
    TooManyQueriesError,
)
from sinks.sql_endpoint.formats import content_type
from sinks.sql_endpoint.readers import Progress, Readers
from sinks.sql_endpoint.request import SqlRequest, read_request
from sinks.sql_endpoint.response import EXCEPTION_CODE, SUMMARY, ResultResponse, counts
from sinks.sql_endpoint.running_query import RunningQuery
from sinks.sql_endpoint.users import Users

_log = logging.getLogger(__name__)
# aiohttp quotes requests that it cannot parse in its log, and such a line may hold a password.
_silent = logging.Logger("sql-endpoint-http")
_silent.addHandler(logging.NullHandler())

_Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

_PIECE = 256 * 1024
_REQUEST_LINE_BYTES = 1024 * 1024  # ClickHouse's http_max_uri_size


class SqlEndpoint:
    """SQL over HTTP on the store of this process, as ClickHouse's own HTTP interface has it.

    `readers` gives connections to the store; `users` are all who may ask.
    """

    def __init__(self, readers: Readers, users: Iterable[User], settings: EndpointSettings) -> None:
        self._settings = settings
        self._users = Users(users)
        self._engine = Engine(readers, settings)
        self._admission = Admission(settings.traffic)
        self._counts = dict.fromkeys(("requests", "failed", "unauthenticated", "turned_away"), 0)
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """Address to ask, without credentials; known after `start`."""
        scheme = "https" if self._settings.certificate else "http"
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        return f"{scheme}://{host}:{self._port}"

    def counters(self) -> dict[str, int]:
        """For the metrics of the process: `running` and `waiting` now, the others since start."""
        return {
            "running": self._admission.running,
            "waiting": self._admission.waiting,
            **self._counts,
        }

    async def start(self) -> None:
        """Listen; OSError when the address is taken."""
        await self._engine.start()
        app = web.Application(client_max_size=self._settings.traffic.insert_body_bytes)
        app.on_response_prepare.append(self._sign)
        app.router.add_get("/ping", self._ping)
        app.router.add_get("/replicas_status", self._ping)
        app.router.add_route("*", "/", self._guarded(self._query))
        app.router.add_route("*", "/{path:.*}", self._guarded(self._unknown))
        # No access log: its lines hold the URL, and the URL may hold credentials.
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=_silent,
            handler_cancellation=True,
            auto_decompress=False,  # it would expand a body without a bound
            shutdown_timeout=self._settings.traffic.drain_seconds,
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

    async def _sign(self, _request: web.Request, response: web.StreamResponse) -> None:
        """Say our name instead of the versions of what we are built with."""
        response.headers[hdrs.SERVER] = self._settings.server_name

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
            self._counts["requests"] += 1
            try:
                return await handler(request)
            except SqlEndpointError as error:
                self._count(error)
                return self._refusal(error)
            except (web.HTTPException, ConnectionError, asyncio.CancelledError):
                raise
            except Exception:
                _log.exception("a request failed in the endpoint itself")
                return self._refusal(SqlEndpointError("the endpoint failed; see its log"))

        return guarded

    def _count(self, error: SqlEndpointError) -> None:
        self._counts["failed"] += 1
        self._counts["unauthenticated"] += isinstance(error, AuthenticationFailedError)
        self._counts["turned_away"] += isinstance(error, TooManyQueriesError)

    def _refusal(self, error: SqlEndpointError) -> web.Response:
        headers = {
            EXCEPTION_CODE: str(error.code),
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
        try:
            async with asyncio.timeout(traffic.request_seconds):
                sql = await read_request(
                    request, traffic.insert_body_bytes if writes else traffic.body_bytes
                )
        except TimeoutError:
            raise ClientTooSlowError(
                f"the request did not arrive within {traffic.request_seconds:g} s"
            ) from None
        if not sql.body.strip() and request.method == hdrs.METH_GET:
            return web.Response(text="Ok.\n")
        async with self._admission.place(account.name):
            query = await self._engine.prepare(sql, account)
            if isinstance(query, FinishedWrite):
                return web.Response(headers=self._common_headers(sql, query.progress))
            if isinstance(query, bytes):
                headers = {**self._common_headers(sql, {}), "X-ClickHouse-Format": "Native"}
                response = ResultResponse(request, sql.compress, traffic.stalled_client_seconds)
                return await response.whole(query, headers)
            try:
                await query.start()
                return await self._respond(request, sql, query)
            finally:
                await query.end()

    async def _respond(
        self, request: web.Request, sql: SqlRequest, query: RunningQuery
    ) -> web.StreamResponse:
        traffic = self._settings.traffic
        response = ResultResponse(request, sql.compress, traffic.stalled_client_seconds)
        limit = traffic.wait_end_buffer_bytes if sql.wait_end else traffic.response_buffer_bytes
        held = bytearray()
        while len(held) < limit:
            piece = await self._read(sql, query, response)
            if not piece:
                break
            held += piece
        headers = {
            **self._common_headers(sql, query.progress, query.timezone),
            hdrs.CONTENT_TYPE: content_type(query.format),
            "X-ClickHouse-Format": query.format,
        }
        if query.ended:
            if query.error is None:
                return await response.whole(bytes(held), headers)
            if response.announced:
                self._count(query.error)
                return await response.fail_before_result(query.error, headers)
            raise query.error
        await response.begin(headers)
        await response.send(bytes(held))
        held.clear()
        while piece := await query.read(_PIECE):
            await response.send(piece)
        if query.error is not None:
            self._count(query.error)
            return await response.fail_in_result(query.error)
        return await response.finish()

    async def _read(self, sql: SqlRequest, query: RunningQuery, response: ResultResponse) -> bytes:
        """The next bytes of the result, with progress headers while there are none."""
        if not sql.send_progress:
            return await query.read(_PIECE)
        reading = asyncio.ensure_future(query.read(_PIECE))
        try:
            while not (await asyncio.wait([reading], timeout=sql.progress_interval))[0]:
                response.announce(query.progress)
            return reading.result()
        finally:
            reading.cancel()

    def _common_headers(
        self, sql: SqlRequest, progress: Progress, timezone: str = "UTC"
    ) -> dict[str, str]:
        return {
            "X-ClickHouse-Server-Display-Name": self._settings.server_name,
            "X-ClickHouse-Query-Id": sql.query_id,
            "X-ClickHouse-Timezone": timezone,
            SUMMARY: counts(progress),
        }

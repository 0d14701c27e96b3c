"""``/ping``, ``/ready`` and ``/metrics`` over HTTP/1.1, on asyncio alone: producers stay small."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from producers.base.metrics import CONTENT_TYPE

REQUEST_BYTES: Final = 8192
REQUEST_SECONDS: Final = 5.0
CONNECTIONS: Final = 16
"""At once; more are closed unanswered."""


class HealthServer:
    """Answers probes and scrapes.

    ``ready`` gives the reasons against being ready, ``degraded`` what does not work fully.
    """

    def __init__(
        self,
        ready: Callable[[], list[str]],
        metrics: Callable[[], str],
        degraded: Callable[[], list[str]] = list,
    ) -> None:
        self._ready = ready
        self._metrics = metrics
        self._degraded = degraded
        self._server: asyncio.Server | None = None
        self._connections = 0

    @property
    def port(self) -> int:
        """The port that was bound; 0 before :meth:`start`."""
        return self._server.sockets[0].getsockname()[1] if self._server is not None else 0

    async def start(self, host: str, port: int) -> None:
        """Listen; raises :class:`OSError` if the address is taken."""
        self._server = await asyncio.start_server(
            self._serve, host, port, limit=REQUEST_BYTES, backlog=CONNECTIONS
        )

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            if self._connections <= CONNECTIONS:
                async with asyncio.timeout(REQUEST_SECONDS):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(self._answer(head))
                    await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a client that doesn't speak HTTP, or is gone
        finally:
            self._connections -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _answer(self, head: bytes) -> bytes:
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3 or words[0] not in (b"GET", b"HEAD"):
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, "text/plain", "only GET and HEAD\n")
        path = words[1].partition(b"?")[0]
        if path == b"/ping":
            answer = _response(HTTPStatus.OK, "text/plain", "pong\n")
        elif path == b"/ready":
            reasons = self._ready()
            answer = _response(
                HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK,
                "application/json",
                json.dumps({"ready": not reasons, "reasons": reasons, "degraded": self._degraded()})
                + "\n",
            )
        elif path == b"/metrics":
            answer = _response(HTTPStatus.OK, CONTENT_TYPE, self._metrics())
        else:
            answer = _response(
                HTTPStatus.NOT_FOUND, "text/plain", "there are /ping, /ready and /metrics\n"
            )
        return answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if words[0] == b"HEAD" else answer


def _response(status: HTTPStatus, content_type: str, text: str) -> bytes:
    body = text.encode("utf-8")
    return (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    ).encode("ascii") + body

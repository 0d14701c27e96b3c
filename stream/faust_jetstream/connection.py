"""One connection to NATS, shared: JetStream requests, raw writes, replies, reconnects."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import nats
import nats.errors
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

from .errors import ApiError, ConfigurationError, JetStreamTransportError
from .settings import JetStreamSettings
from .tasks import stop_task

logger = logging.getLogger(__name__)

API = "$JS.API."

UNANSWERED: tuple[type[Exception], ...] = (nats.errors.Error, TimeoutError, OSError)
"""What a request raises when no answer came: it may have happened, or not."""

FAILED: tuple[type[Exception], ...] = (ApiError, *UNANSWERED)
"""What a request raises: refused, or not answered."""

_TRANSIENT = frozenset({10002, 10008, 10023, 10028, 10047, 10077, 10118})


def is_transient(error: BaseException) -> bool:
    """Whether asking again later can help: no answer, or a server short of something.

    Codes from nats-server's ``server/errors.json``: resources exceeded, cluster not
    available, storage exceeded, store failed (a full stream), stream offline.
    """
    if isinstance(error, ApiError):
        return error.code >= 500 or error.err_code in _TRANSIENT
    return isinstance(error, UNANSWERED)


def parse_reply(data: bytes, subject: str = "") -> dict[str, Any]:
    """Return a JetStream answer as a dict; raise :exc:`ApiError` if it is an error."""
    answer: dict[str, Any] = orjson.loads(data)
    error = answer.get("error")
    if error:
        raise ApiError(
            error.get("code", 0), error.get("err_code", 0), error.get("description", ""), subject
        )
    return answer


class Connection:
    """A connection with everything on top that JetStream needs and nats-py lacks."""

    def __init__(self, settings: JetStreamSettings, name: str) -> None:
        self.settings = settings
        self.name = name
        self.reconnects = 0
        self.slow_consumer_errors = 0
        self.on_reconnect: list[Callable[[], None]] = []
        self.on_closed: list[Callable[[], None]] = []
        self._client: Client | None = None
        self._users = 0
        self._closing = False
        self._lock = asyncio.Lock()
        self._replies: dict[str, asyncio.Future[Msg]] = {}
        self._refused: asyncio.Future[None] | None = None
        self._last_error = ""
        self._last_error_at = 0.0
        self._reply_prefix = ""
        self._last_reply = 0

    @property
    def client(self) -> Client:
        """The nats-py client; raises if the connection was never opened."""
        if self._client is None:
            raise JetStreamTransportError(
                f"the connection {self.name} is not open: start the app before using it."
            )
        return self._client

    @property
    def connected(self) -> bool:
        """Whether the socket to a server is up right now."""
        return self._client is not None and self._client.is_connected

    async def open(self) -> None:
        """Connect, or count one more user of a connection that is open."""
        async with self._lock:
            self._users += 1
            if self._client is not None:
                return
            client = Client()
            await self._connect(client)
            self._reply_prefix = client.new_inbox()
            await client.subscribe(f"{self._reply_prefix}.*", cb=self._on_reply)
            self._client = client

    async def _connect(self, client: Client) -> None:
        """Connect, however long it takes; refused credentials are an error at once."""
        refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._refused = refused
        connecting = asyncio.create_task(
            client.connect(
                name=self.name,
                reconnected_cb=self._reconnected,
                closed_cb=self._closed,
                error_cb=self._error,
                **self.settings.connect_options(),
            )
        )
        try:
            await asyncio.wait({connecting, refused}, return_when=asyncio.FIRST_COMPLETED)
            if connecting.done():
                connecting.result()
                return
            self._closing = True
            await stop_task(connecting)
            await client.close()
            refused.result()
        finally:
            self._refused = None
            self._closing = False

    async def close(self) -> None:
        """Give up one use; the last one closes the socket."""
        async with self._lock:
            self._users -= 1
            if self._users > 0 or self._client is None:
                return
            self._closing = True
            client, self._client = self._client, None
            await client.close()
            self._closing = False

    async def api(self, subject: str, body: Any = None, timeout: float = 5.0) -> dict[str, Any]:
        """Ask the JetStream API. Raises :exc:`ApiError`, or one of :data:`UNANSWERED`."""
        payload = b"" if body is None else orjson.dumps(body)
        answer = await self.client.request(API + subject, payload, timeout=timeout)
        return parse_reply(answer.data, subject)

    async def api_until_answered(self, subject: str, body: Any = None) -> dict[str, Any]:
        """Like :meth:`api`, asking again with growing pauses while that can help."""
        wait = self.settings.retry_wait
        while True:
            try:
                return await self.api(subject, body)
            except FAILED as error:
                if not is_transient(error) or self._client is None:
                    raise
                logger.warning("no answer to %s, asking again: %r", subject, error)
            await asyncio.sleep(wait)
            wait = min(wait * 2, 2.0)

    def expect_reply(self) -> tuple[str, asyncio.Future[Msg]]:
        """Return a reply subject and the future of the message that will arrive there."""
        self._last_reply += 1
        name = str(self._last_reply)
        future: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._replies[name] = future
        return f"{self._reply_prefix}.{name}", future

    def forget_reply(self, subject: str) -> None:
        """Stop waiting for a reply."""
        self._replies.pop(subject.rpartition(".")[2], None)

    def write(self, frames: bytes) -> bool:
        """Queue protocol bytes for the socket; False (and nothing queued) when disconnected.

        Frames must be whole: the client may write others between two calls.
        """
        client = self._client
        if client is None or not client.is_connected:
            return False
        # nats-py has no public way to hand over framed bytes; these three lines are what its
        # own publish does (nats-py 2.16, Client._send_command and _flush_pending).
        client._pending.append(frames)
        client._pending_data_size += len(frames)
        queue = client._flush_queue
        if queue is not None and queue.empty():
            queue.put_nowait(asyncio.get_running_loop().create_future())
        return True

    @property
    def congested(self) -> bool:
        """Whether more bytes wait for the socket than ``pending_bytes``."""
        client = self._client
        return client is not None and client.pending_data_size > self.settings.pending_bytes

    async def _on_reply(self, message: Msg) -> None:
        future = self._replies.pop(message.subject.rpartition(".")[2], None)
        if future is not None and not future.done():
            future.set_result(message)

    async def _reconnected(self) -> None:
        self.reconnects += 1
        logger.info("%s: connected again", self.name)
        for callback in self.on_reconnect:
            callback()

    async def _closed(self) -> None:
        if not self._closing:
            logger.error("%s: the connection was closed for good", self.name)
            for callback in self.on_closed:
                callback()

    async def _error(self, error: Exception) -> None:
        if isinstance(error, nats.errors.SlowConsumerError):
            self.slow_consumer_errors += 1
        if self._refused is not None and "authorization" in str(error).lower():
            if not self._refused.done():
                self._refused.set_exception(
                    ConfigurationError(
                        f"the server refused the credentials of {self.name} ({error}): check "
                        "user and password, token, nkey_seed_file or credentials_file."
                    )
                )
            return
        now = time.monotonic()
        if repr(error) != self._last_error or now - self._last_error_at > 10:
            self._last_error, self._last_error_at = repr(error), now
            logger.warning("%s: %r", self.name, error)

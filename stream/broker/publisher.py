"""Publishing to JetStream without waiting for each acknowledgement."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg

from stream.broker import wire
from stream.broker.connection import BrokerConnection
from stream.broker.errors import (
    BrokerError,
    JetStreamError,
    NoJetStreamError,
    NotConnectedError,
    RequestTimeoutError,
)
from stream.broker.jetstream import ApiError, error_from

NO_RESPONDERS: Final = "503"


class PublishAck(Struct):
    """Where a message was stored; ``duplicate`` when its id had been stored before."""

    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: ApiError | None = None


_decode_ack = msgspec.json.Decoder(PublishAck).decode
Done = Callable[[PublishAck | BrokerError], None]


@dataclass(slots=True)
class _Outstanding:
    done: Done
    size: int
    due: float
    subject: str


class AckedPublisher:
    """Keeps up to ``max_messages`` and ``max_bytes`` of publishes without an answer under way.

    Every message that :meth:`publish` took ends in exactly one call of its ``done``, on the loop:
    with the :class:`PublishAck`, or with the error. :class:`NotConnectedError` and
    :class:`RequestTimeoutError` leave open whether it was stored, so publish it again under the
    same ``Nats-Msg-Id``. Answers come in the order of the broker, which for one stream is the
    order of publishing.
    """

    def __init__(
        self,
        connection: BrokerConnection,
        *,
        max_messages: int = 1024,
        max_bytes: int = 16 * 1024 * 1024,
        timeout_seconds: float = 10.0,
    ) -> None:
        self._connection = connection
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._timeout = timeout_seconds
        self._outstanding: dict[str, _Outstanding] = {}
        self._bytes = 0
        self._next = 0
        self._client: Client | None = None
        self._reply = ""
        self._ready = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._subscribing = asyncio.Lock()
        self._watch: asyncio.Task[None] | None = None
        connection.on_connected(self._connected)
        connection.on_lost(self._lost)

    @property
    def outstanding(self) -> int:
        """Messages without an answer yet."""
        return len(self._outstanding)

    async def publish(self, subject: str, payload: bytes, headers: bytes, done: Done) -> None:
        """Send one message; waits only while the window is full.

        ``headers`` come from :func:`stream.broker.wire.encode_headers`. Raises
        :class:`NotConnectedError`, and then ``done`` is not called.
        """
        while not self._room.is_set():
            await self._room.wait()
        if not self._ready.is_set():
            await self._connected()
        client = self._connection.client
        self._next += 1
        token = str(self._next)
        size = len(payload)
        self._outstanding[token] = _Outstanding(
            done, size, asyncio.get_running_loop().time() + self._timeout, subject
        )
        self._bytes += size
        self._idle.clear()
        if len(self._outstanding) >= self._max_messages or self._bytes >= self._max_bytes:
            self._room.clear()
        if self._watch is None:
            self._watch = asyncio.create_task(self._expire(), name="publish-timeouts")
        await wire.send(client, wire.frame(subject, self._reply + token, headers, payload))

    async def publish_wait(self, subject: str, payload: bytes, headers: bytes = b"") -> PublishAck:
        """Send one message and wait for its answer; raises its error."""
        future: asyncio.Future[PublishAck | BrokerError] = (
            asyncio.get_running_loop().create_future()
        )

        def done(result: PublishAck | BrokerError) -> None:
            if not future.done():
                future.set_result(result)

        await self.publish(subject, payload, headers, done)
        result = await future
        if isinstance(result, BrokerError):
            raise result
        return result

    async def settled(self, timeout: float | None = None) -> bool:
        """Wait until nothing is outstanding; False after ``timeout`` seconds."""
        try:
            await asyncio.wait_for(self._idle.wait(), timeout)
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Fail what is still outstanding and stop."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        self._connection.forget(self._lost, self._connected)
        self._lost()

    async def _connected(self) -> None:
        async with self._subscribing:
            client = self._connection.client
            if client is not self._client:
                inbox = client.new_inbox()
                await client.subscribe(
                    f"{inbox}.*", cb=self._answer, pending_msgs_limit=0, pending_bytes_limit=0
                )
                self._client = client
                self._reply = f"{inbox}."
            self._ready.set()

    def _lost(self) -> None:
        self._ready.clear()
        outstanding, self._outstanding = self._outstanding, {}
        self._bytes = 0
        self._room.set()
        self._idle.set()
        error = NotConnectedError(self._connection.problem)
        for each in outstanding.values():
            each.done(error)

    async def _answer(self, message: Msg) -> None:
        found = self._take(message.subject[len(self._reply) :])
        if found is not None:
            found.done(_result(message, found.subject))

    def _take(self, token: str) -> _Outstanding | None:
        found = self._outstanding.pop(token, None)
        if found is None:
            return None
        self._bytes -= found.size
        if len(self._outstanding) < self._max_messages and self._bytes < self._max_bytes:
            self._room.set()
        if not self._outstanding:
            self._idle.set()
        return found

    async def _expire(self) -> None:
        """Answers that never come; all have the same time limit, so the oldest is due first."""
        while True:
            await asyncio.sleep(min(1.0, self._timeout / 4))
            now = asyncio.get_running_loop().time()
            while self._outstanding:
                token, oldest = next(iter(self._outstanding.items()))
                if oldest.due > now:
                    break
                self._take(token)
                why = self._connection.violation or f"no acknowledgement in {self._timeout} s"
                oldest.done(RequestTimeoutError(why, 408, 0, oldest.subject))


def _result(message: Msg, subject: str) -> PublishAck | JetStreamError:
    headers = message.headers
    if headers is not None and headers.get("Status") == NO_RESPONDERS:
        return NoJetStreamError("no stream takes this subject at the moment", 503, 0, subject)
    try:
        ack = _decode_ack(message.data)
    except msgspec.DecodeError as error:
        return JetStreamError(f"an acknowledgement that can't be read: {error}", 500, 0, subject)
    return ack if ack.error is None else error_from(ack.error, subject)

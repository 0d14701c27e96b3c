"""Reading a JetStream consumer by pull requests, fed by callback and bounded on this side.

``fetch`` of nats-py waits for each batch by a timeout; here the server always has a request open,
so messages flow as they come. What was delivered and not yet released counts against a window of
messages and bytes: a slow reader stops asking, and the rest stays at the broker.

Source: docs.nats.io, ADR-13 "Pull subscribe internals" (requests, statuses, heartbeats).
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from typing import Final

import msgspec
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from stream.broker import wire
from stream.broker.connection import BrokerConnection
from stream.broker.errors import BrokerError, NotConnectedError

_log = logging.getLogger("tenwatch.broker")
MINIMUM_BYTES: Final = 4 * 1024 * 1024
"""The window must hold more than the largest message, or that one would never come."""
MESSAGE_OVERHEAD: Final = 400
"""Bytes that subject, reply and headers of one batch take beside its payload, about."""
GONE: Final = ("consumer deleted", "consumer not found", "stream not found", "no responders")
MAX_BYTES: Final = "Message Size Exceeds MaxBytes"


class Delivery(Struct, frozen=False, gc=False):
    """One delivered message, and its place in the stream and in the consumer."""

    subject: str
    headers: dict[str, str] | None
    data: bytes
    reply: str
    """Where its acknowledgement goes."""
    stream_seq: int
    consumer_seq: int
    deliveries: int
    """How often it was delivered, this time included."""
    timestamp_ns: int
    """When the stream stored it."""
    pending: int
    """Messages that the consumer still has for us after this one."""

    @property
    def size(self) -> int:
        """What it counts against the window."""
        return len(self.data) + MESSAGE_OVERHEAD


def read_delivery(message: Msg) -> Delivery:
    """Split the reply subject: ``$JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.…``.

    A server in a domain sends ``$JS.ACK.<domain>.<account>.…`` (ADR-15), with two tokens more.
    """
    tokens = message.reply.split(".")
    first = 4 if len(tokens) <= 9 else 6
    deliveries, stream_seq, consumer_seq, timestamp, pending = tokens[first : first + 5]
    return Delivery(
        message.subject,
        message.headers,
        message.data,
        message.reply,
        int(stream_seq),
        int(consumer_seq),
        int(deliveries),
        int(timestamp),
        int(pending),
    )


class PullSubscription:
    """Delivers the messages of one existing consumer to ``handler``, on the loop.

    ``handler`` must not block. Each delivery holds its place in the window until it is released:
    by :meth:`ack` or :meth:`release`.
    """

    def __init__(
        self,
        connection: BrokerConnection,
        stream: str,
        consumer: str,
        handler: Callable[[Delivery], None],
        *,
        max_messages: int = 4096,
        max_bytes: int = 32 * 1024 * 1024,
        heartbeat_seconds: float = 5.0,
        on_gone: Callable[[str], None] | None = None,
    ) -> None:
        """``on_gone`` is told when the consumer or its stream isn't there (any more)."""
        if max_bytes < MINIMUM_BYTES:
            raise BrokerError(f"a window of {max_bytes} bytes is below {MINIMUM_BYTES}; enlarge it")
        self._connection = connection
        self._stream = stream
        self._consumer = consumer
        self._handler = handler
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._heartbeat = heartbeat_seconds
        self._on_gone = on_gone
        self._client: Client | None = None
        self._subscription: Subscription | None = None
        self._inbox = ""
        self._asked_messages = 0
        self._asked_bytes = 0
        self._held_messages = 0
        self._held_bytes = 0
        self._heard = 0.0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._acks: list[bytes] = []
        self.problem = ""
        """Why nothing is delivered; empty when all is well."""

    @property
    def consumer(self) -> str:
        """The consumer's name."""
        return self._consumer

    @property
    def held(self) -> tuple[int, int]:
        """Messages and bytes that were delivered and not yet released."""
        return self._held_messages, self._held_bytes

    def start(self) -> None:
        """Begin to pull, now or once connected."""
        if self._task is None:
            self._connection.on_lost(self._lost)
            self._connection.on_connected(self._connected)
            self._task = asyncio.create_task(self._pull(), name=f"pull-{self._consumer}")

    async def stop(self) -> None:
        """Stop pulling and send the acknowledgements that are left. Held messages stay held."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        await self.flush()
        if self._subscription is not None and self._connection.connected:
            try:
                await self._subscription.unsubscribe()
            except NatsError as error:
                _log.debug("unsubscribe from %s: %s", self._consumer, error)
        self._subscription = None
        self._client = None
        self._connection.forget(self._lost, self._connected)

    def ack(self, deliveries: Iterable[Delivery], kind: bytes = b"+ACK") -> None:
        """Acknowledge each of them and release them; sent together at the end of this turn.

        ``kind`` may be ``b"-NAK"``, ``b'-NAK {"delay": <ns>}'`` or ``b"+TERM"`` instead.
        An acknowledgement that a broken connection swallows means that the message comes again.
        """
        for delivery in deliveries:
            self._acks.append(wire.frame(delivery.reply, "", b"", kind))
            self.release(delivery)
        self._wake.set()

    def in_progress(self, deliveries: Iterable[Delivery]) -> None:
        """Ask for more time before the server delivers these again."""
        self._acks += [wire.frame(each.reply, "", b"", b"+WPI") for each in deliveries]
        self._wake.set()

    def release(self, delivery: Delivery) -> None:
        """Give its place in the window back without an acknowledgement."""
        self._held_messages -= 1
        self._held_bytes -= delivery.size
        self._wake.set()

    async def flush(self) -> None:
        """Send the acknowledgements now."""
        if self._acks and self._connection.connected:
            data, self._acks = b"".join(self._acks), []
            try:
                await wire.send(self._connection.client, data)
            except (NotConnectedError, NatsError, OSError) as error:
                _log.debug("acknowledgements were not sent: %s", error)

    async def _connected(self) -> None:
        self._wake.set()

    def _lost(self) -> None:
        self._asked_messages = self._asked_bytes = 0
        self._acks.clear()

    async def _pull(self) -> None:
        while True:
            try:
                if self._connection.connected:
                    await self._subscribe()
                    await self.flush()
                    await self._ask()
            except (NotConnectedError, NatsError, OSError) as error:
                self.problem = str(error)
            self._wake.clear()
            try:
                # Not wait_for: before 3.12 it swallows a cancellation that comes with a wake-up.
                async with asyncio.timeout(self._heartbeat):
                    await self._wake.wait()
            except TimeoutError:
                self._check_heartbeat()

    async def _subscribe(self) -> None:
        client = self._connection.client
        if client is self._client:
            return
        self._inbox = client.new_inbox()
        self._subscription = await client.subscribe(
            self._inbox, cb=self._receive, pending_msgs_limit=0, pending_bytes_limit=0
        )
        self._client = client
        self._asked_messages = self._asked_bytes = 0

    async def _ask(self) -> None:
        messages = self._max_messages - self._held_messages - self._asked_messages
        room = self._max_bytes - self._held_bytes - self._asked_bytes
        if self._asked_messages and (
            messages < self._max_messages // 2 or room < self._max_bytes // 2
        ):
            return
        if messages <= 0 or room < MINIMUM_BYTES // 2:
            return
        self._asked_messages += messages
        self._asked_bytes += room
        self._heard = asyncio.get_running_loop().time()
        request = {
            "batch": messages,
            "max_bytes": room,
            "expires": int(self._heartbeat * 12e9),
            "idle_heartbeat": int(self._heartbeat * 1e9),
        }
        await wire.send(
            self._connection.client,
            wire.frame(
                f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}",
                self._inbox,
                b"",
                msgspec.json.encode(request),
            ),
        )

    def _check_heartbeat(self) -> None:
        """A request that hears nothing for two heartbeats is dead; ask again."""
        silent = asyncio.get_running_loop().time() - self._heard
        if self._asked_messages and silent > 2 * self._heartbeat:
            self.problem = f"the consumer {self._consumer} has been silent for {silent:.0f} s"
            self._asked_messages = self._asked_bytes = 0

    async def _receive(self, message: Msg) -> None:
        self._heard = asyncio.get_running_loop().time()
        headers = message.headers
        if headers is not None and not message.data and "Status" in headers:
            self._status(headers)
            return
        delivery = read_delivery(message)
        size = delivery.size
        self._asked_messages = max(0, self._asked_messages - 1)
        self._asked_bytes = max(0, self._asked_bytes - size) * bool(self._asked_messages)
        self._held_messages += 1
        self._held_bytes += size
        self.problem = ""
        if self._asked_messages * 2 < self._max_messages:
            self._wake.set()
        self._handler(delivery)

    def _status(self, headers: dict[str, str]) -> None:
        status, description = headers["Status"], headers.get("Description", "")
        if status == "100":
            return
        # A request has ended: by its time, its bytes, or because something is wrong.
        unfilled = int(headers.get("Nats-Pending-Messages", self._asked_messages))
        unfilled_bytes = int(headers.get("Nats-Pending-Bytes", self._asked_bytes))
        self._asked_messages = max(0, self._asked_messages - unfilled)
        self._asked_bytes = max(0, self._asked_bytes - unfilled_bytes) * bool(self._asked_messages)
        if status == "408" or description == MAX_BYTES:
            self._wake.set()
            return
        # Asked again at the next heartbeat, so that a lasting refusal makes no storm.
        self.problem = (
            f"the consumer {self._consumer} of {self._stream}: "
            f"{description or 'nobody answers'} ({status})"
        )
        gone = status == "503" or any(each in description.lower() for each in GONE)
        if gone and self._on_gone is not None:
            self._on_gone(self.problem)

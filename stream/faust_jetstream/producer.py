"""The producer: faust's sends as pipelined JetStream publishes."""

import asyncio
import hashlib
import itertools
import logging
import weakref
from collections import Counter
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from faust.agents.agent import current_agent
from faust.streams import current_event
from faust.transport.producer import Producer as FaustProducer
from faust.transport.producer import ProducerBuffer
from faust.types import TP, RecordMetadata

from .connection import Connection
from .errors import ConfigurationError
from .names import partition_of
from .tasks import wait_event

if TYPE_CHECKING:
    from .jetstream import JetStream

logger = logging.getLogger(__name__)


class _Buffer(ProducerBuffer):  # type: ignore[misc]
    """Sends what ``send_soon`` was given; back-pressure is the publish window."""

    producer: "Producer"

    async def wait_until_ebb(self) -> None:
        await self.producer.context.sends.wait_for_room()

    async def flush(self) -> None:
        while self.size:
            self.message_sent.clear()
            await wait_event(self.message_sent, 0.1)


class Producer(FaustProducer):  # type: ignore[misc]
    """Sends messages to topics. A message that an agent sends while it processes an event has
    an id made of that event, so that processing the event again does not repeat it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.context: JetStream = self.transport.context
        self.connection: Connection = self.context.connection
        self.buffer = _Buffer(loop=self.loop, beacon=self.beacon)
        self.buffer.app = self.app
        self.buffer.producer = self
        self._round_robin = itertools.count()
        self._sent_by_event: weakref.WeakKeyDictionary[Any, Counter[bytes]] = (
            weakref.WeakKeyDictionary()
        )

    async def on_start(self) -> None:
        """Connect."""
        await self.connection.open()
        await self.context.sends.start()
        await super().on_start()

    async def on_stop(self) -> None:
        """Wait for what was sent, then disconnect."""
        await self.flush()
        await self.context.sends.stop()
        await super().on_stop()
        await self.connection.close()

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: Any,
        *,
        transactional_id: str | None = None,
    ) -> Awaitable[RecordMetadata]:
        """Publish a message; the future gives its place once the stream has it."""
        await self.buffer.wait_until_ebb()
        known = await self.transport.discover(topic)
        if partition is None:
            partition = self.key_partition(topic, key).partition
        if not 0 <= partition < known.partitions:
            raise ConfigurationError(
                f"partition {partition} of topic {topic} does not exist: it has {known.partitions}."
            )
        subject, payload, told = known.message(partition, key, value, timestamp, headers)
        sent = self.context.sends.publish_soon(
            subject, payload, told, msg_id=self._message_id(subject, key, payload)
        )
        tp = TP(topic, partition)
        place = asyncio.get_running_loop().create_future()

        def arrived(future: "asyncio.Future[int]") -> None:
            if place.done():
                return
            error = None if future.cancelled() else future.exception()
            if error is not None:
                place.set_exception(error)
                place.exception()  # told to whoever awaits; silence "never retrieved"
            else:
                place.set_result(
                    RecordMetadata(topic, partition, tp, future.result(), timestamp, 0)
                )

        sent.add_done_callback(arrived)
        return place

    def _message_id(self, subject: str, key: bytes | None, payload: bytes) -> str | None:
        """Return an id that the same message gets when the event is processed again.

        It is made of the event and of the message itself, so that an agent that sends in
        another order the second time, or something else, has nothing dropped.
        """
        event = current_event() if self.context.settings.deduplicate_sends else None
        if event is None or self.context.topics.known.get(event.message.topic) is None:
            return None
        message = event.message
        agent = current_agent()
        content = b"\0".join(
            (agent.name.encode() if agent else b"", subject.encode(), key or b"", payload)
        )
        digest = hashlib.blake2b(content, digest_size=12).digest()
        sent = self._sent_by_event.setdefault(event, Counter())
        sent[digest] += 1
        source = f"{self.context.names.app}.{message.topic}.{message.partition}.{message.offset}"
        return f"{source}.{digest.hex()}.{sent[digest]}"

    async def send_and_wait(self, *args: Any, **kwargs: Any) -> RecordMetadata:
        """Publish a message and wait until the stream has it."""
        return await (await self.send(*args, **kwargs))

    async def flush(self) -> None:
        """Wait until everything that was sent is stored."""
        # A server that is away must not keep a worker from ending.
        limit = self.context.settings.revoke_timeout if self.app.should_stop else None
        try:
            async with asyncio.timeout(limit):
                await self.buffer.flush()
                await self.context.flush_sends()
        except TimeoutError:
            logger.warning("%d message(s) were not stored", self.context.sends.in_flight)

    async def create_topic(
        self, topic: str, partitions: int, replication: int, **options: Any
    ) -> None:
        """Declare a topic."""
        await self.transport.declare(topic, partitions, replication, **options)

    def key_partition(self, topic: str, key: bytes | None) -> TP:
        """Return the partition of a key; without a key, partitions take turns."""
        partition = self.context.topics.partition_for(topic, key)
        if topic in self.app.tables.changelog_topics and key is not None:
            partition = partition_of(key, max(self.context.engine.partitions_needed, 1))
        if partition is None:
            known = self.context.topics.known.get(topic)
            count = known.partitions if known is not None else self.app.conf.topic_partitions
            partition = next(self._round_robin) % count
        return TP(topic, partition)

    def supports_headers(self) -> bool:
        """NATS messages have headers."""
        return True

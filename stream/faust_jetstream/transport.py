"""The faust transport ``nats://``."""

from importlib.metadata import version
from typing import Any

from faust.transport.base import Transport as FaustTransport
from faust.transport.conductor import Conductor as FaustConductor
from mode.utils.times import want_seconds

from .consumer import Consumer
from .jetstream import jetstream_of
from .producer import Producer
from .topics import Topic


class Conductor(FaustConductor):  # type: ignore[misc]
    """faust's conductor, subscribing to new topics soon: a rebalance here takes milliseconds."""

    _resubscribe_sleep_lock_seconds = 0.25


class Transport(FaustTransport):  # type: ignore[misc]
    """What faust finds by ``broker="nats://..."`` (entry point group ``faust.transports``)."""

    Consumer = Consumer
    Producer = Producer
    Conductor = Conductor

    default_port = 4222
    driver_version = f"nats-py={version('nats-py')}"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.context = jetstream_of(self.app, self.url)

    async def declare(
        self,
        name: str,
        partitions: int,
        replication: int,
        *,
        config: Any = None,
        retention: Any = None,
        compacting: bool | None = None,
        **_: Any,
    ) -> Topic | None:
        """Make a topic's stream, or check the one that exists; changelogs need none."""
        if name in self.app.tables.changelog_topics:
            return None
        if self._is_reply_topic(name):
            return await self._reply_topic(name)
        return await self.context.topics.declare(
            self.context.connection,
            name,
            partitions,
            replicas=replication,
            retention=want_seconds(retention) if retention else None,
            compacting=bool(compacting),
            config=config,
        )

    async def discover(self, name: str) -> Topic:
        """Return a topic; one that nobody declared gets its stream, or is read as it exists."""
        known = self.context.topics.known.get(name)
        if known is not None:
            return known
        if self._is_reply_topic(name):
            return await self._reply_topic(name)
        declared = [topic for topic in self.app.topics if name in topic.topics]
        counts = [topic.partitions for topic in declared if topic.partitions]
        return await self.context.topics.declare(
            self.context.connection,
            name,
            counts[0] if counts else self.app.conf.topic_partitions,
            compacting=any(topic.compacting for topic in declared),
            only_check=not counts,
        )

    def _is_reply_topic(self, name: str) -> bool:
        conf = self.app.conf
        return bool(name == conf.reply_to or name.startswith(conf.reply_to_prefix))

    async def _reply_topic(self, name: str) -> Topic:
        return await self.context.topics.declare_replies(
            self.context.connection,
            name,
            expires=want_seconds(self.app.conf.reply_expires),
            local=name == self.app.conf.reply_to,
        )

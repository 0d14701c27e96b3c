"""``app.jetstream``: what this transport offers beyond faust's own interface."""

import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from faust.types import TP

from .connection import Connection
from .engine import Engine, tables_of
from .errors import ConfigurationError, NotAssignedError, PublishError
from .names import Names
from .outbox import Outbox, OutboxStream
from .partition import Partition
from .publisher import Publisher
from .settings import JetStreamSettings
from .table import Table
from .topics import Topics

if TYPE_CHECKING:
    from .consumer import Consumer

logger = logging.getLogger(__name__)

Hook = TypeVar("Hook", bound=Callable[..., Any])


class JetStream:
    """The app's side of JetStream. One per app, made by :func:`create_app`."""

    def __init__(self, app: Any, settings: JetStreamSettings) -> None:
        settings.validate()
        self.app = app
        self.settings = settings
        self.names = Names(settings.prefix, app.conf.id)
        self.connection = Connection(settings, app.conf.id)
        self.publisher = Publisher(self.connection)
        self.sends = Publisher(self.connection)
        self.topics = Topics(
            self.names,
            replicas=settings.replicas,
            storage=settings.storage,
            max_bytes=settings.topic_max_bytes,
            duplicate_window=settings.duplicate_window,
        )
        self.snapshot_hooks: list[Callable[[int], None]] = []
        self.commit_hooks: list[Callable[[int], Awaitable[None]]] = []
        self.recovered_hooks: list[Callable[[int], Awaitable[None] | None]] = []
        self.revoked_hooks: list[Callable[[int], Awaitable[None] | None]] = []
        held: dict[int, Partition] = {}
        self.outbox = Outbox(held)
        self.engine = Engine(self, held)
        self.consumer: Consumer | None = None
        self.subscribed: set[str] = set()
        self._tables: dict[str, Table] | None = None

    # -- declaring, before the app starts ---------------------------------------------------------

    def bind_topic(
        self,
        name: str,
        *,
        stream: str,
        partitions: int | None = None,
        filter_subject: str = "part.{partition}.>",
        start: str = "",
        **topic_options: Any,
    ) -> Any:
        """Return a faust topic that reads an existing stream.

        Partition ``p`` is what matches ``filter_subject`` with ``p`` in it; the stream sequence
        is the offset. An event's key is the rest of the subject after the filter's ``>``, as
        bytes; its value the payload; its headers the NATS headers. ``start`` is where an app
        without a committed offset begins: ``earliest``, ``latest``, or as the app's
        ``consumer_auto_offset_reset`` says. More options go to ``app.topic``.
        """
        count = self.settings.partitions if partitions is None else partitions
        self.topics.bind(name, stream, count, filter_subject, start)
        options = {
            "key_serializer": "raw",
            "value_serializer": "raw",
            "key_type": bytes,
            "value_type": bytes,
            "partitions": count,
            **topic_options,
        }
        return self.app.topic(name, **options)

    def ensure_outbox_stream(self, name: str, subjects: list[str], **config: Any) -> None:
        """Name a stream that takes results sent to ``subjects`` through the outbox.

        When the app starts, the stream is made with ``config`` (JetStream stream settings), or,
        if it exists, the app's outboxes are added to its sources. It may take plain publishes
        on the same subjects, too.
        """
        self.outbox.streams[name] = OutboxStream(name, subjects, config)

    def on_snapshot(self, hook: Hook) -> Hook:
        """Call ``hook(partition)`` right before the partition's state is encoded.

        Synchronous, between two events; it may change tables and send results.
        """
        self.snapshot_hooks.append(hook)
        return hook

    def before_commit(self, hook: Hook) -> Hook:
        """Await ``hook(partition)`` after a commit is encoded and before it is sent.

        What the hook waits for is done before the offset is committed: the place to flush
        publishes. Changes it makes belong to the next commit. An error stops the app.
        """
        self.commit_hooks.append(hook)
        return hook

    def on_partition_recovered(self, hook: Hook) -> Hook:
        """Call ``hook(partition)`` when a partition was loaded, before its first event."""
        self.recovered_hooks.append(hook)
        return hook

    def on_partition_revoked(self, hook: Hook) -> Hook:
        """Call ``hook(partition)`` when a partition's state was dropped from memory."""
        self.revoked_hooks.append(hook)
        return hook

    # -- while it runs ----------------------------------------------------------------------------

    @property
    def partitions(self) -> frozenset[int]:
        """The partitions this worker holds now."""
        return frozenset(self.engine.held)

    async def commit(self, partition: int | None = None) -> bool:
        """Commit what is done by now, of one partition or all; False if it did not happen."""
        return await self.engine.commit(partition)

    def commit_number(self, partition: int) -> int:
        """Return the number of the partition's next commit: rising for ever, over all owners."""
        return self._held(partition).next_commit

    def committed_offset(self, partition: int, topic: str) -> int:
        """Return the offset below which all events of a topic are committed; 0 if none are."""
        return self._held(partition).offsets.get(topic, 0)

    def room(self, partition: int) -> int:
        """Return how many more keys and results the partition's next commit takes.

        For timers that change much: commit when it gets low.
        """
        return self._held(partition).room

    def lag(self, partition: int) -> int:
        """Return how many messages of the partition are stored and not processed yet."""
        self._held(partition)
        return self.consumer.delivery.lag(partition) if self.consumer is not None else 0

    def caught_up(self, partition: int) -> bool:
        """Whether all messages of the partition that are stored have been processed."""
        self._held(partition)
        return self.consumer is not None and self.consumer.delivery.caught_up(partition)

    def health(self) -> dict[str, Any]:
        """Return the state of the transport for a health endpoint.

        Counters count from the start of the process; ages and times are seconds.
        """
        now = time.monotonic()
        consumer = self.consumer
        partitions = {
            number: {
                "lag": self.lag(number),
                "caught_up": self.caught_up(number),
                "commit": partition.commits,
                "last_commit_age": round(now - partition.last_commit, 3),
                "commits_waiting": len(partition.cuts),
                "alive": partition.alive,
            }
            for number, partition in sorted(self.engine.held.items())
        }
        return {
            "connected": self.connection.connected,
            "reconnects": self.connection.reconnects,
            "slow_consumer_errors": self.connection.slow_consumer_errors,
            "member": self.settings.member_id,
            "leader": consumer.coordinator.is_leader() if consumer is not None else False,
            "rebalancing": bool(self.app.rebalancing),
            "rebalances": consumer.coordinator.rebalances if consumer is not None else 0,
            "fenced": self.engine.fenced,
            "commits": self.engine.committer.commits,
            "commit_retries": self.engine.committer.retries,
            "publishes_in_flight": self.publisher.in_flight + self.sends.in_flight,
            "publishes_refused": self.publisher.refused + self.sends.refused,
            "results_waiting": self.engine.cleaner.waiting,
            "results_waiting_age": round(self.engine.cleaner.oldest_age(now), 3),
            "problems": sorted(self.engine.committer.problems.values()),
            "lag": sum(each["lag"] for each in partitions.values()),
            "partitions": partitions,
        }

    async def prepare(self, topics: set[str]) -> None:
        """Make what these topics need on the server."""
        await self.engine.prepare([self.topics.known[name] for name in topics])
        self.subscribed = set(topics)

    # -- for the transport's other modules ----------------------------------------------------

    @property
    def tables(self) -> dict[str, Table]:
        """The app's tables by name."""
        if self._tables is None:
            self._tables = tables_of(self.app)
        return self._tables

    async def flush_sends(self) -> None:
        """Wait for what agents sent to topics; its failures were told to the senders."""
        try:
            await self.sends.flush()
        except PublishError as error:  # pragma: no cover - sends carry their own futures
            logger.error("%s", error)

    def crash(self, error: Exception) -> None:
        """Stop the app because of an error that trying again does not remove."""
        self.app.loop.create_task(self.app.crash(error))

    def start_of(self, tp: TP) -> str:
        """Return where a topic partition without a committed offset starts."""
        topic = self.topics.known[tp.topic]
        return topic.start or str(self.app.conf.consumer_auto_offset_reset)

    def _held(self, partition: int) -> Partition:
        held = self.engine.held.get(partition)
        if held is None:
            raise NotAssignedError(partition)
        return held


def settings_from(app: Any, urls: Any) -> JetStreamSettings:
    """Return settings for broker URLs and faust's own settings.

    User and password move out of the URL.
    """
    servers, user, password = [], None, None
    for url in urls:
        user, password = url.user or user, url.password or password
        servers.append(f"{url.scheme}://{url.host}:{url.port or 4222}")
    return JetStreamSettings(
        servers=servers,
        user=user,
        password=password,
        partitions=app.conf.topic_partitions,
        replicas=app.conf.topic_replication_factor,
        commit_interval=app.conf.broker_commit_interval,
    )


def jetstream_of(app: Any, urls: Any) -> JetStream:
    """Return the app's :class:`JetStream`, made from its broker URLs if it has none yet."""
    context = getattr(app, "jetstream", None)
    if context is None:
        context = app.jetstream = JetStream(app, settings_from(app, urls))
    if not isinstance(context, JetStream):
        raise ConfigurationError(
            "app.jetstream is something else than this transport's JetStream: rename it."
        )
    return context

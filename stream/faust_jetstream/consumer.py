"""The consumer: from readers to agents, acknowledgements to trackers, commits to the engine."""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from faust.transport.consumer import Consumer as FaustConsumer
from faust.types import TP, ConsumerMessage

from .coordinator import Coordinator
from .delivery import Delivery
from .membership import View
from .tasks import wait_event
from .topics import Topic
from .tracker import IGNORE, IgnoreIndex, TrackerIndex

if TYPE_CHECKING:
    from .jetstream import JetStream

logger = logging.getLogger(__name__)


class Consumer(FaustConsumer):  # type: ignore[misc]
    """Reads assigned topic partitions and delivers them in order.

    Deviates from faust's base class where that assumes Kafka: no gap bookkeeping, no two tasks
    per message, commits that are never skipped because another one is under way, and no
    delivery before a partition was positioned in the current generation.
    """

    context: "JetStream"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.context = self.transport.context
        self.context.consumer = self
        engine = self.context.engine
        self.engine = engine
        self.settings = self.context.settings
        self.rebalanced = False
        self._assigned: set[TP] = set()
        self._local_positions: dict[TP, int] = {}
        self._acked_index = TrackerIndex()
        self.delivery = Delivery(self.context, self._acked_index, lambda: self._open)
        self._acked = IgnoreIndex(IGNORE)
        self._committed_offset = IgnoreIndex(None)
        self.commit_interval = self.settings.commit_interval
        self._end_offset_monitor_interval = 2 * self.commit_interval
        self.coordinator = Coordinator(self, loop=self.loop, beacon=self.beacon)
        engine.wake_drain = self.delivery.wake.set
        engine.roll_back = self.coordinator.roll_back
        engine.generation_now = lambda: self.app.consumer_generation_id

    # -- starting and stopping ----------------------------------------------------------------

    async def on_start(self) -> None:
        """Connect; the group is joined when faust has subscribed."""
        await self.context.connection.open()
        self.context.connection.on_closed.append(self._on_closed)
        await self.context.publisher.start()
        await self.context.sends.start()
        if not self.app.client_only:
            await self.add_runtime_dependency(self.coordinator)

    async def on_stop(self) -> None:
        """Commit what is done, hand the partitions over, disconnect."""
        await self.wait_empty()
        await self.delivery.close()
        await self.engine.stop()
        if not self.app.client_only:
            await self.coordinator.leave()
        await self.context.publisher.stop()
        self.context.connection.on_closed.remove(self._on_closed)
        await self.context.connection.close()

    def _on_closed(self) -> None:
        self.context.crash(ConnectionError("the connection to NATS was closed for good"))

    # -- topics -------------------------------------------------------------------------------

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Note the topics to read. Never rebalances: faust waits for this call meanwhile."""
        changelogs = self.app.tables.changelog_topics
        wanted = {topic for topic in topics if topic not in changelogs}
        for topic in wanted:
            await self.transport.discover(topic)
        if self.app.client_only:
            self._assigned = {TP(topic, 0) for topic in wanted}
            await self.seek_to_committed()
        else:
            self.coordinator.subscribe(wanted)

    async def create_topic(
        self, topic: str, partitions: int, replication: int, **options: Any
    ) -> None:
        """Declare a topic."""
        await self.transport.declare(topic, partitions, replication, **options)

    def topic_partitions(self, topic: str) -> int | None:
        """Return a topic's number of partitions, None if it is unknown."""
        known = self.context.topics.known.get(topic)
        return known.partitions if known is not None else None

    def key_partition(
        self, topic: str, key: bytes | None, partition: int | None = None
    ) -> int | None:
        """Return the partition of a key."""
        if partition is not None:
            return partition
        return self.context.topics.partition_for(topic, key)

    def assignment(self) -> set[TP]:
        """Return the topic partitions this worker reads."""
        return self._assigned

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)

    # -- rebalancing --------------------------------------------------------------------------

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Stop delivering, let agents finish, commit.

        Unlike faust's, keeps the acknowledgements of the events in process. Where several
        agents share a topic, some may be ahead: they get a moment to meet while events that
        were delivered are still in their queues.
        """
        self.flow_active = False
        if revoked and any(not part.consistent for part in self.engine.held.values()):
            await self.engine.commit(timeout=min(0.5, self.settings.revoke_timeout))
        self._active_partitions.difference_update(revoked)
        self._paused_partitions.difference_update(revoked)
        await self._on_partitions_revoked(revoked)

    async def assigned(self, partitions: set[int], view: View) -> None:
        """Give faust its new assignment: these partitions of all topics."""
        self.rebalanced = True
        self._local_positions.update(await self.delivery.close())
        known = self.context.topics.known
        topics = [known[name] for name in sorted(self.context.subscribed)]
        self._assigned = {
            TP(topic.name, partition)
            for topic in topics
            for partition in (range(topic.partitions) if topic.local else partitions)
            if partition < topic.partitions
        }
        self.app.consumer_generation_id += 1
        for part in self.engine.held.values():
            part.forget_event()
        self.app.assignor.set_assignment(self._assigned, view, self._all_topics(topics))
        await self.on_partitions_assigned(set(self._assigned), self.app.consumer_generation_id)

    def _all_topics(self, topics: list[Topic]) -> dict[str, int]:
        shared = {topic.name: topic.partitions for topic in topics if not topic.local}
        for name in self.app.tables.changelog_topics:
            shared[name] = self.engine.partitions_needed
        return shared

    async def wait_empty(self) -> None:
        """Wait for events in process, then commit; both bounded by ``revoke_timeout``.

        Events that are not finished by then are cut off: whatever they do later is refused,
        and they are processed again.
        """
        deadline = time.monotonic() + self.settings.revoke_timeout
        while self._in_process() and time.monotonic() < deadline:
            self._waiting_for_ack = self.loop.create_future()
            await asyncio.wait([self._waiting_for_ack], timeout=0.1)
            self._waiting_for_ack = None
        left = max(deadline - time.monotonic(), 1.0)
        if self.should_stop and not self.context.connection.connected:
            left = 0.5
        committed = await self.engine.commit(timeout=left)
        if not committed:
            logger.warning("not everything could be committed; it is processed again")
        for message in self._in_process():
            message.acked = True
        self._unacked_messages.clear()

    def _in_process(self) -> list[Any]:
        return [message for message in self._unacked_messages if not message.acked]

    # -- positions ----------------------------------------------------------------------------

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Position every assigned topic partition, and open it for delivery."""
        positions = {}
        for tp in sorted(self._assigned):
            position = await self._committed_position(tp)
            await self.delivery.open(tp, position)
            positions[tp] = position
        self.delivery.wake.set()
        return positions

    async def perform_seek(self) -> None:
        """Seek to the committed positions; trackers keep the rest of what faust would note."""
        await self.seek_to_committed()

    async def _committed_position(self, tp: TP) -> int:
        if self.context.topics.known[tp.topic].local:
            return self._local_positions.get(tp, 1)
        part = self.engine.held.get(tp.partition)
        stored = part.offsets.get(tp.topic) if part is not None else None
        if stored is not None:
            return stored
        if self.context.start_of(tp) == "latest":
            return await self._end(tp)
        return 1

    async def _end(self, tp: TP) -> int:
        stream = self.context.topics.known[tp.topic].stream
        answer = await self.context.connection.api_until_answered(f"STREAM.INFO.{stream}")
        last: int = answer["state"]["last_seq"]
        return last + 1

    async def _seek(self, partition: TP, offset: int) -> None:
        await self.delivery.open(partition, offset)

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Position topic partitions at given offsets."""
        for tp, offset in partitions.items():
            await self.delivery.open(tp, offset)

    async def position(self, tp: TP) -> int | None:
        """Return the offset delivered next."""
        tracker = self.delivery.trackers.get(tp)
        return tracker.position if tracker is not None else None

    def highwater(self, tp: TP) -> int:
        """Return an offset not below that of the last message, as far as it is known."""
        reader = self.delivery.readers.get(tp)
        return reader.position + (reader.pending or 0) if reader is not None else 0

    async def highwaters(self, *tps: TP) -> dict[TP, int]:
        """Return the offset after the last message of topic partitions."""
        return {tp: await self._end(tp) for tp in tps}

    async def earliest_offsets(self, *tps: TP) -> dict[TP, int]:
        """Return the first offset of topic partitions: 1, since holes are normal."""
        return dict.fromkeys(tps, 1)

    # -- committing ---------------------------------------------------------------------------

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commit what is done now. Never skipped: a commit under way does not hold it."""
        if self.app.client_only:
            return False
        return await self.engine.commit()

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commit what is done now."""
        return await self.commit()

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        return await self.engine.commit()

    # -- delivering ---------------------------------------------------------------------------

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> dict[TP, Any]:
        raise NotImplementedError("messages are delivered by _drain_messages")

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        return self.delivery.message(tp, record)

    def on_buffer_drop(self, tp: TP) -> None:
        """An agent's queue has room again."""
        super().on_buffer_drop(tp)
        self.delivery.wake.set()

    def resume_flow(self) -> None:
        """Deliver again."""
        super().resume_flow()
        self.delivery.wake.set()

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Deliver these topic partitions again."""
        super().resume_partitions(tps)
        self.delivery.wake.set()

    @property
    def _open(self) -> bool:
        """Whether events may be delivered.

        Not while rebalancing, even though faust resumes the flow before it ends: the last thing
        it does is ``flow_control.resume()``, which clears the agents' queues. An event delivered
        between the seek and that clearing would be lost to the agents but count as delivered,
        so that nothing behind it could ever be committed.
        """
        return self.flow_active and not self.app.rebalancing

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                self.delivery.wake.clear()
                if not self._open or not await self.delivery.round(self._readable()):
                    await wait_event(self.delivery.wake, 0.1)
        except asyncio.CancelledError:
            if not self.app.should_stop:
                raise

    def _readable(self) -> set[TP]:
        if self.app.client_only:
            return self._assigned
        active: set[TP] = self._get_active_partitions()
        return active

    def close(self) -> None:
        """Nothing to do: :meth:`on_stop` closes."""

"""From readers to agents: every assigned topic partition in turn, a slice at a time.

faust's own way to an agent is a coroutine per message, which awaits flow control, the producer's
buffer and a decoder. For a bound topic whose keys and values stay bytes there is nothing to
await: there a slice is delivered in one go.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from faust import Schema
from faust import Topic as FaustTopic
from faust.types import TP, ConsumerMessage

from .reader import Reader, Record
from .topics import Topic
from .tracker import OffsetTracker, TrackerIndex

if TYPE_CHECKING:
    from .jetstream import JetStream

SLICE = 64
"""Messages of one topic partition delivered before the next one's turn."""


class Delivery:
    """Readers and trackers of the assigned topic partitions.

    ``wake`` is set when there may be something to deliver; ``is_open`` tells whether anything
    may be delivered now.
    """

    def __init__(
        self, context: "JetStream", index: TrackerIndex, is_open: Callable[[], bool]
    ) -> None:
        self.context = context
        self.wake = asyncio.Event()
        self.readers: dict[TP, Reader] = {}
        self.trackers: dict[TP, OffsetTracker] = {}
        self._index = index
        self._is_open = is_open
        self._topics: dict[TP, tuple[Topic, int]] = {}

    async def open(self, tp: TP, offset: int) -> None:
        """Read a topic partition from ``offset`` on, with a tracker that starts there."""
        reader = self.readers.pop(tp, None)
        if reader is not None:
            await reader.close()
        topic = self.context.topics.known[tp.topic]
        part = self.context.engine.held.get(tp.partition)
        if topic.local:
            tracker = OffsetTracker(offset, lambda tracker: self.wake.set())
        elif part is not None:
            tracker = OffsetTracker(offset, part.on_progress)
            part.trackers[tp] = tracker
        else:
            return
        self.trackers[tp] = self._index[tp] = tracker
        self._topics[tp] = topic, len(topic.root(tp.partition))
        self.readers[tp] = reader = Reader(
            self.context.connection,
            topic.stream,
            [topic.filter_for(tp.partition)],
            offset,
            self.wake.set,
        )
        reader.start()

    async def close(self) -> dict[TP, int]:
        """Stop reading everything; returns where local topics were."""
        readers = list(self.readers.values())
        self.readers.clear()
        await asyncio.gather(*(reader.close() for reader in readers))
        positions = {tp: self.trackers[tp].safe for tp in self.trackers if self._is_local(tp)}
        for tracker in self.trackers.values():
            tracker.active = False
        self.trackers.clear()
        self._index.clear()
        for part in self.context.engine.held.values():
            part.trackers.clear()
        return positions

    def _is_local(self, tp: TP) -> bool:
        return self._topics[tp][0].local

    def lag(self, partition: int) -> int:
        """Return how many messages of a partition are stored and not processed."""
        return sum(
            (reader.pending or 0) + len(reader.buffer) + len(self.trackers[tp].queue)
            for tp, reader in self.readers.items()
            if tp.partition == partition and not self._is_local(tp)
        )

    def caught_up(self, partition: int) -> bool:
        """Whether a partition's readers are open and its lag is 0."""
        readers = [
            reader
            for tp, reader in self.readers.items()
            if tp.partition == partition and not self._is_local(tp)
        ]
        known = bool(readers) and all(reader.pending is not None for reader in readers)
        return known and self.lag(partition) == 0

    def message(self, tp: TP, record: Record) -> ConsumerMessage:
        """Return a record as faust's message."""
        topic, prefix = self._topics[tp]
        key, value, timestamp, headers = topic.key_and_value(record, prefix)
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            record[0],
            timestamp,
            1,
            headers,
            key,
            value,
            None,
            tp=tp,
            generation_id=self.context.app.consumer_generation_id,
        )

    async def round(self, tps: Iterable[TP]) -> bool:
        """Deliver a slice of every topic partition that may go on; False if none did."""
        settings = self.context.settings
        delivered = False
        for tp in list(tps):
            reader, tracker = self.readers.get(tp), self.trackers.get(tp)
            if reader is None or tracker is None:
                continue
            if reader.error is not None:
                raise reader.error
            part = self.context.engine.held.get(tp.partition)
            in_hand = len(tracker.queue)
            held = part is not None and part.held
            if not reader.buffer or in_hand > settings.delivery_low_water or held:
                continue
            most = min(settings.delivery_window - in_hand, SLICE)
            count = deliver_raw(self.context.app, self._topics[tp], tp, reader, tracker, most)
            if count is None:
                await self._deliver(tp, reader, tracker, most)
            delivered = delivered or count != 0
            await asyncio.sleep(0)
            if not self._is_open():
                break
        return delivered

    async def _deliver(self, tp: TP, reader: Reader, tracker: OffsetTracker, most: int) -> None:
        callback = self.context.app.topics._tp_to_callback.get(tp)
        records = reader.take(most)
        for index, record in enumerate(records):
            # After each await the world may have changed.
            if not self._is_open() or not tracker.active:
                reader.put_back(records[index:])
                return
            message = self.message(tp, record)
            tracker.deliver(record[0])
            if callback is None:
                tracker.add(record[0])
            else:
                await callback(message)


def deliver_raw(
    app: Any,
    topic_and_prefix: tuple[Topic, int],
    tp: TP,
    reader: Reader,
    tracker: OffsetTracker,
    most: int,
) -> int | None:
    """Deliver up to ``most`` records and return how many; None if this way is not for them."""
    topic, prefix = topic_and_prefix
    channels = app.topics._tp_index.get(tp)
    if not topic.bound or not channels or not app.flow_control.is_active():
        return None
    if not all(_is_raw(channel) for channel in channels):
        return None
    queues = [channel.queue for channel in channels]
    room = min(queue.maxsize - queue.qsize() for queue in queues)
    generation = app.consumer_generation_id
    new_event = app.conf.Event
    name, partition = tp
    count = len(queues)
    records = reader.take(min(most, room)) if room > 0 else []
    for sequence, stored, subject, payload, headers in records:
        message = ConsumerMessage(
            name,
            partition,
            sequence,
            stored / 1e9,
            1,
            headers,
            subject[prefix:].encode(),
            payload,
            None,
            tp=tp,
            generation_id=generation,
        )
        message.refcount = count
        event = new_event(app, message.key, payload, headers, message)
        tracker.deliver(sequence)
        for queue in queues:
            queue.force_put_nowait(event)
    return len(records)


def _is_raw(channel: Any) -> bool:
    schema = channel.schema
    return (
        type(channel) is FaustTopic
        and type(schema) is Schema
        and schema.key_type is bytes
        and schema.value_type is bytes
        and schema.key_serializer == "raw"
        and schema.value_serializer == "raw"
    )

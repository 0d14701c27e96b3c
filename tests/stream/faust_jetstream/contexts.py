"""A worker's engine without a worker: acquires partitions and commits, driven by the test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from faust.types import TP

from stream.faust_jetstream import JetStreamSettings, create_app
from stream.faust_jetstream.jetstream import JetStream
from stream.faust_jetstream.partition import Partition
from stream.faust_jetstream.tracker import OffsetTracker


@asynccontextmanager
async def context(
    *urls: str, app_id: str = "app", member: str = "a", partitions: int = 1, **settings: Any
) -> AsyncIterator[JetStream]:
    """An open context with table ``t``, bound topic ``raw`` and outbox stream ``RESULTS``."""
    app = create_app(
        app_id,
        settings=JetStreamSettings(
            servers=list(urls), member_id=member, partitions=partitions, **settings
        ),
    )
    app.Table("t", default=int)
    jetstream: JetStream = app.jetstream
    jetstream.bind_topic("raw", stream="RAW", filter_subject="part.{partition}.>")
    jetstream.ensure_outbox_stream("RESULTS", ["results.>"])
    await jetstream.connection.open()
    await jetstream.publisher.start()
    await jetstream.sends.start()
    try:
        yield jetstream
    finally:
        await jetstream.engine.stop()
        await jetstream.publisher.stop()
        await jetstream.sends.stop()
        await jetstream.connection.close()


async def own(jetstream: JetStream, number: int = 0, generation: int = 1) -> Partition:
    """Acquire a partition, with a tracker for topic ``raw``."""
    await jetstream.prepare({"raw"})
    await jetstream.engine.acquire(number, generation)
    partition = jetstream.engine.held[number]
    tp = TP("raw", number)
    start = partition.offsets.get("raw", 1)
    partition.trackers[tp] = OffsetTracker(start, partition.on_progress)
    return partition


def process(partition: Partition, changes: dict[str, Any], results: int = 0) -> int:
    """Deliver and finish one event that makes these changes; returns its offset."""
    tracker = partition.trackers[TP("raw", partition.number)]
    offset = tracker.position
    tracker.deliver(offset)
    for key, value in changes.items():
        if value is None:
            partition.tables["t"].pop(key, None)
        else:
            partition.tables["t"][key] = value
    for number in range(results):
        partition.send(f"results.{key_of(changes)}", b"%d.%d" % (offset, number), None)
    tracker.add(offset)
    return offset


def key_of(changes: dict[str, Any]) -> str:
    """A subject token for a set of changes."""
    return next(iter(changes), "none")

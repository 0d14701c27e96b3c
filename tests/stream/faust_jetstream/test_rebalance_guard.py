"""Why a guard against committing in the middle of an event could block for ever.

A prototype of this transport did not commit while some event had changed state without being
acknowledged, which is right; in 2 of 7 churn runs that guard blocked all 40 tries at a
rebalance. The cause is in faust's order of things at the end of a rebalance:

1. ``consumer.perform_seek()`` puts the readers at the committed offsets,
2. ``app.flow_control.resume()`` *clears the agents' queues*,
3. ``consumer.resume_flow()``, ``app.on_rebalance_end()``.

The flow had been resumed once before, for table recovery, so a consumer that only looks at
``flow_active`` delivers events between 1 and 2. Those still in a queue at 2 vanish, yet count as
delivered and never get acknowledged. Everything after them is processed and changes state, but
the acknowledged prefix ends before them: the guard can never open. (Kafka's consumer does the
same, but there the lost events only mean a later commit.)
"""

import asyncio
from pathlib import Path
from typing import Any

import faust
import pytest

from stream.faust_jetstream.consumer import Consumer
from tests.stream.faust_jetstream.running import make_app, running
from tests.stream.faust_jetstream.servers import Server
from tests.support.polling import eventually


def build(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any, Any]:
    """An app with a slow agent, whose seeks leave time for a delivery before they return."""
    app = make_app("guard", url, folder, partitions=1, commit_interval=1000)
    topic = app.topic("t", value_type=int, partitions=1)
    table = app.Table("sums", default=int)

    @app.agent(topic)
    async def agent(stream: faust.Stream) -> None:
        async for number in stream:
            table["sum"] += number
            await asyncio.sleep(0.003)

    seek = Consumer.perform_seek

    async def slow_seek(consumer: Consumer) -> None:
        await seek(consumer)
        await asyncio.sleep(0.2)

    monkeypatch.setattr(Consumer, "perform_seek", slow_seek)
    return app, topic, table


async def rebalance_under_load(app: Any, topic: Any) -> None:
    for number in range(300):
        await topic.send(value=number)
    await eventually(lambda: app.tables["sums"]["sum"] > 0)
    generation = app.consumer_generation_id
    app.consumer.coordinator.roll_back(0)
    await eventually(lambda: app.consumer_generation_id > generation and not app.rebalancing)


async def test_events_delivered_between_the_seek_and_the_clearing_block_the_guard(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault, made on purpose: the consumer delivers as soon as the flow is active."""
    app, topic, _ = build(server.url, tmp_path, monkeypatch)
    monkeypatch.setattr(Consumer, "_open", property(lambda consumer: consumer.flow_active))
    async with running(app):
        await rebalance_under_load(app, topic)
        partition = app.jetstream.engine.held[0]
        for number in range(20):
            await topic.send(value=number)
        await eventually(lambda: not partition.consistent)
        committed = [await app.jetstream.engine.commit(0, timeout=0.02) for _ in range(40)]
        assert not any(committed), "the guard opened, so this is not the cause"
        tracker = next(iter(partition.trackers.values()))
        assert not app.consumer.unacked, "an event is in process, so this is not the cause"
        assert tracker.queue and tracker.safe == tracker.queue[0]


async def test_nothing_is_delivered_before_the_rebalance_has_ended(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same load and the same slow seek, with the transport as it is."""
    app, topic, table = build(server.url, tmp_path, monkeypatch)
    async with running(app):
        await rebalance_under_load(app, topic)
        assert await app.jetstream.engine.commit(0, timeout=5)
        await eventually(lambda: app.jetstream.caught_up(0), 20)
        assert await app.jetstream.commit(0)
        assert table["sum"] == sum(range(300))

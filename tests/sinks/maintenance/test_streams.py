"""Stored messages leave the streams behind everyone who reads them, and not before."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from sinks.maintenance.streams import StreamCleaner
from stream.broker.connection import BrokerConnection
from stream.broker.jetstream import JetStream
from stream.broker.settings import BrokerSettings, StreamSettings
from stream.broker.streams import ensure_streams
from tests.support.nats_server import NatsServer

MEBIBYTE = 1024 * 1024
Eventually = Callable[..., Awaitable[object]]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def admin(nats_server: NatsServer) -> AsyncIterator[BrokerConnection]:
    settings = BrokerSettings(
        servers=(nats_server.url,), credentials_file=str(nats_server.write_credentials("admin"))
    )
    async with BrokerConnection(settings, "test") as connection:
        await connection.wait_connected(10)
        await ensure_streams(
            JetStream(connection),
            StreamSettings(
                raw_max_bytes=MEBIBYTE, events_max_bytes=MEBIBYTE, buckets_max_bytes=MEBIBYTE,
                dead_max_bytes=MEBIBYTE,
            ),
        )  # fmt: skip
        yield connection


@pytest.fixture
async def sink_jetstream(nats_server: NatsServer) -> AsyncIterator[JetStream]:
    """With no more rights than the sink has."""
    settings = BrokerSettings(
        servers=(nats_server.url,), credentials_file=str(nats_server.write_credentials("sink"))
    )
    async with BrokerConnection(settings, "test-sink") as connection:
        await connection.wait_connected(10)
        yield JetStream(connection)


async def publish(admin: BrokerConnection, subject: str, count: int, size: int = 10) -> None:
    for _ in range(count):
        await admin.client.jetstream().publish(subject, b"x" * size)


async def consumer(admin: BrokerConnection, name: str, subject: str) -> Any:
    stream = admin.client.jetstream()
    await JetStream(admin).ensure_consumer(
        "EVENTS",
        {"name": name, "durable_name": name, "filter_subject": subject, "ack_policy": "explicit"},
    )
    return await stream.pull_subscribe_bind(name, "EVENTS")


async def take(subscription: Any, count: int) -> None:
    for message in await subscription.fetch(count, timeout=5):
        await message.ack_sync()


async def remaining(admin: BrokerConnection) -> int:
    return (await JetStream(admin).stream_info("EVENTS")).state.messages


async def test_without_a_consumer_nothing_goes(
    admin: BrokerConnection, sink_jetstream: JetStream
) -> None:
    await publish(admin, "events.file.n", 5)
    cleaner = StreamCleaner(sink_jetstream, 0, 0.8)
    assert await cleaner.clean() == {"EVENTS": 0, "BUCKETS": 0}
    assert await remaining(admin) == 5


async def test_the_slowest_reader_holds_everything_and_an_idle_one_nothing(
    admin: BrokerConnection, sink_jetstream: JetStream
) -> None:
    fast = await consumer(admin, "fast", "events.file.*")
    slow = await consumer(admin, "slow", "events.file.*")
    # Has no messages at all, so it must not hold back the others.
    await consumer(admin, "idle", "events.pod.*")
    await publish(admin, "events.file.n", 10)
    await take(fast, 10)
    await take(slow, 4)
    cleaner = StreamCleaner(sink_jetstream, 0, 0.8)
    assert (await cleaner.clean())["EVENTS"] == 4
    assert await remaining(admin) == 6
    await take(slow, 6)
    assert (await cleaner.clean())["EVENTS"] == 6


async def test_what_is_stored_stays_for_the_horizon(
    admin: BrokerConnection, sink_jetstream: JetStream
) -> None:
    clock = Clock()
    reader = await consumer(admin, "reader", "events.file.*")
    cleaner = StreamCleaner(sink_jetstream, 60, 0.8, clock)
    await publish(admin, "events.file.n", 3)
    await take(reader, 3)
    assert (await cleaner.clean())["EVENTS"] == 0
    clock.now += 30
    await publish(admin, "events.file.n", 3)
    await take(reader, 3)
    assert (await cleaner.clean())["EVENTS"] == 0
    clock.now += 31
    assert (await cleaner.clean())["EVENTS"] == 3
    clock.now += 60
    assert (await cleaner.clean())["EVENTS"] == 3
    assert await remaining(admin) == 0


async def test_a_stream_that_fills_up_gives_up_its_horizon(
    admin: BrokerConnection, sink_jetstream: JetStream
) -> None:
    reader = await consumer(admin, "reader", "events.file.*")
    cleaner = StreamCleaner(sink_jetstream, 3600, 0.8)
    await publish(admin, "events.file.n", 14, 60_000)
    await take(reader, 13)
    removed = (await cleaner.clean())["EVENTS"]
    assert 6 <= removed <= 8
    assert await remaining(admin) == 14 - removed
    assert (await cleaner.clean())["EVENTS"] == 0, "there is room again"

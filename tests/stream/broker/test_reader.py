"""Reading a stream in order, whatever happens meanwhile."""

import asyncio
from collections.abc import Callable

from stream.broker.jetstream import JetStream
from stream.broker.publisher import AckedPublisher
from stream.broker.reader import StreamReader
from stream.contract.timestamps import format_timestamp
from tests.support.nats_server import NatsServer
from tests.support.polling import eventually

Connect = Callable


async def publish(connect: Connect, subject: str, count: int) -> None:
    publisher = AckedPublisher(await connect("admin"))
    for number in range(count):
        await publisher.publish(subject, b"%d" % number, b"", lambda _: None)
    assert await publisher.settled(20)
    await publisher.close()


async def test_an_empty_stream_ends_at_once(connect: Connect, jetstream: JetStream) -> None:
    assert [each async for each in StreamReader(await connect(), "EVENTS")] == []


async def test_filters_and_the_start_choose_what_is_read(
    connect: Connect, jetstream: JetStream
) -> None:
    for kind in ("process", "file", "cgroup"):
        await publish(connect, f"events.{kind}.a", 10)
    connection = await connect()
    only = [each async for each in StreamReader(connection, "EVENTS", filters=["events.file.*"])]
    assert [each.stream_seq for each in only] == list(range(11, 21))
    two = StreamReader(
        connection, "EVENTS", filters=["events.file.*", "events.cgroup.*"], start_seq=16
    )
    assert [each.stream_seq async for each in two] == list(range(16, 31))
    middle = only[5].timestamp_ns // 1000
    later = StreamReader(connection, "EVENTS", start_time=format_timestamp(middle))
    found = [each.stream_seq async for each in later]
    assert found == list(range(found[0], 31))
    assert 10 < found[0] <= 17
    info = await jetstream.stream_info("EVENTS")
    assert info.state.consumer_count == 0


async def test_a_follower_gets_every_message_once_over_a_killed_server(
    connect: Connect, jetstream: JetStream, nats_server: NatsServer
) -> None:
    await publish(connect, "events.process.a", 2000)
    seen: list[int] = []

    async def follow() -> None:
        reader = StreamReader(await connect(), "EVENTS", follow=True, max_messages=100)
        async for delivery in reader:
            seen.append(delivery.stream_seq)
            if len(seen) % 200 == 0:
                await asyncio.sleep(0.02)

    task = asyncio.create_task(follow())
    await eventually(lambda: len(seen) > 500, 10)
    nats_server.kill()
    nats_server.start()
    await publish(connect, "events.process.a", 1000)
    await eventually(lambda: len(seen) >= 3000, 20)
    assert seen == list(range(1, 3001))
    task.cancel()
    await asyncio.wait([task])

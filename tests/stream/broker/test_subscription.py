"""Pull consumers: everything comes, bounded, and comes again when it was not acknowledged."""

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from stream.broker.errors import BrokerError
from stream.broker.jetstream import JetStream
from stream.broker.publisher import AckedPublisher
from stream.broker.subscription import MINIMUM_BYTES, Delivery, PullSubscription
from tests.support.nats_server import NatsServer
from tests.support.polling import eventually

DURABLE = {
    "name": "sink",
    "durable_name": "sink",
    "ack_policy": "explicit",
    "ack_wait": 2_000_000_000,
    "max_ack_pending": 100_000,
}
Connect = Callable


async def publish(connect: Connect, count: int, size: int = 100, start: int = 0) -> None:
    publisher = AckedPublisher(await connect("worker"))
    for number in range(start, start + count):
        payload = b"%d " % number + b"x" * size
        await publisher.publish("events.process.a", payload, b"", lambda _: None)
    assert await publisher.settled(20)
    await publisher.close()


async def test_all_messages_come_in_order_and_the_floor_follows(
    connect: Connect, jetstream: JetStream
) -> None:
    await publish(connect, 3000)
    await jetstream.ensure_consumer("EVENTS", DURABLE)
    got: list[Delivery] = []
    pull = PullSubscription(await connect("sink"), "EVENTS", "sink", got.append)
    pull.start()
    await eventually(lambda: len(got) == 3000, 10)
    assert [each.stream_seq for each in got] == list(range(1, 3001))
    assert (got[0].subject, got[0].data[:2], got[0].deliveries) == ("events.process.a", b"0 ", 1)
    assert (got[0].pending, got[-1].pending) == (2999, 0)
    assert got[0].timestamp_ns > 1_700_000_000 * 10**9
    pull.ack(got)

    async def floor() -> bool:
        return (await jetstream.consumer_info("EVENTS", "sink")).ack_floor.stream_seq == 3000

    await eventually(floor, 5)
    assert pull.held == (0, 0)
    await pull.stop()


async def test_a_slow_reader_holds_no_more_than_its_window(
    connect: Connect, jetstream: JetStream
) -> None:
    await publish(connect, 60, size=200_000)
    await jetstream.ensure_consumer("EVENTS", DURABLE | {"ack_wait": 30_000_000_000})
    got: list[Delivery] = []
    pull = PullSubscription(
        await connect("sink"), "EVENTS", "sink", got.append, max_bytes=MINIMUM_BYTES
    )
    pull.start()
    await eventually(lambda: len(got) >= 15, 10)
    await asyncio.sleep(0.3)
    held, size = pull.held
    assert size <= MINIMUM_BYTES
    assert held == len(got) < 25
    seen = 0
    while seen < 60:
        await eventually(partial(more_than, got, seen), 10, f"more than {seen}")
        pull.ack(got[seen:])
        seen = len(got)
        assert pull.held[1] <= MINIMUM_BYTES
    assert [each.stream_seq for each in got] == list(range(1, 61))
    await pull.stop()


async def test_a_window_in_messages_is_kept_too(connect: Connect, jetstream: JetStream) -> None:
    await publish(connect, 500)
    await jetstream.ensure_consumer("EVENTS", DURABLE)
    got: list[Delivery] = []
    pull = PullSubscription(await connect("sink"), "EVENTS", "sink", got.append, max_messages=50)
    pull.start()
    seen = 0
    while seen < 500:
        await eventually(partial(more_than, got, seen), 10, f"more than {seen}")
        assert pull.held[0] <= 50
        pull.ack(got[seen:])
        seen = len(got)
    await pull.stop()


async def test_what_is_not_acknowledged_comes_again(connect: Connect, jetstream: JetStream) -> None:
    await publish(connect, 10)
    await jetstream.ensure_consumer("EVENTS", DURABLE | {"ack_wait": 300_000_000})
    got: list[Delivery] = []
    pull = PullSubscription(await connect("sink"), "EVENTS", "sink", got.append)
    pull.start()
    await eventually(lambda: len(got) == 10, 10)
    pull.ack(each for each in got if each.stream_seq != 4)
    await eventually(lambda: len(got) > 10, 10, "redelivered")
    assert (got[10].stream_seq, got[10].deliveries) == (4, 2)
    pull.in_progress([got[10]])
    pull.ack([got[10]], b"-NAK")
    await eventually(lambda: len(got) > 11, 10, "again at once")
    pull.ack([got[11]])

    async def floor() -> bool:
        return (await jetstream.consumer_info("EVENTS", "sink")).ack_floor.stream_seq == 10

    await eventually(floor, 5)
    await pull.stop()


async def test_it_goes_on_after_the_server_was_killed(
    connect: Connect, jetstream: JetStream, nats_server: NatsServer
) -> None:
    await publish(connect, 1000)
    await jetstream.ensure_consumer("EVENTS", DURABLE)
    seen: Counter[int] = Counter()

    def take(delivery: Delivery) -> None:
        seen[delivery.stream_seq] += 1
        pull.ack([delivery])

    pull = PullSubscription(await connect("sink"), "EVENTS", "sink", take)
    pull.start()
    await eventually(lambda: len(seen) > 300, 10)
    nats_server.kill()
    nats_server.start()
    await publish(connect, 500, start=1000)
    await eventually(lambda: len(seen) == 1500, 15, "all, over the restart")
    await pull.stop()


async def test_a_consumer_that_is_gone_is_reported_and_found_again(
    connect: Connect, jetstream: JetStream
) -> None:
    await jetstream.ensure_consumer("EVENTS", DURABLE)
    gone: list[str] = []
    got: list[Delivery] = []
    pull = PullSubscription(
        await connect("sink"), "EVENTS", "sink", got.append,
        heartbeat_seconds=0.3, on_gone=gone.append,
    )  # fmt: skip
    pull.start()
    await eventually(lambda: waiting(jetstream), 5, "asked")
    await jetstream.delete_consumer("EVENTS", "sink")
    await eventually(lambda: gone, 5)
    assert "sink of EVENTS" in pull.problem
    await jetstream.ensure_consumer("EVENTS", DURABLE)
    await publish(connect, 3)
    await eventually(lambda: len(got) == 3, 5)
    assert pull.problem == ""
    await pull.stop()


def more_than(got: list[Delivery], count: int) -> bool:
    return len(got) > count


async def waiting(jetstream: JetStream) -> bool:
    return bool((await jetstream.consumer_info("EVENTS", "sink")).num_waiting)


async def test_a_window_below_the_largest_message_is_refused(connect: Connect) -> None:
    with pytest.raises(BrokerError, match="enlarge it"):
        PullSubscription(await connect("sink"), "EVENTS", "sink", print, max_bytes=1024)

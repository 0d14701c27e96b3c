"""What faust promises users of agents, on this transport."""

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

import faust
import pytest
from faust.types import TP

from stream.faust_jetstream.names import Names
from tests.stream.faust_jetstream.running import make_app, running
from tests.stream.faust_jetstream.servers import Api, Server
from tests.support.polling import eventually


class Order(faust.Record):
    account: str
    amount: int


async def test_an_agent_gets_every_message_of_a_topic_in_the_order_of_its_partition(
    server: Server, tmp_path: Path
) -> None:
    app = make_app("order", server.url, tmp_path)
    topic = app.topic("numbers", value_type=int, key_type=str, partitions=2)
    got: dict[int, list[int]] = {}

    @app.agent(topic)
    async def agent(stream: faust.Stream) -> None:
        async for event in stream.events():
            got.setdefault(event.message.partition, []).append(event.value)

    async with running(app):
        for number in range(200):
            await topic.send(key=str(number % 7), value=number)
        await eventually(lambda: sum(map(len, got.values())) == 200)
    assert set(got) == {0, 1}
    assert all(numbers == sorted(numbers) for numbers in got.values())


async def test_keys_headers_timestamps_and_tombstones_arrive_as_sent(
    server: Server, tmp_path: Path
) -> None:
    app = make_app("meta", server.url, tmp_path)
    topic = app.topic(
        "meta",
        key_type=bytes,
        value_type=bytes,
        value_serializer="raw",
        allow_empty=True,
        partitions=1,
    )
    got: list[faust.EventT] = []

    @app.agent(topic)
    async def agent(stream: faust.Stream) -> None:
        async for event in stream.events():
            got.append(event)

    async with running(app):
        await topic.send(
            key=b"k\x00", value=b"v", timestamp=1234.5, headers={"a": b"b", "n": b"\x00\xff"}
        )
        place = await topic.send(key=b"k2", value=None)
        await eventually(lambda: len(got) == 2)
        assert (await place).offset == got[1].message.offset
    first, second = got
    assert first.message.key == b"k\x00" and first.value == b"v"
    assert first.message.timestamp == 1234.5
    assert first.headers == {"a": "b", "n": b"\x00\xff"}
    assert second.message.key == b"k2" and second.message.value is None


async def test_a_bound_topic_gives_the_rest_of_the_subject_as_key(
    server: Server, tmp_path: Path
) -> None:
    api = await Api.connect(server.url)
    await api.create_partitioned("RAW", "raw", 2)
    app = make_app("bound", server.url, tmp_path)
    topic = app.jetstream.bind_topic("raw", stream="RAW")
    got: list[faust.EventT] = []

    @app.agent(topic)
    async def agent(stream: faust.Stream) -> None:
        async for event in stream.events():
            got.append(event)

    async with running(app):
        await api.client.publish("raw.process.node-1", b"payload", headers={"Kind": "x"})
        await eventually(lambda: got)
    assert got[0].key == b"process.node-1" and got[0].value == b"payload"
    assert got[0].headers == {"Kind": "x"}
    assert got[0].message.offset == 1
    assert abs(got[0].message.timestamp - time.time()) < 60
    await api.close()


async def test_models_are_decoded_and_what_cannot_be_is_skipped(
    server: Server, tmp_path: Path
) -> None:
    app = make_app("models", server.url, tmp_path)
    topic = app.topic("orders", value_type=Order, partitions=1)
    raw = app.topic("orders", value_serializer="raw", value_type=bytes, partitions=1)
    got: list[Order] = []

    @app.agent(topic)
    async def agent(stream: faust.Stream) -> None:
        async for order in stream:
            got.append(order)

    async with running(app):
        await topic.send(value=Order("a", 1))
        await raw.send(value=b"not json {")
        await topic.send(value=Order("b", 2))
        await eventually(lambda: len(got) == 2)
        await app.jetstream.commit()
        assert app.jetstream.lag(0) == 0
    assert got == [Order("a", 1), Order("b", 2)]


async def test_two_agents_of_one_topic_are_committed_at_the_same_event(
    server: Server, tmp_path: Path
) -> None:
    """One agent runs ahead of the other; a crash in between must lose and double nothing."""

    def build(member: str) -> tuple[Any, ...]:
        app = make_app(
            "two",
            server.url,
            tmp_path,
            member=member,
            partitions=1,
            commit_interval=0.02,
            delivery_window=40,
        )
        topic = app.topic("two", value_type=int, partitions=1)
        fast_table, slow_table = app.Table("fast", default=int), app.Table("slow", default=int)

        @app.agent(topic)
        async def fast(stream: faust.Stream) -> None:
            async for _ in stream:
                fast_table["n"] += 1

        @app.agent(topic)
        async def slow(stream: faust.Stream) -> None:
            async for _ in stream:
                await asyncio.sleep(0.001)
                slow_table["n"] += 1

        return app, topic, fast_table, slow_table

    first, topic, *_ = build("one")
    async with running(first):
        sent = await send_until_crash(first, topic)
    second, _, fast_table, slow_table = build("two")
    async with running(second):
        await eventually(lambda: second.jetstream.caught_up(0), 20)
        assert fast_table.for_partition(0)["n"] == slow_table.for_partition(0)["n"] == sent


async def send_until_crash(app: Any, topic: Any) -> int:
    """Send until something is committed; then let nothing be committed any more, as after
    kill -9, while there is still work. Returns how many messages were sent.
    """
    partition = app.jetstream.engine.held[0]
    before, sent = partition.commits, 0
    while partition.commits < before + 2 or not partition.trackers[TP(str(topic), 0)].queue:
        for _ in range(10):
            await topic.send(value=sent)
            sent += 1
    partition.discard()
    return sent


async def test_concurrent_actors_share_a_topic_and_its_commits_stay_exact(
    server: Server, tmp_path: Path
) -> None:
    def build(member: str) -> tuple[Any, Any, Any]:
        app = make_app(
            "concurrent",
            server.url,
            tmp_path,
            member=member,
            partitions=1,
            commit_interval=0.02,
            delivery_window=40,
        )
        topic = app.topic("jobs", value_type=int, partitions=1)
        done = app.Table("done", default=int)

        @app.agent(topic, concurrency=5)
        async def agent(stream: faust.Stream) -> None:
            async for number in stream:
                await asyncio.sleep(0.04 if number % 10 == 0 else 0)
                done["jobs"] += 1

        return app, topic, done

    first, topic, _ = build("one")
    async with running(first):
        sent = await send_until_crash(first, topic)
    second, _, done = build("two")
    async with running(second):
        await eventually(lambda: second.jetstream.caught_up(0), 20)
        assert done.for_partition(0)["jobs"] == sent


async def test_take_gives_batches_and_commits_them_whole(server: Server, tmp_path: Path) -> None:
    app = make_app("take", server.url, tmp_path, partitions=1)
    topic = app.topic("take", value_type=int, partitions=1)
    sums = app.Table("sums", default=int)
    sizes: list[int] = []

    @app.agent(topic)
    async def agent(stream: faust.Stream) -> None:
        async for batch in stream.take(10, within=0.3):
            sizes.append(len(batch))
            part = sums.for_partition(0)
            part["sum"] += sum(batch)
            await asyncio.sleep(0.005)
            part["count"] += len(batch)

    async with running(app):
        for number in range(95):
            await topic.send(value=number)
        await eventually(lambda: sum(sizes) == 95)
        await app.jetstream.commit()
        assert max(sizes) == 10
        assert dict(sums.for_partition(0)) == {"sum": sum(range(95)), "count": 95}


async def test_group_by_repartitions_and_each_key_meets_one_partition(
    server: Server, tmp_path: Path
) -> None:
    app = make_app("grouped", server.url, tmp_path)
    topic = app.topic("all-orders", value_type=Order, partitions=2)
    totals = app.Table("totals", default=int)
    places: dict[str, set[int]] = {}

    @app.agent(topic)
    async def agent(stream: faust.Stream) -> None:
        async for order in stream.group_by(Order.account):
            places.setdefault(order.account, set()).add(faust.current_event().message.partition)
            totals[order.account] += order.amount

    async with running(app):
        for number in range(120):
            await topic.send(key=str(number), value=Order(f"acc{number % 6}", number))

        def complete() -> bool:
            return sum(totals[account] for account in places) == sum(range(120))

        await eventually(complete, 15)
    assert len(places) == 6 and all(len(found) == 1 for found in places.values())


async def test_processing_an_event_again_does_not_repeat_what_it_sent(
    server: Server, tmp_path: Path
) -> None:
    def build(member: str) -> tuple[object, object]:
        app = make_app(
            "again", server.url, tmp_path, member=member, partitions=1, commit_interval=1000
        )
        source = app.topic("source", value_type=int, partitions=1)
        target = app.topic("target", value_type=int, partitions=1)

        @app.agent(source)
        async def agent(stream: faust.Stream) -> None:
            async for number in stream:
                # In another order the second time, as a set's might be; and one value twice.
                sign = 1 if member == "one" else -1
                await target.send(value=sign * number)
                await target.send(value=-sign * number)
                await target.send(value=0)
                await target.send(value=0)

        return app, source

    first, source = build("one")
    async with running(first):
        for number in range(1, 21):
            await source.send(value=number)
        await eventually(lambda: first.jetstream.lag(0) == 0)
        await first.producer.flush()
        first.jetstream.engine.held[0].discard()
    second, _ = build("two")
    api = await Api.connect(server.url)
    async with running(second):
        await eventually(lambda: second.jetstream.caught_up(0))
        await second.producer.flush()
        sent = await api.read(Names("faust", "again").topic_stream("target"))
    assert Counter(int(value) for _, value, _ in sent) == Counter(
        [*range(1, 21), *range(-20, 0), *[0] * 40]
    )
    await api.close()


async def test_an_offset_is_committed_only_after_what_was_sent_is_stored(
    server: Server, tmp_path: Path
) -> None:
    app = make_app("stored", server.url, tmp_path, partitions=1)
    source = app.topic("source", value_type=int, partitions=1)
    target = app.topic("target", value_type=int, partitions=1)

    @app.agent(source)
    async def agent(stream: faust.Stream) -> None:
        async for number in stream:
            await target.send(value=number)

    api = await Api.connect(server.url)
    async with running(app):
        await target.send(value=0)
        stream = app.jetstream.names.topic_stream("target")
        config = (await api(f"STREAM.INFO.{stream}"))["config"]
        await api(f"STREAM.UPDATE.{stream}", {**config, "max_msgs": 1})
        await source.send(value=1)
        await eventually(lambda: app.jetstream.sends.refused)
        assert not await app.jetstream.engine.commit(0, timeout=0.5)
        assert app.jetstream.committed_offset(0, "source") <= 1
        await api(f"STREAM.UPDATE.{stream}", config)
        assert await app.jetstream.engine.commit(0, timeout=10)
        assert app.jetstream.committed_offset(0, "source") == 2
        assert (await api.state(stream))["messages"] == 2
    await api.close()


async def test_an_exception_in_an_agent_skips_the_event_and_the_agent_goes_on(
    server: Server, tmp_path: Path
) -> None:
    """As with Kafka, faust acknowledges the event that an agent failed on."""
    app = make_app("failing", server.url, tmp_path, partitions=1)
    topic = app.topic("failing", value_type=int, partitions=1)
    good = app.Table("good", default=int)
    failed: list[int] = []

    @app.agent(topic)
    async def agent(stream: faust.Stream) -> None:
        async for number in stream:
            if number == 3:
                failed.append(number)
                raise ValueError(number)
            good["n"] += 1

    async with running(app):
        for number in range(50):
            await topic.send(value=number)
        await eventually(lambda: app.jetstream.lag(0) == 0 and good["n"] == 49, 20)
        assert await app.jetstream.commit()
    assert failed == [3]


async def test_sinks_and_yields_pass_results_on(server: Server, tmp_path: Path) -> None:
    app = make_app("sinks", server.url, tmp_path, partitions=1)
    topic = app.topic("in", value_type=int, partitions=1)
    out = app.topic("out", value_type=int, partitions=1)
    seen: list[int] = []

    @app.agent(topic, sink=[out])
    async def double(stream: faust.Stream):  # type: ignore[no-untyped-def]
        async for number in stream:
            yield number * 2

    @app.agent(out)
    async def collect(stream: faust.Stream) -> None:
        async for number in stream:
            seen.append(number)

    async with running(app):
        for number in range(20):
            await topic.send(value=number)
        await eventually(lambda: seen == [number * 2 for number in range(20)])


async def test_an_app_that_starts_at_the_latest_message_ignores_older_ones(
    server: Server, tmp_path: Path
) -> None:
    api = await Api.connect(server.url)
    await api.create_partitioned("RAW", "raw", 1)
    await api.client.publish("raw.a.old", b"")
    await api.client.flush()
    got: list[bytes] = []

    def build(member: str) -> object:
        app = make_app("latest", server.url, tmp_path, member=member, partitions=1)
        topic = app.jetstream.bind_topic("raw", stream="RAW", start="latest")

        @app.agent(topic)
        async def agent(stream: faust.Stream) -> None:
            async for event in stream.events():
                got.append(event.key)

        return app

    async with running(first := build("one")):
        await api.client.publish("raw.a.new", b"")
        await eventually(lambda: got == [b"a.new"])
        await first.jetstream.commit()
    await api.client.publish("raw.a.while-away", b"")
    async with running(build("two")):
        await eventually(lambda: got == [b"a.new", b"a.while-away"])
    await api.close()


async def test_a_topic_declared_with_other_partitions_than_its_stream_is_refused(
    server: Server, tmp_path: Path
) -> None:
    from stream.faust_jetstream import StreamMismatchError

    app = make_app("first", server.url, tmp_path)
    async with running(app):
        await app.topic("shared", partitions=2).declare()
    other = make_app("second", server.url, tmp_path)
    async with running(other):
        with pytest.raises(StreamMismatchError, match="partitions is 2 but must be 3"):
            await other.topic("shared", partitions=3).declare()

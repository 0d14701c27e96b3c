"""What faust promises users of tables, on this transport, and what this one adds."""

import asyncio
from pathlib import Path
from typing import Any

import faust
import msgspec
import pytest

from stream.faust_jetstream import ConfigurationError, NotAssignedError, NotSupportedError
from stream.faust_jetstream.names import Names
from tests.stream.faust_jetstream.running import make_app, running
from tests.stream.faust_jetstream.servers import Api, Server
from tests.support.polling import eventually


class Account(faust.Record):
    name: str
    amount: int


class Window(msgspec.Struct):
    start: int
    keys: dict[str, int]


class WindowCodec:
    """A codec of the user's own."""

    def encode(self, value: Window) -> bytes:
        return msgspec.msgpack.encode(value)

    def decode(self, data: bytes) -> Window:
        return msgspec.msgpack.decode(data, type=Window)


async def test_tables_come_back_with_their_types_after_a_restart(
    server: Server, tmp_path: Path
) -> None:
    def build() -> tuple[Any, ...]:
        app = make_app("tables", server.url, tmp_path, member="same", partitions=1)
        topic = app.topic("t", value_type=int, partitions=1)
        tables = (
            app.Table("plain", default=int),
            app.Table("models", value_type=Account, key_type=str),
            app.Table("own", codec=WindowCodec()),
        )

        @app.agent(topic)
        async def agent(stream: faust.Stream) -> None:
            async for number in stream:
                plain, models, own = tables
                plain[f"k{number % 3}"] += number
                models["a"] = Account("a", number)
                window = own.get((10, "w")) or Window(10, {})
                window.keys[str(number)] = number
                own[10, "w"] = window
                if number == 5:
                    del plain["k0"]

        return app, topic, tables

    app, topic, tables = build()
    async with running(app):
        for number in range(6):
            await topic.send(value=number)
        await eventually(lambda: app.jetstream.lag(0) == 0 and app.jetstream.commit_number(0) > 1)
    app, topic, tables = build()
    async with running(app):
        plain, models, own = tables
        assert dict(plain.items()) == {"k1": 5, "k2": 7}
        assert "k0" not in plain and plain["k0"] == 0 and len(plain) == 2
        assert models["a"] == Account("a", 5)
        assert own[10, "w"].keys == {str(number): number for number in range(6)}


async def test_values_changed_in_place_are_committed_when_touched(
    server: Server, tmp_path: Path
) -> None:
    def build() -> tuple[Any, ...]:
        app = make_app("touched", server.url, tmp_path, member="same", partitions=1)
        topic = app.topic("t", value_type=int, partitions=1)
        lists = app.Table("lists", default=list)

        @app.agent(topic)
        async def agent(stream: faust.Stream) -> None:
            async for number in stream:
                if "numbers" not in lists:
                    lists["numbers"] = []
                lists["numbers"].append(number)
                lists.touch("numbers")

        return app, topic, lists

    app, topic, lists = build()
    async with running(app):
        for number in range(5):
            await topic.send(value=number)
        await eventually(lambda: lists["numbers"] == [0, 1, 2, 3, 4])
    app, topic, lists = build()
    async with running(app):
        assert lists["numbers"] == [0, 1, 2, 3, 4]


async def test_timers_change_tables_of_a_partition_they_name(
    server: Server, tmp_path: Path
) -> None:
    def build() -> tuple[Any, ...]:
        app = make_app("timed", server.url, tmp_path, member="same", partitions=2)
        topic = app.topic("t", value_type=int, partitions=2)
        ticks = app.Table("ticks", default=int)

        @app.agent(topic)
        async def agent(stream: faust.Stream) -> None:
            async for _ in stream:
                pass

        @app.timer(0.02)
        async def tick() -> None:
            for partition in app.jetstream.partitions:
                ticks.for_partition(partition)["n"] += 1

        return app, ticks

    app, ticks = build()
    async with running(app):
        await eventually(lambda: ticks.for_partition(1)["n"] > 5)
        with pytest.raises(ConfigurationError, match="outside of an event"):
            ticks["n"] = 1
        with pytest.raises(NotAssignedError):
            ticks.for_partition(7)
    app, again = build()
    async with running(app):
        assert again.for_partition(1)["n"] > 5
        assert set(again.parts) == {0, 1}


async def test_the_same_key_lives_in_every_partition_on_its_own(
    server: Server, tmp_path: Path
) -> None:
    api = await Api.connect(server.url)
    await api.create_partitioned("RAW", "raw", 2)
    app = make_app("apart", server.url, tmp_path)
    raw = app.jetstream.bind_topic("raw", stream="RAW")
    watermark = app.Table("watermark", default=int)

    @app.agent(raw)
    async def agent(stream: faust.Stream) -> None:
        async for _ in stream:
            watermark["now"] += 1

    async with running(app):
        for number in range(50):
            await api.client.publish(f"raw.a.n{number}", b"")
        await eventually(lambda: sum(part["now"] for part in watermark.parts.values()) == 50)
        assert all(0 < part["now"] < 50 for part in watermark.parts.values())
    await api.close()


async def test_windowed_tables_give_current_values(server: Server, tmp_path: Path) -> None:
    app = make_app("windowed", server.url, tmp_path, partitions=1)
    topic = app.topic("t", value_type=int, key_type=str, partitions=1)
    counts = app.Table("counts", default=int).tumbling(10.0, expires=3600.0)
    now: list[int] = []

    @app.agent(topic)
    async def agent(stream: faust.Stream) -> None:
        async for key, _ in stream.items():
            counts[key] += 1
            now.append(counts[key].current())

    async with running(app):
        for at in (1000.0, 1001.0, 1009.9, 1010.0, 1002.0, 1011.0):
            await topic.send(key="k", value=1, timestamp=at)
        await eventually(lambda: len(now) == 6)
        assert now == [1, 2, 3, 1, 4, 2]
        await app.jetstream.commit()
        stored = await (await Api.connect(server.url)).read(
            Names("faust", "windowed").state_stream(0), "faust.state.windowed.0.t.counts.*"
        )
        assert sorted(value for _, value, _ in stored) == [b"2", b"4"]


async def test_deleted_keys_leave_no_trace_in_the_end(server: Server, tmp_path: Path) -> None:
    app = make_app("deleted", server.url, tmp_path, partitions=1, tombstone_ttl=1.0)
    topic = app.topic("t", value_type=str, partitions=1)
    table = app.Table("keys", default=int)

    @app.agent(topic)
    async def agent(stream: faust.Stream) -> None:
        async for command in stream:
            if command == "clear":
                table.clear()
            else:
                table[command] = 1

    api = await Api.connect(server.url)
    stream, subject = Names("faust", "deleted").state_stream(0), "faust.state.deleted.0.t.keys.*"
    async with running(app):
        for number in range(10):
            await topic.send(value=f"k{number}")

        async def stored(count: int) -> bool:
            return len(await api.read(stream, subject)) == count

        await eventually(lambda: stored(10))
        await topic.send(value="clear")
        await eventually(lambda: stored(0), 10, "tombstones expired")
        assert len(table) == 0
    await api.close()


async def test_recovery_hooks_of_faust_and_of_partitions_are_called(
    server: Server, tmp_path: Path
) -> None:
    app = make_app("hooks", server.url, tmp_path, partitions=2)
    topic = app.topic("t", value_type=int, partitions=2)
    table = app.Table("table", default=int)
    called: list[Any] = []

    @app.agent(topic)
    async def agent(stream: faust.Stream) -> None:
        async for _ in stream:
            pass

    @table.on_recover
    async def recovered() -> None:
        called.append("table")

    @app.on_partitions_assigned.connect
    async def assigned(app: Any, assigned: Any, **kwargs: Any) -> None:
        called.append(("assigned", sorted(tp.partition for tp in assigned)))

    @app.on_rebalance_complete.connect
    async def complete(app: Any, **kwargs: Any) -> None:
        called.append("complete")

    @app.jetstream.on_partition_recovered
    async def partition(number: int) -> None:
        assert number in table.parts
        called.append(number)

    async with running(app):
        await eventually(lambda: len(called) >= 5)
        assert set(called[:2]) == {0, 1}
        assert ("assigned", [0, 1]) in called and "complete" in called and "table" in called


async def test_kinds_of_tables_that_are_not_supported_say_so(
    server: Server, tmp_path: Path
) -> None:
    app = make_app("unsupported", server.url, tmp_path)
    with pytest.raises(NotSupportedError, match="global"):
        app.GlobalTable("g")
    with pytest.raises(NotSupportedError, match="set"):
        app.SetTable("s")
    with pytest.raises(NotSupportedError, match="processing_guarantee"):
        make_app("x", server.url, tmp_path, options={"processing_guarantee": "exactly_once"})


async def test_an_event_that_outlives_its_assignment_cannot_change_anything(
    server: Server, tmp_path: Path
) -> None:
    """An agent stuck in an event when the partitions move: the event is processed again."""
    app = make_app("outlives", server.url, tmp_path, partitions=1, revoke_timeout=0.3)
    topic = app.topic("t", value_type=int, partitions=1)
    table = app.Table("table", default=int)
    release = asyncio.Event()
    started: list[int] = []

    @app.agent(topic)
    async def agent(stream: faust.Stream) -> None:
        async for number in stream:
            started.append(number)
            if len(started) == 1:
                await release.wait()
            table["n"] += 1

    async with running(app):
        await topic.send(value=1)
        await eventually(lambda: started == [1])
        generation = app.consumer_generation_id
        app.consumer.coordinator.roll_back(0)
        await eventually(
            lambda: app.consumer_generation_id > generation and not app.rebalancing, 10
        )
        release.set()
        await eventually(lambda: app.jetstream.caught_up(0), 20, "processed again")
        assert started == [1, 1] and table["n"] == 1

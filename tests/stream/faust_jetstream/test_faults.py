"""Servers that restart, go away, fill up or lose deliveries: back off, keep, resume."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import faust
import pytest

from stream.faust_jetstream import (
    ConfigurationError,
    JetStreamSettings,
    JetStreamTransportError,
    Publisher,
    PublishError,
    WindowFullError,
)
from stream.faust_jetstream.connection import Connection
from stream.faust_jetstream.reader import Reader
from tests.stream.faust_jetstream.running import make_app, running
from tests.stream.faust_jetstream.servers import Api, Server
from tests.stream.faust_jetstream.workers import Worker
from tests.support.polling import eventually


@asynccontextmanager
async def connection(url: str, **settings: Any) -> AsyncIterator[Connection]:
    """An open connection."""
    opened = Connection(JetStreamSettings(servers=[url], **settings), "test")
    await opened.open()
    try:
        yield opened
    finally:
        await opened.close()


@asynccontextmanager
async def publisher(url: str, **settings: Any) -> AsyncIterator[Publisher]:
    """A started publisher."""
    async with connection(url, **settings) as opened:
        started = Publisher(opened)
        await started.start()
        try:
            yield started
        finally:
            await started.stop()


async def test_an_app_lives_through_restarts_of_the_server_and_stays_exact(
    server: Server, tmp_path: Path, rounds: int
) -> None:
    api = await Api.connect(server.url)
    await api.create_partitioned("RAW", "raw", 2)
    app = make_app("restarts", server.url, tmp_path, publish_timeout=1.0, commit_try_timeout=1.0)
    raw = app.jetstream.bind_topic("raw", stream="RAW")
    app.jetstream.ensure_outbox_stream("RESULTS", ["results.>"])
    table = app.Table("n", default=int)

    @app.agent(raw)
    async def agent(stream: faust.Stream) -> None:
        async for event in stream.events():
            table["n"] += 1
            app.jetstream.outbox.send(event.message.partition, "results.r", b"%d" % table["n"])

    sent = 0
    async with running(app):
        for how in ("kill", "stop", "lame duck") * rounds:
            for _ in range(300):
                await api.client.publish(f"raw.a.n{sent}", b"")
                sent += 1
            await api.client.flush()
            if how == "kill":
                server.kill()
            elif how == "stop":
                server.stop()
            else:
                server.signal(signal.SIGUSR2)
                await asyncio.sleep(0.2)
                server.kill()
            await eventually(lambda: not app.jetstream.health()["connected"], 5)
            server.start()
            await eventually(lambda: app.jetstream.health()["connected"], 10)
        # What was published right before a kill may not have been stored: the stream knows.
        stored = (await api.state("RAW"))["messages"]
        assert stored > sent / 2
        await eventually(lambda: sum(part["n"] for part in table.parts.values()) == stored, 30)

        async def results() -> bool:
            return (await api.state("RESULTS"))["messages"] == stored

        await eventually(results, 30)
        health = app.jetstream.health()
        assert health["reconnects"] == 3 * rounds and health["fenced"] == 0
        assert health["lag"] == 0
    payloads = [payload for _, payload, _ in await api.read("RESULTS")]
    assert len(payloads) == stored
    await api.close()


async def test_a_worker_ends_on_sigterm_though_the_server_is_away(
    server: Server, tmp_path: Path
) -> None:
    api = await Api.connect(server.url)
    await api.create_partitioned("RAW", "raw", 4)
    worker = Worker("churn", "ending", tmp_path, NATS=server.url)
    try:
        for number in range(200):
            await api.client.publish(f"raw.a.n{number}", b"x y")
        await eventually(lambda: "'caught_up': True" in worker.text(), 20)
        server.kill()
        worker.terminate()
        await asyncio.to_thread(worker.wait, 30)
    finally:
        worker.kill()
        await api.close()


async def test_health_tells_why_nothing_is_committed(server: Server, tmp_path: Path) -> None:
    app = make_app("health", server.url, tmp_path, partitions=1, commit_try_timeout=0.3)
    topic = app.topic("t", value_type=int, partitions=1)
    table = app.Table("n", default=int)

    @app.agent(topic)
    async def agent(stream: faust.Stream) -> None:
        async for number in stream:
            table[number] = "x" * 1000

    api = await Api.connect(server.url)
    state = app.jetstream.names.state_stream(0)
    async with running(app):
        assert app.jetstream.health()["problems"] == []
        config = (await api(f"STREAM.INFO.{state}"))["config"]
        await api(f"STREAM.UPDATE.{state}", {**config, "max_bytes": 1500})
        for number in range(10):
            await topic.send(value=number)
        await eventually(lambda: app.jetstream.health()["problems"])
        assert "maximum bytes" in app.jetstream.health()["problems"][0]
        await api(f"STREAM.UPDATE.{state}", config)
        await eventually(lambda: not app.jetstream.health()["problems"])
    await api.close()


async def test_a_reader_that_lost_a_delivery_reads_it_again(server: Server) -> None:
    api = await Api.connect(server.url)
    await api("STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"]})
    for number in range(500):
        await api.client.publish("s.x", b"%d" % number)
    async with connection(server.url) as opened:
        reader = Reader(opened, "S", ["s.>"], 1, lambda: None)
        receive, dropped = reader._on_message, []

        async def lossy(message: Any) -> None:
            if message.data == b"250" and not dropped:
                dropped.append(message)
                return
            await receive(message)

        reader._on_message = lossy  # type: ignore[method-assign]
        reader.start()
        await eventually(lambda: len(reader.buffer) == 500)
        assert [int(record[3]) for record in reader.buffer] == list(range(500))
        assert dropped and reader.reopened == 1 and reader.pending == 0
        await reader.close()
    await api.close()


async def test_a_reader_notices_that_the_last_delivery_was_lost(server: Server) -> None:
    """No later message tells: the heartbeat does."""
    api = await Api.connect(server.url)
    await api("STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"]})
    await api.client.publish("s.x", b"only")
    async with connection(server.url) as opened:
        reader = Reader(opened, "S", ["s.>"], 1, lambda: None, heartbeat=0.3)
        receive, dropped = reader._on_message, []

        async def lossy(message: Any) -> None:
            if message.data == b"only" and not dropped:
                dropped.append(message)
                return
            await receive(message)

        reader._on_message = lossy  # type: ignore[method-assign]
        reader.start()
        await eventually(lambda: len(reader.buffer) == 1)
        assert dropped
        await reader.close()
    await api.close()


async def test_a_reader_whose_consumer_was_deleted_makes_another(server: Server) -> None:
    api = await Api.connect(server.url)
    await api("STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"]})
    async with connection(server.url) as opened:
        reader = Reader(opened, "S", ["s.>"], 1, lambda: None, heartbeat=0.3)
        reader.start()
        await eventually(lambda: reader.pending == 0)
        for name in (await api("CONSUMER.NAMES.S"))["consumers"]:
            await api(f"CONSUMER.DELETE.S.{name}")
        await api.client.publish("s.x", b"after")
        await eventually(lambda: len(reader.buffer) == 1)
        await reader.close()
    await api.close()


async def test_a_reader_buffers_no_more_than_it_is_allowed(server: Server) -> None:
    api = await Api.connect(server.url)
    await api("STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"]})
    for _ in range(400):
        await api.client.publish("s.x", b"x" * 100_000)
    await api.client.flush()
    async with connection(server.url, pull_bytes=4 << 20) as opened:
        reader = Reader(opened, "S", ["s.>"], 1, lambda: None)
        reader.start()
        seen = most = 0

        async def drained() -> bool:
            nonlocal seen, most
            most = max(most, reader.buffered_bytes)
            seen += len(reader.take(5))
            return seen == 400

        await eventually(drained, 30, interval=0.005)
        assert 0 < most <= 3 * (4 << 20)
        await reader.close()
    await api.close()


async def test_publishes_of_a_lost_acknowledgement_are_stored_once(server: Server) -> None:
    api = await Api.connect(server.url)
    await api("STREAM.CREATE.E", {"name": "E", "subjects": ["e.>"]})
    async with publisher(server.url, publish_timeout=0.3) as pipeline:
        acknowledge, dropped = pipeline._on_ack, []

        async def lossy(message: Any) -> None:
            if len(dropped) < 10:
                dropped.append(message)
                return
            await acknowledge(message)

        for subscription in pipeline.connection.client._subs.values():
            if subscription.subject == f"{pipeline._inbox}.*":
                subscription._cb = lossy
        for number in range(100):
            await pipeline.publish("e.x", b"%d" % number, {"N": str(number)})
        await asyncio.wait_for(pipeline.flush(), 10)
        assert len(dropped) == 10 and pipeline.retried >= 10
        assert len(await api.read("E")) == 100
    await api.close()


async def test_a_full_stream_is_waited_for_and_nothing_is_lost(server: Server) -> None:
    api = await Api.connect(server.url)
    config = {"name": "E", "subjects": ["e.>"], "discard": "new", "max_msgs": 10, "storage": "file"}
    await api("STREAM.CREATE.E", config)
    async with publisher(server.url) as pipeline:
        for number in range(30):
            await pipeline.publish("e.x", b"%d" % number)
        flushing = asyncio.ensure_future(pipeline.flush())
        done, _ = await asyncio.wait([flushing], timeout=0.5)
        assert not done and pipeline.refused and pipeline.in_flight == 20
        await api("STREAM.UPDATE.E", {**config, "max_msgs": 100})
        await asyncio.wait_for(flushing, 10)
        stored = sorted(int(payload) for _, payload, _ in await api.read("E"))
        assert stored == list(range(30))
    await api.close()


async def test_publishes_survive_a_restart_of_the_server(server: Server) -> None:
    api = await Api.connect(server.url)
    await api("STREAM.CREATE.E", {"name": "E", "subjects": ["e.>"], "storage": "file"})
    async with publisher(server.url, publish_timeout=1.0) as pipeline:
        for number in range(2000):
            await pipeline.publish("e.x", b"%d" % number)
            if number == 1000:
                server.kill()
                server.start()
        await asyncio.wait_for(pipeline.flush(), 30)
        assert {int(payload) for _, payload, _ in await api.read("E")} == set(range(2000))
    await api.close()


async def test_the_window_bounds_what_is_in_flight(server: Server) -> None:
    api = await Api.connect(server.url)
    await api("STREAM.CREATE.E", {"name": "E", "subjects": ["e.>"]})
    async with publisher(server.url, publish_window=50) as pipeline:
        for _ in range(50):
            pipeline.publish_nowait("e.x", b"")
        with pytest.raises(WindowFullError, match="50 messages"):
            pipeline.publish_nowait("e.x", b"")
        for _ in range(500):
            await pipeline.publish("e.x", b"")
            assert pipeline.in_flight <= 50
        await pipeline.flush()
        assert (await api.state("E"))["messages"] == 550
    await api.close()


async def test_a_message_that_cannot_be_stored_fails_the_flush_with_its_reason(
    server: Server,
) -> None:
    api = await Api.connect(server.url)
    await api("STREAM.CREATE.E", {"name": "E", "subjects": ["e.>"], "max_msg_size": 100})
    async with publisher(server.url) as pipeline:
        await pipeline.publish("e.big", b"x" * 200)
        await pipeline.publish("e.small", b"x")
        with pytest.raises(PublishError, match=r"e\.big: .*size") as caught:
            await pipeline.flush()
        assert caught.value.count == 1
        await pipeline.flush()
        assert (await api.state("E"))["messages"] == 1
        with pytest.raises(JetStreamTransportError, match="max_payload"):
            await pipeline.publish("e.huge", b"x" * (2 << 20))
    await api.close()


@pytest.mark.parametrize("subject", ["", "a b", "a.*", "a.>", "a..b", "a\r\nPUB x 0\r\n", "a\tb"])
async def test_subjects_that_are_none_are_refused(server: Server, subject: str) -> None:
    async with publisher(server.url) as pipeline:
        with pytest.raises(ConfigurationError, match="no subject"):
            await pipeline.publish(subject, b"")


@pytest.mark.parametrize(
    "headers", [{"A\r\nB": "x"}, {"A": "x\r\nB: y"}, {"A B": "x"}, {"": "x"}, {"A:": "x"}]
)
async def test_headers_cannot_break_out_of_their_line(
    server: Server, headers: dict[str, str]
) -> None:
    async with publisher(server.url) as pipeline:
        with pytest.raises(ConfigurationError, match="header"):
            await pipeline.publish("e.x", b"", headers)

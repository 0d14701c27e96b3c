"""What a producer says of itself over HTTP: alive, ready or why not, and its numbers."""

import asyncio
from pathlib import Path

import pytest

from tests.support.hand_observer import HandObserver, get, reasons, run_settings, running
from tests.support.polling import eventually
from tests.support.producing import MEBIBYTE, Broker


async def test_ready_says_everything_that_is_in_the_way(broker: Broker, tmp_path: Path) -> None:
    observer = HandObserver()
    async with running(observer, settings=run_settings(broker.server, tmp_path)) as producer:

        async def ready() -> bool:
            return await reasons(producer) == []

        await eventually(ready, 10)
        assert await get(producer, "/ping") == (200, "pong\n")
        observer.not_ready = "nothing to watch: name a folder"
        broker.server.kill()

        async def both() -> bool:
            found = await reasons(producer)
            return (
                len(found) == 2
                and found[0] == observer.not_ready
                and found[1].startswith("no connection to NATS at nats://127.0.0.1")
            )

        await eventually(both, 10)
        assert (await get(producer, "/ping"))[0] == 200
        broker.server.start()
        observer.not_ready = None
        await eventually(ready, 10)


async def test_other_requests_are_answered_and_garbage_is_survived(
    broker: Broker, tmp_path: Path
) -> None:
    async with running(HandObserver(), settings=run_settings(broker.server, tmp_path)) as producer:
        assert (await get(producer, "/"))[0] == 404
        assert (await get(producer, "/ping", "POST"))[0] == 405
        assert await get(producer, "/ping", "HEAD") == (200, "")
        assert producer.health is not None
        for garbage in (b"\x00\xff\r\n\r\n", b"x" * 100_000, b"GET /ping"):
            reader, writer = await asyncio.open_connection("127.0.0.1", producer.health.port)
            writer.write(garbage)
            writer.write_eof()
            await reader.read()
            writer.close()
        assert (await get(producer, "/ping"))[0] == 200


async def test_metrics_count_every_hop_in_prometheus_text(broker: Broker, tmp_path: Path) -> None:
    observer = HandObserver()
    async with running(observer, settings=run_settings(broker.server, tmp_path)) as producer:
        observer.emit("/a", 30)
        observer.sink.filtered("file", 12)
        observer.sink.lost("file", "ring_full", 5)
        observer.sink.lost("file", 'odd "reason"\n', 1)
        observer.sink.watermark("file", 1_700_000_000_500_000)

        async def published() -> str:
            text = (await get(producer, "/metrics"))[1]
            return text if 'events_published_total{kind="file"} 30' in text else ""

        text = await eventually(published, 10)
        for line in (
            'tenwatch_events_seen_total{kind="file"} 48',
            'tenwatch_events_filtered_total{kind="file"} 12',
            'tenwatch_events_emitted_total{kind="file"} 30',
            'tenwatch_events_lost_total{kind="file",reason="ring_full"} 5',
            'tenwatch_events_lost_total{kind="file",reason="odd \\"reason\\"\\n"} 1',
            'tenwatch_watermark_timestamp_seconds{kind="file"} 1700000000.5',
            "tenwatch_broker_connected 1",
            "tenwatch_ready 1",
            "tenwatch_spool_writable 1",
            "tenwatch_hand_watched_folders 7",
            "# TYPE tenwatch_hand_rescans_total counter",
            "tenwatch_hand_rescans_total 1.5",
        ):
            assert line in text.splitlines(), line
        names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
        assert len(names) == len(set(names))
        for reason in range(100):
            observer.sink.lost("file", f"reason-{reason}", 1)

        async def bounded() -> bool:
            text = (await get(producer, "/metrics"))[1]
            labels = [line for line in text.splitlines() if "events_lost_total{" in line]
            return len(labels) == 33 and any('reason="other"' in line for line in labels)

        await eventually(bounded, 10)


@pytest.mark.parametrize("raw_max_bytes", [MEBIBYTE])
async def test_a_full_stream_is_a_reason_not_to_be_ready(broker: Broker, tmp_path: Path) -> None:
    observer = HandObserver()
    async with running(observer, settings=run_settings(broker.server, tmp_path)) as producer:
        for _ in range(15):
            observer.emit("/" + "x" * 1000, 100)
            await asyncio.sleep(0.02)

        async def refused() -> bool:
            return any("JetStream takes no more" in each for each in await reasons(producer))

        await eventually(refused, 10)
        assert (
            'publish_failures_total{reason="stream_full"}' in (await get(producer, "/metrics"))[1]
        )
        info = await broker.jetstream.stream_info("RAW")
        await broker.jetstream.purge_below("RAW", info.state.last_seq + 1)

        async def ready() -> bool:
            return await reasons(producer) == []

        await eventually(ready, 15)

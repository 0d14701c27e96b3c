"""A whole producer: start, health, orderly stop, restarts, and what each exit code means."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from producers.base.observer import EventSink
from producers.base.runner import ExitCode, Producer
from producers.base.settings import ProducerSettings, RunSettings, SpoolSettings
from stream.broker.reader import StreamReader
from stream.broker.settings import BrokerSettings
from stream.contract.kinds.file import FileEvent
from stream.contract.kinds.snapshot import SnapshotEvent
from stream.contract.timestamps import now_timestamp
from tests.support.nats_server import NODE, OTHER_NODE, NatsServer
from tests.support.polling import eventually
from tests.support.producing import MEBIBYTE, Broker


class HandObserver:
    """Emits what the test hands it."""

    def __init__(self, *kinds: str, fails: str = "", bridged: bool = False) -> None:
        self.kinds: tuple[str, ...] = kinds or ("file",)
        self.fails = fails
        self.bridged = bridged
        self.not_ready: str | None = None
        self.stopped = False
        self.sink: EventSink

    def start(self, sink: EventSink) -> None:
        if self.fails:
            raise RuntimeError(self.fails)
        self.sink = sink

    def stop(self) -> None:
        self.emit("the last one, emitted while stopping")
        self.stopped = True

    def ready(self) -> str | None:
        return self.not_ready

    def degraded(self) -> list[str]:
        return ["a part does not work: give it CAP_TEST"]

    def metrics(self) -> dict[str, float]:
        return {"hand_watched_folders": 7, "hand_rescans_total": 1.5}

    def emit(self, path: str, count: int = 1) -> None:
        for _ in range(count):
            self.sink.emit("file", FileEvent(ts=now_timestamp(), action="created", path=path))


def run_settings(server: NatsServer, folder: Path, node: str = NODE, **spool: Any) -> RunSettings:
    return RunSettings(
        "hand",
        ProducerSettings(
            node=node,
            progress_seconds=0.2,
            batch_idle_age_seconds=0.1,
            stop_seconds=1,
            publish_timeout_seconds=1,
        ),
        SpoolSettings(folder=str(folder), max_bytes=8 * MEBIBYTE, **spool),
        BrokerSettings(
            servers=(server.url,),
            credentials_file=str(server.write_credentials(f"producer-{node}")),
            reconnect_wait_seconds=0.1,
        ),
    )


@asynccontextmanager
async def running(*observers: HandObserver, settings: RunSettings) -> AsyncIterator[Producer]:
    """A producer in this process; stopped in order at the end."""
    producer = Producer(observers, settings)
    task = asyncio.create_task(producer.run())
    await eventually(lambda: task.done() or not producer.starting, 10, "started")
    yield producer
    producer.stop()
    assert await asyncio.wait_for(task, 20) == ExitCode.STOPPED


async def get(producer: Producer, path: str, method: str = "GET") -> tuple[int, str]:
    assert producer.health is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", producer.health.port)
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    head, _, body = answer.partition("\r\n\r\n")
    assert f"Content-Length: {len(body.encode())}" in head or method == "HEAD"
    return int(head.split()[1]), body


async def reasons(producer: Producer) -> list[str]:
    status, body = await get(producer, "/ready")
    answer = json.loads(body)
    assert (status == 200) == answer["ready"] == (not answer["reasons"])
    return list(answer["reasons"])


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


async def test_a_stop_hands_over_everything_and_marks_the_end(
    broker: Broker, tmp_path: Path
) -> None:
    observer = HandObserver()
    async with running(observer, settings=run_settings(broker.server, tmp_path)):
        observer.emit("/early", 5)
    assert observer.stopped
    raw = await broker.raw()
    assert [each["path"] for each in raw.of("file")][-2:] == [
        "/early",
        "the last one, emitted while stopping",
    ]
    last = raw.events[-2:]
    assert all(each["closing"] for each in last)
    assert {each["producer"]: each["next_seq"] for each in last} == {"file": 6, "loss": 0}
    assert last[0]["degraded"] == ["a part does not work: give it CAP_TEST"]
    assert list((tmp_path / "hand").glob("*.spool")) == []


async def test_a_stop_without_a_broker_leaves_everything_for_the_next_start(
    broker: Broker, tmp_path: Path
) -> None:
    broker.server.kill()
    first = HandObserver()
    settings = run_settings(broker.server, tmp_path)
    async with running(first, settings=settings):
        first.emit("/first", 300)
    broker.server.start()
    second = HandObserver()
    async with running(second, settings=settings):
        second.emit("/second", 300)
    raw = await broker.raw()
    assert len(raw.boots) == 2
    assert [len(raw.of("file", boot)) for boot in raw.boots] == [301, 301]
    order = [each["boot"] for each in raw.of("file")]
    assert order == sorted(order), "the earlier boot first, under its own identity"
    [stopped] = raw.of("loss")
    assert (stopped["kind"], stopped["reason"], stopped.get("count")) == (
        "file", "producer_stopped", None,
    )  # fmt: skip
    closing = [each for each in raw.of("progress", raw.boots[0]) if each.get("closing")]
    assert stopped["first_ts"] >= closing[0]["ts"]


async def test_a_backlog_is_sent_no_faster_than_it_may(broker: Broker, tmp_path: Path) -> None:
    broker.server.kill()
    settings = run_settings(broker.server, tmp_path, segment_bytes=64 * 1024)
    first = HandObserver()
    async with running(first, settings=settings):
        for _ in range(10):
            first.emit("/" + "x" * 1000, 40)
            await asyncio.sleep(0.02)
    backlog = sum(path.stat().st_size for path in (tmp_path / "hand").glob("*.spool"))
    assert backlog > 400_000
    broker.server.start()
    rate = 160 * 1024
    slow = replace(
        settings, producer=msgspec.structs.replace(settings.producer, drain_bytes_per_second=rate)
    )
    async with running(HandObserver(), settings=slow):
        await eventually(lambda: has_count(broker, 401), 20)
    times = [each.timestamp_ns async for each in StreamReader(broker.connection, "RAW")]
    # One second's worth may go at once; the rest at the rate.
    assert (max(times) - min(times)) / 1e9 > (backlog - rate) / rate * 0.9


async def test_an_observer_that_bridged_the_gap_has_no_downtime(
    broker: Broker, tmp_path: Path
) -> None:
    settings = run_settings(broker.server, tmp_path)
    for bridged in (False, True):
        observer, other = HandObserver(bridged=bridged), HandObserver("snapshot")
        async with running(observer, other, settings=settings):
            pass
    raw = await broker.raw()
    assert [each["kind"] for each in raw.of("loss")] == ["snapshot"]


async def test_a_spool_of_another_node_is_given_up_and_counted(
    broker: Broker, tmp_path: Path
) -> None:
    broker.server.kill()
    first = HandObserver()
    async with running(first, settings=run_settings(broker.server, tmp_path)):
        first.emit("/of the old name", 9)
    broker.server.start()
    second = HandObserver()
    settings = run_settings(broker.server, tmp_path, OTHER_NODE)
    async with running(second, settings=settings):
        second.emit("/of the new name")
    raw = await broker.raw()
    assert {each["node"] for each in raw.events} == {OTHER_NODE}
    lost = {each["kind"]: each for each in raw.of("loss") if each["reason"] == "node_renamed"}
    assert (lost["file"]["first_seq"], lost["file"]["last_seq"], lost["file"]["count"]) == (
        0,
        9,
        10,
    )
    assert "node is 'node-b' now" in lost["file"]["detail"]


async def test_with_a_full_disk_and_a_broker_everything_still_arrives(
    broker: Broker, small_disk: Path
) -> None:
    observer = HandObserver()
    settings = run_settings(broker.server, small_disk)
    async with running(observer, settings=settings) as producer:
        observer.emit("/before", 10)
        await eventually(lambda: has_count(broker, 10), 10)
        with pytest.raises(OSError, match="No space"), (small_disk / "filler").open("wb") as filler:
            while True:
                filler.write(b"x" * 65536)
                filler.flush()
        for _ in range(20):
            observer.emit("/while it is full", 100)
            await asyncio.sleep(0.02)
        await eventually(lambda: has_count(broker, 2010), 10)
        assert any("No space left on device" in each for each in await reasons(producer))
        (small_disk / "filler").unlink()
        observer.emit("/after", 10)

        async def well() -> bool:
            return await reasons(producer) == []

        await eventually(well, 10)
    raw = await broker.raw()
    [boot] = raw.boots
    assert raw.stored("file", boot) == list(range(2021))
    assert raw.of("loss") == []


async def has_count(broker: Broker, count: int) -> bool:
    return await broker.count("file") == count


async def test_an_event_that_can_not_be_written_is_a_loss_and_nothing_more(
    broker: Broker, tmp_path: Path
) -> None:
    observer = HandObserver()
    async with running(observer, settings=run_settings(broker.server, tmp_path)):
        observer.emit("/good")
        observer.emit("/bad \ud800")
        observer.sink.emit(
            "snapshot",
            SnapshotEvent(
                ts=now_timestamp(), path="/x", hash="", size=1, encoding="utf-8",
                content="x" * 600_000,
            ),
        )  # fmt: skip
        observer.sink.emit("no such kind", FileEvent(ts="", action="created", path=""))
        observer.emit("/good")
    raw = await broker.raw()
    assert [each["seq"] for each in raw.of("file")] == [0, 1, 2]
    assert {(each["kind"], each["reason"], each["count"]) for each in raw.of("loss")} == {
        ("file", "event_unencodable", 1),
        ("snapshot", "event_too_large", 1),
        ("no such kind", "unknown_kind", 1),
    }


async def test_damage_on_the_disk_is_a_loss_that_names_its_seqs(
    broker: Broker, tmp_path: Path
) -> None:
    broker.server.kill()
    first = HandObserver()
    settings = run_settings(broker.server, tmp_path, segment_bytes=16 * 1024)
    async with running(first, settings=settings):
        for _ in range(40):
            first.emit("/" + "x" * 100, 20)
            await asyncio.sleep(0.03)
    segments = sorted((tmp_path / "hand").glob("*.spool"))
    assert len(segments) > 4
    content = bytearray(segments[2].read_bytes())
    content[100:9000] = os.urandom(8900)
    segments[2].write_bytes(content)
    broker.server.start()
    async with running(HandObserver(), settings=settings):
        pass
    raw = await broker.raw()
    boot = raw.boots[0]
    lost = raw.lost("file", boot)
    assert lost
    assert set(raw.stored("file", boot)) | lost == set(range(801))
    assert not set(raw.stored("file", boot)) & lost
    assert {each["reason"] for each in raw.of("loss")} == {"spool_corrupt", "producer_stopped"}


async def test_an_observer_that_can_not_start_ends_the_producer(
    broker: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = run_settings(broker.server, tmp_path)
    fine, broken = HandObserver(), HandObserver("snapshot", fails="no BPF here; run as root")
    assert await Producer([fine, broken], settings).run() == ExitCode.OBSERVER
    assert "the observer of snapshot can't start: no BPF here; run as root" in caplog.text
    assert fine.stopped, "what had started is stopped in order"


async def test_settings_that_can_not_work_end_the_producer(broker: Broker, tmp_path: Path) -> None:
    settings = run_settings(broker.server, tmp_path)
    async with running(HandObserver(), settings=settings) as producer:
        assert await Producer([HandObserver()], settings).run() == ExitCode.SPOOL
        assert producer.health is not None
        taken = RunSettings(
            "another",
            ProducerSettings(node=NODE, health_port=producer.health.port),
            settings.spool,
            settings.broker,
        )
        assert await Producer([HandObserver()], taken).run() == ExitCode.SETTINGS


async def test_sigterm_drains_and_ends_with_zero(
    broker: Broker, start_producer: Callable[..., Any]
) -> None:
    producer = start_producer(per_second=3000)
    await eventually(lambda: producer.spools_over(100_000), 15)
    assert producer.terminate() == 0
    raw = await broker.raw()
    for kind, count in producer.emitted.items():
        assert len(raw.of(kind)) == count
    log = producer.log.read_text()
    assert "health on http://127.0.0.1:" in log
    assert "Traceback" not in log
    assert broker.server.user(f"producer-{NODE}").password not in log


async def test_wrong_credentials_end_with_two(
    broker: Broker, start_producer: Callable[..., Any], tmp_path: Path
) -> None:
    missing = start_producer(credentials=tmp_path / "absent.json")
    assert missing.process.wait(20) == ExitCode.SETTINGS
    assert "absent.json can't be read" in missing.log.read_text()


async def test_a_second_signal_does_not_break_the_drain(
    broker: Broker, start_producer: Callable[..., Any]
) -> None:
    producer = start_producer(per_second=1000)
    await eventually(lambda: producer.spools_over(20_000), 15)
    producer.process.send_signal(signal.SIGINT)
    producer.process.send_signal(signal.SIGTERM)
    assert producer.process.wait(20) == 0
    raw = await broker.raw()
    assert len(raw.of("file")) == producer.emitted["file"]

"""A whole producer: what it takes, how it stops, and what each exit code means."""

import asyncio
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from producers.base.runner import ExitCode, Producer
from producers.base.settings import ProducerSettings, RunSettings
from stream.contract.kinds.file import FileEvent
from stream.contract.kinds.snapshot import SnapshotEvent
from stream.contract.timestamps import now_timestamp
from tests.support.counting_observer import CountingObserver
from tests.support.hand_observer import (
    HandObserver,
    get,
    has_count,
    reasons,
    run_settings,
    running,
)
from tests.support.nats_server import NODE
from tests.support.polling import eventually
from tests.support.producing import Broker


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


async def test_an_observer_that_can_not_start_ends_the_producer(
    broker: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = run_settings(broker.server, tmp_path)
    fine, broken = HandObserver(), HandObserver("snapshot", fails="no BPF here; run as root")
    assert await Producer([fine, broken], settings).run() == ExitCode.OBSERVER
    assert "the observer of snapshot can't start: no BPF here; run as root" in caplog.text
    assert fine.stopped, "what had started is stopped in order"


async def test_an_observer_that_fails_ends_the_producer_so_that_it_is_started_anew(
    broker: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    observer = HandObserver()
    producer = Producer([observer], run_settings(broker.server, tmp_path))
    task = asyncio.create_task(producer.run())
    await eventually(lambda: not producer.starting, 10, "started")
    observer.emit("/seen before")
    observer.failure = "the ring is gone"
    assert await asyncio.wait_for(task, 10) == ExitCode.FAILED
    assert "the observer of file failed: the ring is gone" in caplog.text
    raw = await broker.raw()
    assert next(each["path"] for each in raw.of("file")) == "/seen before"


class HangingObserver(HandObserver):
    """Does not come back from its stop, and can't tell its state."""

    def stop(self) -> None:
        threading.Event().wait()

    def degraded(self) -> list[str]:
        raise ValueError("broken")

    def ready(self) -> str | None:
        raise ValueError("broken")

    def metrics(self) -> dict[str, float]:
        raise ValueError("broken")


async def test_an_observer_that_hangs_does_not_hold_up_the_stop(
    broker: Broker, tmp_path: Path
) -> None:
    settings = run_settings(broker.server, tmp_path, stop_seconds=1)
    before = time.monotonic()
    async with running(HangingObserver(), HandObserver("snapshot"), settings=settings) as producer:
        assert "can't tell whether it is ready" in (await reasons(producer))[0]
        status, text = await get(producer, "/metrics")
        assert (status, "tenwatch_hand_watched_folders 7" in text) == (200, True)
    assert time.monotonic() - before < 15
    async with running(HandObserver(), settings=settings):
        pass
    raw = await broker.raw()
    [down] = raw.of("loss")
    assert (down["kind"], down["reason"]) == ("file", "producer_down"), "not an orderly stop"
    progress = raw.of("progress", raw.boots[0])
    assert "can't tell its state: ValueError('broken')" in progress[0]["degraded"][0]


async def test_a_stop_gets_through_although_the_spool_blocks(
    broker: Broker, tmp_path: Path
) -> None:
    broker.server.kill()
    settings = run_settings(broker.server, tmp_path, segment_bytes=64 * 1024, policy="block")
    spool = msgspec.structs.replace(settings.spool, max_bytes=256 * 1024)
    producer = msgspec.structs.replace(settings.producer, queue_events=64, stop_seconds=1)
    full = replace(settings, spool=spool, producer=producer)
    observer = CountingObserver(20_000, path_bytes=200)
    async with running(observer, settings=full) as first:
        assert first.pipeline is not None
        await eventually(lambda: first.pipeline.spool_problem, 10, "the spool is full")
        await eventually(lambda: first.pipeline.queue.size >= 64, 10, "the observer waits")
    emitted = dict(observer.emitted)
    broker.server.start()
    async with running(HandObserver(), settings=settings):
        pass
    raw = await broker.raw()
    boot = raw.boots[0]
    for kind, count in emitted.items():
        unseen = sum(
            each["count"]
            for each in raw.of("loss", boot)
            if each["kind"] == kind and "first_seq" not in each
        )
        stored, lost = raw.stored(kind, boot), raw.lost(kind, boot)
        assert len(stored) + len(lost) + unseen == count
        assert set(stored) | lost == set(range(count - unseen))


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

"""From one life of a producer to the next: what was left is sent first, what is gone is told."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import msgspec

from stream.broker.reader import StreamReader
from tests.support.hand_observer import HandObserver, has_count, run_settings, running
from tests.support.nats_server import OTHER_NODE
from tests.support.polling import eventually
from tests.support.producing import Broker


async def test_a_stop_without_a_broker_leaves_everything_for_the_next_start(
    broker: Broker, tmp_path: Path
) -> None:
    broker.server.kill()
    first = HandObserver()
    settings = run_settings(broker.server, tmp_path)
    async with running(first, settings=run_settings(broker.server, tmp_path, stop_seconds=1)):
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
    settings = run_settings(broker.server, tmp_path, stop_seconds=1, segment_bytes=64 * 1024)
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
    # One second's worth may go at once, and more while the connection is made; then the rate holds.
    assert (max(times) - min(times)) / 1e9 > (backlog - rate) / rate * 0.5


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
    async with running(first, settings=run_settings(broker.server, tmp_path, stop_seconds=1)):
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


async def test_damage_on_the_disk_is_a_loss_that_names_its_seqs(
    broker: Broker, tmp_path: Path
) -> None:
    broker.server.kill()
    first = HandObserver()
    options = {"segment_bytes": 16 * 1024}
    settings = run_settings(broker.server, tmp_path, stop_seconds=1, **options)
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
    async with running(HandObserver(), settings=run_settings(broker.server, tmp_path, **options)):
        pass
    raw = await broker.raw()
    boot = raw.boots[0]
    lost = raw.lost("file", boot)
    assert lost
    assert set(raw.stored("file", boot)) | lost == set(range(801))
    assert not set(raw.stored("file", boot)) & lost
    assert {each["reason"] for each in raw.of("loss")} == {"spool_corrupt", "producer_stopped"}

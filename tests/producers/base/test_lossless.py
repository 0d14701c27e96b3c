"""Whatever breaks: what is stored and what is said to be lost is together all that was emitted."""

import asyncio
import itertools
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from stream.broker.errors import BrokerError
from stream.broker.settings import StreamSettings
from tests.support.nats_server import NatsServer
from tests.support.producing import MEBIBYTE, Broker, Raw, make_broker


def assert_complete(raw: Raw, boot: str) -> None:
    """Within each (boot, kind): no seq missing, none both stored and lost, order kept."""
    for kind in ("process", "file", "progress", "loss"):
        stored, lost = raw.stored(kind, boot), raw.lost(kind, boot)
        together = set(stored) | lost
        highest = max([raw.announced(kind, boot), *(seq + 1 for seq in together)], default=0)
        assert together == set(range(highest)), f"{kind} of {boot} has holes"
        assert not set(stored) & lost, f"{kind} of {boot}: stored, and said to be lost"
        if kind != "loss":
            assert stored == sorted(stored), f"{kind} of {boot}: out of order"


def assert_watermarks_hold(raw: Raw, boot: str) -> None:
    """Behind a progress record comes no event before its watermark, and no lower seq."""
    watermark = dict.fromkeys(("process", "file"), "")
    next_seq = dict.fromkeys(("process", "file"), 0)
    for event in raw.events:
        if event["boot"] != boot:
            continue
        kind = event["_kind"]
        if kind == "progress" and event["producer"] in watermark:
            assert event["seen"] == event["filtered"] + event["emitted"] + event["lost"]
            watermark[event["producer"]] = event["watermark"]
            next_seq[event["producer"]] = event["next_seq"]
        elif kind in watermark:
            assert event["ts"] >= watermark[kind]
            assert event["seq"] >= next_seq[kind]


async def test_everything_emitted_arrives_when_nothing_breaks(
    broker: Broker, start_producer: Callable, eventually: Callable
) -> None:
    producer = start_producer(per_second=4000, limit=6000)

    async def all_there() -> bool:
        return await broker.count("file") == 3000

    await eventually(all_there, 15)
    assert producer.terminate() == 0
    raw = await broker.raw()
    assert producer.emitted == {"process": 3000, "file": 3000}
    [boot] = raw.boots
    assert raw.stored("process", boot) == list(range(3000))
    assert raw.stored("file", boot) == list(range(3000))
    assert raw.of("loss") == []
    assert raw.repeats == 0
    assert_watermarks_hold(raw, boot)
    closing = [each for each in raw.of("progress") if each.get("closing")]
    assert {each["producer"]: each["next_seq"] for each in closing} == {
        "process": 3000,
        "file": 3000,
        "loss": 0,
    }
    assert raw.events[-1] in closing
    assert closing[0]["filtered"] % 3 == 0
    assert closing[0]["filtered"] > 0


async def test_broker_away_two_kills_and_a_full_disk_lose_nothing_uncounted(
    broker: Broker, start_producer: Callable, small_disk: Path, eventually: Callable, rounds: int
) -> None:
    for _ in range(rounds):
        options = {
            "folder": small_disk,
            "per_second": 2000,
            "path_bytes": 100,
            "segment_bytes": 256 * 1024,
        }
        first = start_producer(**options)
        await eventually(partial(first.spools_over, 200_000), 15, "the first writes")
        broker.server.kill()
        await asyncio.sleep(1)  # load while the broker is away
        first.kill()
        second = start_producer(**options)
        await asyncio.sleep(1)
        filler = small_disk / "filler"
        free = os.statvfs(small_disk)
        filler.write_bytes(b"x" * max(0, free.f_bavail * free.f_bsize - 300_000))
        await eventually(lambda: os.statvfs(small_disk).f_bavail == 0, 20, "the disk is full")
        await asyncio.sleep(1)  # load while the disk is full
        second.kill()
        filler.unlink()
        third = start_producer(**options)
        await asyncio.sleep(0.5)
        broker.server.start()
        await broker.connection.wait_connected(10)
        await eventually(partial(third.spools_under, 300_000), 30, "the backlog is sent")
        assert third.terminate() == 0
        assert third.spooled_bytes() == 0

    raw = await broker.raw()
    assert len(raw.boots) == 3 * rounds
    for boot in raw.boots:
        assert_complete(raw, boot)
        assert_watermarks_hold(raw, boot)
    unwritable = [each for each in raw.of("loss") if each["reason"] == "spool_unwritable"]
    assert unwritable, "the full disk cost nothing: it was not full"
    third_boot = raw.boots[-1]
    for kind, emitted in third.emitted.items():
        assert len(raw.stored(kind, third_boot)) + len(raw.lost(kind, third_boot)) == emitted
        down = raw.unknown(kind, "producer_down")
        assert len(down) == 2 + 2 * (rounds - 1)
        for each in down:
            assert each["first_ts"] < each["last_ts"] <= each["ts"]
    # The kinds lie between each other as they were spooled: a boot ends before the next begins.
    offsets = [(boot, [each["_offset"] for each in raw.of("file", boot)]) for boot in raw.boots]
    for (_, earlier), (_, later) in itertools.pairwise(offsets):
        if earlier and later:
            assert max(earlier) < min(later)


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest"])
async def test_a_spool_at_its_limit_names_every_seq_that_it_dropped(
    broker: Broker, start_producer: Callable, eventually: Callable, policy: str
) -> None:
    broker.server.stop()
    producer = start_producer(
        per_second=8000, limit=12_000, path_bytes=200, policy=policy,
        max_bytes=MEBIBYTE, segment_bytes=128 * 1024,
    )  # fmt: skip
    await eventually(lambda: producer.spooled_bytes() > 0.85 * MEBIBYTE, 20, "the spool is full")
    await eventually(producer.has_emitted_all, 30, "all is emitted")
    assert producer.spooled_bytes() <= MEBIBYTE + 300_000
    broker.server.start()
    await eventually(lambda: producer.spooled_bytes() < 140_000, 20, "the backlog is sent")
    assert producer.terminate() == 0
    raw = await broker.raw()
    [boot] = raw.boots
    assert_complete(raw, boot)
    assert_watermarks_hold(raw, boot)
    for kind, emitted in producer.emitted.items():
        lost = raw.lost(kind, boot)
        assert len(raw.stored(kind, boot)) + len(lost) == emitted == 6000
        assert lost
        last = next(
            each
            for each in reversed(raw.of("progress"))
            if each["producer"] == kind and each.get("closing")
        )
        assert last["dropped"] == len(lost)
        if policy == "drop_oldest":
            assert emitted - 1 not in lost
        else:
            assert 0 not in lost
    assert {each["reason"] for each in raw.of("loss")} == {"spool_full"}


async def test_a_blocking_spool_holds_up_the_observer_and_loses_nothing(
    broker: Broker, start_producer: Callable, eventually: Callable
) -> None:
    broker.server.stop()
    producer = start_producer(
        per_second=20_000, limit=30_000, path_bytes=200, policy="block",
        max_bytes=MEBIBYTE, segment_bytes=128 * 1024,
    )  # fmt: skip
    await eventually(lambda: producer.spooled_bytes() > 0.8 * MEBIBYTE, 20, "the spool is full")
    await asyncio.sleep(1)
    assert producer.spooled_bytes() <= MEBIBYTE
    broker.server.start()

    async def all_there() -> bool:
        return await broker.count("file") == 15_000

    await eventually(all_there, 20, interval=0.3)
    assert producer.terminate() == 0
    raw = await broker.raw()
    [boot] = raw.boots
    assert raw.stored("process", boot) == list(range(15_000))
    assert raw.stored("file", boot) == list(range(15_000))
    assert raw.of("loss") == []


@pytest.mark.parametrize("raw_max_bytes", [MEBIBYTE])
async def test_a_full_stream_makes_the_producer_spool_until_there_is_room(
    broker: Broker, start_producer: Callable, eventually: Callable
) -> None:
    producer = start_producer(per_second=8000, limit=8000, path_bytes=200)
    await eventually(lambda: producer.spooled_bytes() > 1.2 * MEBIBYTE, 20, "spooled")
    stored: dict[tuple[str, str], list[int]] = {}
    highest = 0

    async def consumed() -> bool:
        """What a worker does: read, then make room."""
        nonlocal highest
        raw = await broker.raw()
        for each in raw.events:
            if each["_offset"] > highest:
                stored.setdefault((each["_kind"], each["boot"]), []).append(each["seq"])
        highest = max([highest, *(each["_offset"] for each in raw.events)])
        await broker.jetstream.purge_below("RAW", highest + 1)
        counts = {kind: len(set(seqs)) for (kind, _), seqs in stored.items()}
        return counts.get("process") == counts.get("file") == 4000

    await eventually(consumed, 30, interval=0.2)
    assert producer.terminate() == 0
    for (kind, _), seqs in stored.items():
        if kind in ("process", "file"):
            assert sorted(set(seqs)) == list(range(4000))
    assert "loss" not in {kind for kind, _ in stored}


async def test_a_broker_that_stands_still_for_a_while_gets_everything_once_and_in_order(
    broker: Broker, start_producer: Callable, eventually: Callable, rounds: int
) -> None:
    producer = start_producer(per_second=4000)
    await eventually(partial(producer.spools_over, 100_000), 15)
    for _ in range(rounds):
        broker.server.freeze()
        await asyncio.sleep(2.5)  # longer than an acknowledgement may take, and than two pings
        broker.server.thaw()
        await asyncio.sleep(0.5)
    assert producer.terminate() == 0
    raw = await broker.raw()
    [boot] = raw.boots
    assert raw.repeats == 0
    for kind, emitted in producer.emitted.items():
        assert raw.stored(kind, boot) == list(range(emitted))
    assert_watermarks_hold(raw, boot)
    assert raw.of("loss") == []


@pytest.mark.slow
async def test_leaders_of_a_cluster_die_one_after_the_other_and_nothing_is_lost(
    nats_cluster: list[NatsServer], start_producer: Callable, eventually: Callable, rounds: int
) -> None:
    broker = await make_broker(
        nats_cluster[0],
        StreamSettings(replicas=3, raw_max_bytes=64 * MEBIBYTE, events_max_bytes=MEBIBYTE,
                       buckets_max_bytes=MEBIBYTE, dead_max_bytes=MEBIBYTE),
        others=nats_cluster[1:],
    )  # fmt: skip
    producer = start_producer(
        per_second=3000, server=",".join(server.url for server in nats_cluster)
    )
    await eventually(partial(producer.spools_over, 100_000), 15)

    async def whole() -> bool:
        try:
            return len((await broker.jetstream.stream_info("RAW")).current_replicas) == 2
        except BrokerError:
            return False

    for _ in range(3 * rounds):
        await eventually(whole, 40, "the cluster is whole", 0.3)
        leader = (await broker.jetstream.stream_info("RAW")).leader
        server = next(each for each in nats_cluster if each.config.name == leader)
        server.kill()
        await asyncio.sleep(2)
        server.start()
    await eventually(partial(producer.spools_under, 2 * MEBIBYTE), 30, "the backlog is sent")
    assert producer.terminate() == 0
    raw = await broker.raw()
    [boot] = raw.boots
    for kind, emitted in producer.emitted.items():
        stored = raw.stored(kind, boot)
        assert sorted(stored) == list(range(emitted))
    assert_watermarks_hold(raw, boot)
    assert raw.of("loss") == []
    await broker.connection.close()

"""The sink stores every event once, whatever dies in between."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from nats.aio.client import Client

from sinks.audit import AuditOptions, run_audit
from sinks.store.client import Store
from sinks.store.settings import StoreSettings
from tests.support.enriched import Batch, Producer, file_fields, progress_of
from tests.support.nats_server import NatsServer
from tests.support.sink_process import STEPS, SinkProcess, acknowledged

Ask = Callable[..., list[tuple[Any, ...]]]
Eventually = Callable[..., Awaitable[object]]


def exact(ask: Ask, table: str, producers: list[Producer]) -> None:
    """Every event of every boot is in the table once, and the ledger says so."""
    stored = ask(
        f"SELECT node, boot, count(), uniqExact(seq), min(seq), max(seq) FROM tenwatch.{table} "
        "GROUP BY node, boot ORDER BY node, boot"
    )
    wanted = sorted((p.node, p.boot, p.next_seq, p.next_seq, 0, p.next_seq - 1) for p in producers)
    assert stored == wanted
    booked = ask(
        "SELECT node, boot, sum(stored), sum(last_seq - first_seq + 1), min(first_seq), "
        "max(last_seq) FROM tenwatch.ledger WHERE kind = {kind:String} "
        "GROUP BY node, boot ORDER BY node, boot",
        {"kind": producers[0].kind},
    )
    assert booked == wanted


async def test_rows_are_seen_soon_and_acknowledged_after_they_are_stored(
    sink: SinkProcess, client: Client, ask: Ask, eventually: Eventually
) -> None:
    sink.start()
    producer = Producer()
    for _ in range(20):
        await producer.batch(50).publish(client)
    await eventually(lambda: acknowledged(client, "process"), 20, "all to be acknowledged")
    assert sink.stop() == 0
    exact(ask, "process_events", [producer])
    argv = ask("SELECT argv, exit_code, start_ts < ts FROM tenwatch.processes WHERE pid = 1007")
    assert argv == [(["prog", "--number=7", 'a b\n"c" }{ \\'], 1, True)]


@pytest.mark.parametrize("step", STEPS)
async def test_a_kill_at_each_step_of_an_insert_loses_and_doubles_nothing(
    sink: SinkProcess, client: Client, ask: Ask, eventually: Eventually, step: str, rounds: int
) -> None:
    producer = Producer()
    for round_number in range(rounds):
        for _ in range(30):
            await producer.batch(40).publish(client)
        sink.die_at = f"{step}:{1 + round_number % 3}"
        # Not waited for: it may die while it books what the one before it had stored.
        sink.spawn()
        # More keeps coming, so that there is a second and third insert to die in.
        for _ in range(600):
            if sink.process is not None and sink.process.poll() is not None:
                break
            await producer.batch(40).publish(client)
            await asyncio.sleep(0.05)
        assert sink.died() == -9
    sink.die_at = ""
    sink.start()
    await progress_of(producer).batch(1).publish(client)
    await eventually(lambda: acknowledged(client, "process"), 40, "all to be acknowledged")
    await eventually(lambda: acknowledged(client, "progress"), 40, "progress, too")
    assert sink.stop() == 0
    exact(ask, "process_events", [producer])
    assert ask("SELECT count() FROM tenwatch.processes") == [(producer.next_seq,)]
    with Store(StoreSettings(path=str(sink.store))) as store:
        report = run_audit(store.writer, AuditOptions(rows=True, grace_seconds=0))
    assert report.exit_code == 0, report
    (boot,) = [boot for boot in report.boots if boot.kind == "process"]
    assert boot.announced
    assert (boot.emitted, boot.stored, boot.rows) == (producer.next_seq,) * 3


async def test_everything_delivered_again_is_known_as_a_repeat(
    sink: SinkProcess, client: Client, ask: Ask, eventually: Eventually
) -> None:
    producers = [Producer(), Producer(kind="file", fields=file_fields, node="node-b")]
    batches: list[Batch] = []
    for _ in range(15):
        for producer in producers:
            batches.append(producer.batch(20))
            await batches[-1].publish(client)
    sink.start()
    await eventually(lambda: acknowledged(client, "process"), 20, "processes")
    await eventually(lambda: acknowledged(client, "file"), 20, "files")
    assert sink.stop() == 0
    # The consumers forget everything, and old spools publish every batch once more.
    for table in ("process", "file"):
        await client.jetstream().delete_consumer("EVENTS", f"sink-{table}")
    random.Random(5).shuffle(batches)
    for batch in batches:
        await batch.publish(client, again=True)
    sink.start()
    await eventually(lambda: acknowledged(client, "process"), 20, "processes again")
    await eventually(lambda: acknowledged(client, "file"), 20, "files again")
    assert sink.stop() == 0
    exact(ask, "process_events", producers[:1])
    exact(ask, "file_events", producers[1:])


async def test_garbage_in_one_line_of_a_thousand_costs_that_line_only(
    sink: SinkProcess, client: Client, ask: Ask, eventually: Eventually
) -> None:
    producer = Producer()
    bad = {137: b'{"ts": nonsense\n', 1500: b'{"seq":1}{"seq":2}\n', 1501: b"\xff\xfe\n"}
    for _ in range(20):
        batch = producer.batch(100)
        for seq, garbage in bad.items():
            if batch.identity.first_seq <= seq <= batch.identity.last_seq:
                batch.lines[seq - batch.identity.first_seq] = garbage
        await batch.publish(client)
    sink.start()
    await eventually(lambda: acknowledged(client, "process"), 20, "processes")
    await eventually(lambda: acknowledged(client, "dead", "DEAD"), 20, "dead letters")
    assert sink.stop() == 0
    stored = ask("SELECT seq FROM tenwatch.process_events ORDER BY seq")
    assert [seq for (seq,) in stored] == [seq for seq in range(2000) if seq not in bad]
    dead = ask("SELECT seq, stage, kind, node, boot, reason FROM tenwatch.dead ORDER BY seq")
    assert dead == [
        (seq, "sink", "process", "node-a", producer.boot, "bad_row") for seq in sorted(bad)
    ]
    assert ask("SELECT sum(stored), sum(dead) FROM tenwatch.ledger") == [(1997, 3)]


async def test_a_broker_that_restarts_or_is_killed_costs_nothing(
    sink: SinkProcess,
    broker: NatsServer,
    client: Client,
    ask: Ask,
    eventually: Eventually,
    rounds: int,
) -> None:
    # Acknowledgements that a dying broker swallows come due again soon.
    sink.settings["SINK_ACKNOWLEDGE_SECONDS"] = "3"
    sink.start()
    producer = Producer()
    for number in range(2 * rounds):
        batches = [producer.batch(50) for _ in range(10)]
        for batch in batches:
            await batch.publish(client)
        broker.kill() if number % 2 else broker.stop()
        broker.start()
    await eventually(lambda: acknowledged(client, "process"), 40, "all to be acknowledged")
    assert sink.stop() == 0
    exact(ask, "process_events", [producer])


async def test_a_second_sink_by_mistake_refuses_and_says_who_has_the_store(
    sink: SinkProcess, broker: NatsServer, client: Client, ask: Ask, eventually: Eventually
) -> None:
    sink.start()
    assert sink.process is not None
    second = SinkProcess(broker, sink.folder)
    try:
        second.spawn()
        assert second.died() == 2
        assert f"is open in process {sink.process.pid}" in second.log.read_text()
    finally:
        second.close()
    producer = Producer()
    await producer.batch(10).publish(client)
    await eventually(lambda: acknowledged(client, "process"), 20, "processes")
    assert sink.stop() == 0
    exact(ask, "process_events", [producer])

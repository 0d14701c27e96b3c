"""The audit balances exactly when every announced event is stored once, dead, or lost by name."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from sinks.audit import AuditOptions, AuditReport, run_audit
from sinks.ingest.group import Group, Stage
from sinks.ingest.message import hold
from sinks.ingest.tables import SINK_TABLES
from sinks.ingest.writer import Writer
from sinks.maintenance import upkeep
from sinks.store.client import Store
from stream.broker.subscription import Delivery
from stream.contract.subjects import events_subject
from stream.contract.timestamps import format_timestamp
from tests.support.enriched import Batch, Producer

PROCESS = next(table for table in SINK_TABLES if table.name == "process")
LONG_AGO = datetime.now(UTC) - timedelta(minutes=10)
START = int(LONG_AGO.timestamp() * 1_000_000)


class Chain:
    """Puts batches through the sink's own writer, without a broker."""

    def __init__(self, store: Store, insert: Any) -> None:
        self.store = store
        self.insert = insert
        self.writer = Writer(store, SINK_TABLES)
        self.writer.start()
        self.sequence = 0

    def deliver(self, *batches: Batch) -> None:
        held = []
        for batch in batches:
            self.sequence += 1
            subject = events_subject(batch.identity.kind, batch.identity.node)
            delivery = Delivery(
                subject, batch.identity.headers(), batch.payload, "", self.sequence,
                self.sequence, 1, 0, 0,
            )  # fmt: skip
            held.append(hold(PROCESS, delivery))
        group = Group(PROCESS, held)
        self.writer.store([group])
        assert group.stage is Stage.STORED, group.error
        self.insert("dead_letters", [orjson.loads(orjson.dumps(_plain(x))) for x in group.dead])
        group.stage = Stage.REPORTED
        self.writer.book([group])
        assert group.stage is Stage.BOOKED, group.error

    def announce(self, producer: Producer, at: datetime = LONG_AGO, **counts: int) -> None:
        emitted = producer.next_seq
        whole = {"seen": emitted + 5, "filtered": 5, "emitted": emitted, "lost": 0} | counts
        self.insert("progress", [{
            "ts": format_timestamp(int(at.timestamp() * 1e6)), "node": producer.node,
            "boot": producer.boot, "seq": 7, "producer": producer.kind, "next_seq": emitted,
            "watermark": format_timestamp(START), **whole,
        }])  # fmt: skip

    def lose(self, producer: Producer, **fields: Any) -> None:
        self.insert("losses", [{
            "ts": format_timestamp(START), "node": producer.node, "boot": "of-losses",
            "lost_boot": producer.boot, "kind": producer.kind, "seq": 1, "stage": "spool",
            "reason": "spool_full", **fields,
        }])  # fmt: skip

    def audit(self, **options: Any) -> AuditReport:
        return run_audit(self.store.writer, AuditOptions(rows=True, kind="process", **options))


def _plain(letter: Any) -> dict[str, Any]:
    return {
        name: getattr(letter, name) for name in letter.__struct_fields__
        if getattr(letter, name) is not None
    }  # fmt: skip


@pytest.fixture
def chain(store: Store, insert: Any) -> Chain:
    return Chain(store, insert)


@pytest.fixture
def producer() -> Producer:
    return Producer(start=START)


def test_an_audit_of_nothing_proves_nothing(chain: Chain) -> None:
    assert chain.audit().exit_code == 1


def test_all_stored_once_balances_in_any_order(chain: Chain, producer: Producer) -> None:
    batches = [producer.batch(count) for count in (5, 1, 90, 3)]
    random.Random(1).shuffle(batches)
    chain.deliver(*batches[:2])
    chain.deliver(*batches[2:], batches[0])
    chain.announce(producer)
    report = chain.audit()
    assert report.exit_code == 0
    (boot,) = report.boots
    assert (boot.emitted, boot.stored, boot.rows, boot.missing) == (99, 99, 99, 0)


def test_a_gap_is_listed_with_its_place_and_an_explained_one_is_not(
    chain: Chain, producer: Producer
) -> None:
    first, _, third, _, fifth = (producer.batch(10) for _ in range(5))
    chain.deliver(first, third, fifth)
    chain.announce(producer)
    report = chain.audit()
    assert report.exit_code == 1
    assert [(g.first_seq, g.last_seq, g.after_offset, g.before_offset) for g in report.gaps] == [
        (10, 19, 1, 3), (30, 39, 3, 5),
    ]  # fmt: skip
    assert report.gaps[0].place == "between messages 1 and 3 of RAW"
    assert report.boots[0].missing == 20

    chain.lose(producer, first_seq=10, last_seq=19, count=10)
    half = chain.audit()
    assert [(gap.first_seq, gap.last_seq) for gap in half.gaps] == [(30, 39)]
    chain.lose(producer, first_seq=30, last_seq=34, count=5, seq=2)
    chain.insert("dead_letters", [{
        "ts": format_timestamp(START), "stage": "worker", "kind": "process", "count": 5,
        "node": producer.node, "boot": producer.boot, "seq": 35, "reason": "bad_line",
    }])  # fmt: skip
    whole = chain.audit()
    assert whole.exit_code == 0
    (boot,) = whole.boots
    assert (boot.emitted, boot.stored, boot.lost, boot.dead) == (50, 30, 15, 5)


def test_what_was_announced_and_never_came_is_missing_unless_it_was_just_now(
    chain: Chain, producer: Producer
) -> None:
    chain.deliver(producer.batch(10))
    producer.batch(7)
    chain.announce(producer, datetime.now(UTC))
    report = chain.audit()
    assert (report.exit_code, report.boots[0].in_flight) == (0, 7)
    assert chain.audit(grace_seconds=0).exit_code == 1

    silent = Producer(start=START, node="node-z")
    silent.batch(3)
    chain.announce(silent)
    found = chain.audit(node="node-z")
    assert (found.exit_code, found.gaps[0].count) == (1, 3)
    assert found.gaps[0].place.startswith("the whole boot")


def test_a_row_that_is_there_twice_or_not_at_all_is_found(chain: Chain, producer: Producer) -> None:
    batch = producer.batch(10)
    chain.deliver(batch)
    chain.announce(producer)
    assert chain.audit().exit_code == 0
    chain.store.writer.insert_lines("process_events", batch.lines[3], insert_id=1, token="x")
    report = chain.audit()
    assert report.exit_code == 1
    assert "1 rows are there twice" in report.boots[0].problems
    chain.store.writer.command(
        "ALTER TABLE tenwatch.process_events DELETE WHERE seq = 3",
        settings={"mutations_sync": 2},
    )
    assert chain.audit().boots[0].problems == [
        "the ledger says that 10 are stored and the table has 9"
    ]


def test_an_interval_that_is_booked_twice_is_found(chain: Chain, producer: Producer) -> None:
    batches = [producer.batch(10), producer.batch(10)]
    chain.deliver(*batches)
    chain.announce(producer)
    chain.insert("ledger", [{
        "kind": "process", "node": producer.node, "boot": producer.boot, "first_seq": 5,
        "last_seq": 8, "stored": 4, "first_log_offset": 1,
        "first_ts": format_timestamp(START),
    }])  # fmt: skip
    report = run_audit(chain.store.writer)
    assert report.exit_code == 1
    # Also the interval that the second one overlaps is told.
    assert report.boots[0].repeated >= 4
    assert (report.repeats[0].first_seq, report.repeats[0].last_seq) == (5, 8)


def test_producers_that_do_not_account_for_what_they_saw_do_not_balance(
    chain: Chain, producer: Producer
) -> None:
    chain.deliver(producer.batch(10))
    chain.announce(producer, seen=16)
    assert "the producer saw 16" in chain.audit().boots[0].problems[0]
    other = Producer(start=START, node="node-b")
    chain.deliver(other.batch(10))
    chain.announce(other, seen=22, lost=7)
    assert chain.audit(node="node-b").exit_code == 1
    chain.lose(other, count=7, stage="kernel", reason="ring_full")
    assert chain.audit(node="node-b").exit_code == 0


def test_lines_that_the_store_refuses_are_dead_and_balance(
    chain: Chain, producer: Producer
) -> None:
    batch = producer.batch(50)
    batch.lines[17] = b'{"ts":broken}\n'
    chain.deliver(batch)
    chain.announce(producer)
    report = chain.audit()
    assert report.exit_code == 0
    assert (report.boots[0].stored, report.boots[0].dead) == (49, 1)


def test_a_message_that_was_refused_as_a_whole_explains_as_many_as_it_held(
    chain: Chain, producer: Producer
) -> None:
    first, _, third = (producer.batch(10) for _ in range(3))
    chain.deliver(first, third)
    chain.announce(producer)
    letter = {
        "ts": format_timestamp(START), "stage": "worker", "kind": "process", "reason": "bad_batch",
        "boot": producer.boot, "count": 9, "log_offset": 2, "subject": "process.node-a",
    }  # fmt: skip
    chain.insert("dead_letters", [letter])
    assert chain.audit().exit_code == 1, "it held nine, and ten are missing"
    chain.insert("dead_letters", [letter | {"count": 1, "log_offset": 7}])
    report = chain.audit()
    assert (report.exit_code, report.boots[0].dead, report.gaps) == (0, 10, [])


def test_a_letter_about_an_event_that_is_stored_explains_no_gap(
    chain: Chain, producer: Producer
) -> None:
    first, _, third = (producer.batch(10) for _ in range(3))
    chain.deliver(first, third)
    chain.announce(producer)
    for seq in range(10, 20):
        chain.insert("dead_letters", [{
            "ts": format_timestamp(START), "stage": "worker", "kind": "process", "seq": seq,
            "node": producer.node, "boot": producer.boot, "reason": "too_late",
        }])  # fmt: skip
    assert chain.audit().exit_code == 1


def test_joining_the_ledger_changes_no_account(
    chain: Chain, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        batch = producer.batch(3)
        if number != 11:
            chain.deliver(batch)
    chain.announce(producer)
    before = chain.audit()
    assert [(gap.first_seq, gap.last_seq) for gap in before.gaps] == [(33, 35)]
    monkeypatch.setattr(upkeep, "LEDGER_ROWS", 10)
    assert upkeep.compact_ledger(chain.store, chain.store.writer) == 27
    after = chain.audit()
    assert (after.gaps, after.boots) == (before.gaps, before.boots)
    assert chain.store.writer.rows("SELECT count() FROM tenwatch.ledger") == [(2,)]
    assert upkeep.compact_ledger(chain.store, chain.store.writer) == 0
    # The joined ledger still knows what is stored.
    chain.writer = Writer(chain.store, SINK_TABLES)
    chain.writer.start()
    producer.next_seq = 0
    chain.deliver(producer.batch(90))
    assert chain.audit().exit_code == 0
    assert chain.store.writer.rows("SELECT count() FROM tenwatch.process_events") == [(90,)]

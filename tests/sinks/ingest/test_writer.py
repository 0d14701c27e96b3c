"""What goes into the store, and what the ledger says of it, whatever fails in between."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from sinks.errors import StoreAwayError
from sinks.ingest.group import Group, Stage
from sinks.ingest.message import hold
from sinks.ingest.tables import SINK_TABLES
from sinks.ingest.writer import Writer
from sinks.store.client import Client, Store
from stream.broker.subscription import Delivery
from tests.support.enriched import Batch, Producer

TABLES = {table.name: table for table in SINK_TABLES}
Message = tuple[str, dict[str, str] | None, bytes]


class Lines:
    """Puts messages through a writer as the loop does, trying again until it is done."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.restart()
        self.sequence = 0

    def restart(self) -> int:
        """A new writer without memory, as after a crash; gives the rows that it booked."""
        self.writer = Writer(self.store, SINK_TABLES)
        return self.writer.start()

    def group(self, *messages: Message | Batch, table: str = "process") -> Group:
        held = []
        for each in messages:
            self.sequence += 1
            if isinstance(each, Batch):
                identity = each.identity
                each = (f"events.{table}.{identity.node}", identity.headers(), each.payload)
            subject, headers, data = each
            held.append(hold(TABLES[table], Delivery(
                subject, headers, data, "", self.sequence, self.sequence, 1, 0, 0
            )))  # fmt: skip
        return Group(TABLES[table], held)

    def store_all(self, group: Group, tries: int = 50) -> Group:
        for _ in range(tries):
            self.writer.store([group])
            if group.stage is Stage.STORED:
                group.stage = Stage.REPORTED
            self.writer.book([group])
            if group.stage is Stage.BOOKED:
                return group
        raise AssertionError(f"not stored: {group.error}")

    def seqs(self, table: str = "process_events") -> list[int]:
        return [
            int(seq) for (seq,) in self.store.writer.rows(
                f"SELECT seq FROM tenwatch.{table} ORDER BY seq"
            )
        ]  # fmt: skip

    def booked(self) -> list[tuple[int, int, int, int]]:
        return [
            tuple(row) for row in self.store.writer.rows(
                "SELECT first_seq, last_seq, stored, dead FROM tenwatch.ledger "
                "ORDER BY first_seq, last_seq"
            )
        ]  # fmt: skip


@pytest.fixture
def lines(store: Store) -> Lines:
    return Lines(store)


def test_batches_that_follow_each_other_are_one_row_of_the_ledger(lines: Lines) -> None:
    producer = Producer()
    lines.store_all(lines.group(*[producer.batch(10) for _ in range(5)]))
    assert lines.seqs() == list(range(50))
    assert lines.store.writer.rows(
        "SELECT first_seq, last_seq, stored, batches, first_log_offset, last_log_offset, "
        "toString(first_ts) FROM tenwatch.ledger"
    ) == [(0, 49, 50, 5, 1, 5, "2026-11-20 08:00:00.000000")]


def test_repeats_in_one_insert_or_later_or_after_a_crash_are_left_out(lines: Lines) -> None:
    producer = Producer()
    first, second = producer.batch(10), producer.batch(10)
    assert lines.store_all(lines.group(first, first)).repeated == 10
    assert lines.store_all(lines.group(second, first)).repeated == 10
    assert lines.restart() == 0
    assert lines.store_all(lines.group(second, first)).repeated == 20
    assert lines.seqs() == list(range(20))


def test_only_the_unknown_lines_of_a_batch_are_stored(lines: Lines) -> None:
    producer = Producer()
    whole = producer.batch(30)
    # An older spool had cut it otherwise.
    producer.next_seq = 10
    middle = producer.batch(10)
    lines.store_all(lines.group(middle))
    assert lines.store_all(lines.group(whole)).repeated == 10
    assert lines.seqs() == list(range(30))
    assert lines.booked() == [(0, 9, 10, 0), (10, 19, 10, 0), (20, 29, 10, 0)]


def test_a_batch_that_a_worker_took_lines_out_of_is_stored_by_its_own_seqs(
    lines: Lines,
) -> None:
    producer = Producer()
    batch = producer.batch(10)
    del batch.lines[3:5]
    lines.store_all(lines.group(batch))
    lines.store_all(lines.group(batch))
    assert lines.seqs() == [0, 1, 2, 5, 6, 7, 8, 9]
    assert lines.booked() == [(0, 2, 3, 0), (5, 9, 5, 0)]


@pytest.mark.parametrize(
    ("message", "detail"),
    [
        (("events.process.n", None, b"{}\n"), "no headers"),
        (("events.process.n", {"Tenwatch-Schema": "process/9"}, b"{}\n"), "process/9"),
    ],
)
def test_a_message_that_is_no_batch_is_dead_as_a_whole_and_the_others_are_stored(
    lines: Lines, message: Message, detail: str
) -> None:
    batch = Producer().batch(5)
    group = lines.store_all(lines.group(message, batch))
    assert [(each.reason, each.payload) for each in group.dead] == [("bad_batch", "{}\n")]
    assert detail in group.dead[0].detail
    assert lines.seqs() == list(range(5))


def test_a_batch_with_more_lines_than_it_announces_is_dead(lines: Lines) -> None:
    batch = Producer().batch(3)
    batch.lines.append(b"{}\n")
    (letter,) = lines.store_all(lines.group(batch)).dead
    assert letter.detail == "the batch holds 4 lines and announces 3"
    assert lines.seqs() == []


def fail_sometimes(
    monkeypatch: pytest.MonkeyPatch, seed: int, stored_too: bool
) -> Callable[[], int]:
    """Half of all inserts fail as if the server were away; some of them after they were done."""
    dice = random.Random(seed)
    insert = Client.insert_lines
    failed = [0]

    def insert_lines(self: Client, table: str, data: bytes, **how: Any) -> int | None:
        fails = dice.random() < 0.5
        if fails and not (stored_too and dice.random() < 0.5):
            failed[0] += 1
            raise StoreAwayError("connection reset")
        result = insert(self, table, data, **how)
        if fails:
            failed[0] += 1
            raise StoreAwayError("connection reset after it was stored")
        return result

    monkeypatch.setattr(Client, "insert_lines", insert_lines)
    return lambda: failed[0]


@pytest.mark.parametrize("seed", range(4))
def test_inserts_of_unknown_outcome_are_repeated_without_a_double(
    lines: Lines, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    failures = fail_sometimes(monkeypatch, seed, stored_too=True)
    producer = Producer()
    dice = random.Random(seed)
    bad = sorted(dice.sample(range(200), 5))
    for _ in range(4):
        batches = [producer.batch(10) for _ in range(5)]
        for seq in bad:
            for batch in batches:
                if batch.identity.first_seq <= seq <= batch.identity.last_seq:
                    batch.lines[seq - batch.identity.first_seq] = b"garbage\n"
        lines.store_all(lines.group(*batches))
    assert failures() > 3
    assert lines.seqs() == [seq for seq in range(200) if seq not in bad]
    assert sum(stored for _, _, stored, _ in lines.booked()) == 195
    assert sum(dead for *_, dead in lines.booked()) == 5


@pytest.mark.parametrize("seed", range(3))
def test_a_crash_in_the_middle_of_refusals_is_recovered(
    lines: Lines, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    producer = Producer()
    batch = producer.batch(60)
    for seq in (7, 33, 59):
        batch.lines[seq] = b"garbage\n"
    with monkeypatch.context() as patch:
        fail_sometimes(patch, seed, stored_too=True)
        group = lines.group(batch)
        for _ in range(4 + seed):
            lines.writer.store([group])
    found = lines.restart()
    assert found == len(lines.seqs())
    lines.store_all(lines.group(batch))
    assert lines.seqs() == [seq for seq in range(60) if seq not in (7, 33, 59)]
    assert sum(stored for _, _, stored, _ in lines.booked()) == 57
    assert lines.restart() == 0


def test_recovery_feeds_the_tables_that_views_fill(lines: Lines, store: Store) -> None:
    producer = Producer(fields=lambda seq: {"action": "exec", "pid": seq, "exec_id": f"e{seq}"})
    lines.writer.store([lines.group(producer.batch(5))])
    # As if it had died between the table and its view.
    store.writer.command("TRUNCATE TABLE tenwatch.process_live")
    assert lines.restart() == 5
    assert store.writer.rows("SELECT count() FROM tenwatch.processes") == [(5,)]


def test_rows_of_windows_are_replaced_by_newer_ones_and_not_by_repeats(
    lines: Lines, store: Store
) -> None:
    def row(version: int, execs: int, final: str = "false") -> Message:
        line = (
            f'{{"kind":"process","scope":"node","node":"n","window_start":"2026-11-20T08:00:00Z",'
            f'"window_end":"2026-11-20T08:00:10Z","version":{version},"final":{final},'
            f'"execs":{execs},"metric_of_a_newer_worker":1}}\n'
        )
        return ("buckets.process.n", None, line.encode())

    messages = [row(2, 5), row(4, 9), row(5, 9, "true"), row(2, 5)]
    for message in messages:
        lines.store_all(lines.group(message, table="buckets"))
    assert store.writer.rows(
        "SELECT scope, node, execs, final, version, exits FROM tenwatch.buckets ORDER BY scope"
    ) == [("cluster", "__all__", 9, True, 5, None), ("node", "n", 9, True, 5, None)]
    bad: Message = ("buckets.process.n", None, b'{"kind":"process","version":"x"}\n')
    group = lines.store_all(lines.group(bad, row(6, 10, "true"), table="buckets"))
    assert [letter.kind for letter in group.dead] == ["buckets"]
    assert store.writer.value("SELECT max(execs) FROM tenwatch.buckets") == 10


def test_losses_with_and_without_a_batch_around_them_are_stored_once(
    lines: Lines, store: Store
) -> None:
    producer = Producer(
        kind="loss",
        fields=lambda seq: {
            "stage": "kernel", "kind": "process", "reason": "ring_full", "count": seq,
        },
    )  # fmt: skip
    batch = producer.batch(3)
    message: Message = ("loss.kernel.node-a", batch.identity.headers(), batch.payload)
    bare: Message = ("loss.sink.node-b", None, (
        b'{"ts":"2026-11-20T08:00:00.000000Z","node":"node-b","stage":"sink","kind":"file",'
        b'"reason":"disk_guard","count":7}\n'
    ))  # fmt: skip
    for _ in range(2):
        lines.store_all(lines.group(message, bare, table="loss"))
        lines.restart()
    assert store.writer.rows(
        "SELECT node, reason, sum(count), count() FROM tenwatch.loss GROUP BY node, reason "
        "ORDER BY node"
    ) == [("node-a", "ring_full", 3, 3), ("node-b", "disk_guard", 7, 1)]
    assert lines.booked() == [(0, 2, 3, 0)]

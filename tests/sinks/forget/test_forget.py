"""An erasure takes every row of its subject, no other, leaves a record, and the audit balances."""

from typing import Any

import pytest

from sinks.audit import AuditOptions, run_audit
from sinks.errors import QueryFileError
from sinks.forget import Subject, forget, preview
from sinks.ingest.tables import EVENT_TABLES
from sinks.store.client import Store

TABLES = [table for kind, table in EVENT_TABLES.items() if kind not in ("progress", "loss")]
PEOPLE = {"alice": "os", "bob": "os", "alicia": "os"}


@pytest.fixture
def filled(store: Store, insert: Any) -> Store:
    """Everybody has a row in every table, and the ledger knows all of them."""
    for kind, table in EVENT_TABLES.items():
        if table not in TABLES:
            continue
        rows = [
            {
                "ts": "2026-11-20T08:00:00.000000Z", "node": "n", "boot": "b", "seq": number,
                "student": student, "course": course, "namespace": "ide", "pod": f"pod-{student}",
                "path": f"/w/{student}/a.c", "content": f"content of {student}",
                "log_offset": 10 + number, "exec_id": student,
                "action": "exec",
            }
            for number, (student, course) in enumerate(PEOPLE.items())
        ]  # fmt: skip
        insert(table, rows)
        insert("ledger", [{
            "kind": kind, "node": "n", "boot": "b", "first_seq": 0, "last_seq": 2, "stored": 3,
            "first_ts": "2026-11-20T08:00:00.000000Z", "insert_id": 99,
        }])  # fmt: skip
    insert("buckets_10s", [
        {"kind": "file", "scope": "student", "node": "n", "student": student, "course": "os",
         "window_start": "2026-11-20T08:00:00Z", "version": 1, "modifies": 1}
        for student in PEOPLE
    ])  # fmt: skip
    insert("dead_letters", [
        {"ts": "2026-11-20T08:00:00.000000Z", "stage": "sink", "kind": "file", "reason": "bad_row",
         "payload": f'{{"student":"{student}","pod":"pod-{student}"}}'}
        for student in PEOPLE
    ])  # fmt: skip
    return store


def people(store: Store, table: str, column: str = "student") -> list[str]:
    return [
        str(name) for (name,) in store.writer.rows(
            f"SELECT {column} FROM tenwatch.{table} ORDER BY {column}"
        )
    ]  # fmt: skip


@pytest.mark.parametrize(
    "subject", [Subject("student", "alice", "os"), Subject("pod", "pod-alice", "ide")]
)
def test_a_person_or_pod_is_gone_from_every_table(filled: Store, subject: Subject) -> None:
    expected = preview(filled.writer, subject)
    done = forget(filled.writer, subject, by="dean", reason="asked for it")
    assert done.rows == expected.rows
    for table in TABLES:
        assert people(filled, table) == ["alicia", "bob"], table
    assert len(people(filled, "dead_letters", "payload")) == 2
    if subject.kind == "student":
        assert people(filled, "buckets_10s") == ["alicia", "bob"]
        assert people(filled, "process_live") == ["alicia", "bob"]
    # Messages of the log that held something of it.
    assert set(done.remains.raw_messages) == {(0, 10, 10)}
    assert "EVENTS" in done.remains.streams
    report = run_audit(filled.writer, AuditOptions(rows=True))
    assert report.exit_code == 0, [boot.problems for boot in report.boots]


def test_a_folder_means_all_below_it_and_no_other_name_that_begins_alike(
    filled: Store,
) -> None:
    done = forget(filled.writer, Subject("path", "/w/alice/"), by="dean", reason="asked")
    assert done.rows == {"file_events": 1, "snapshot_events": 1}
    assert people(filled, "files", "path") == ["/w/alicia/a.c", "/w/bob/a.c"]
    assert people(filled, "process_events") == ["alice", "alicia", "bob"]


def test_the_record_tells_that_and_not_what(filled: Store) -> None:
    forget(filled.writer, Subject("student", "alice"), by="dean", reason="asked for it")
    rows = filled.writer.dictionaries("SELECT * FROM tenwatch.erasures WHERE table_name != ''")
    assert {row["table_name"] for row in rows} >= set(TABLES)
    assert {(row["by"], row["reason"], row["subject_kind"]) for row in rows} == {
        ("dean", "asked for it", "student")
    }
    assert len({row["request"] for row in rows}) == 1
    assert "alice" not in str(rows)


def test_again_it_finds_nothing(filled: Store) -> None:
    subject = Subject("student", "alice")
    assert forget(filled.writer, subject, by="dean", reason="asked").total > 0
    again = forget(filled.writer, subject, by="dean", reason="asked")
    assert (again.total, again.remains.raw_messages) == (0, [])


@pytest.mark.parametrize("name", ["", "/", "//"])
def test_an_empty_name_would_mean_everything_and_is_refused(name: str) -> None:
    with pytest.raises(QueryFileError, match="names no"):
        Subject("path", name)

"""Upkeep takes away what has ended and what there is no room for, and nothing else."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sinks.maintenance.upkeep import clear_ended_processes, guard_disk
from sinks.store.client import Store
from sinks.store.migrations import apply_schema
from sinks.store.settings import StoreSettings

NOW = datetime.now(UTC) - timedelta(hours=1)


def text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def record(pid: int, action: str, after: int, **fields: Any) -> dict[str, Any]:
    return {
        "ts": text(NOW + timedelta(seconds=after)), "node": "n", "boot": "b", "seq": after,
        "action": action, "pid": pid, "ppid": 1, "uid": 0, "exec_id": f"e{pid}",
        "start_ts": text(NOW + timedelta(seconds=pid)), "exe": f"/bin/{pid}-{action}", **fields,
    }  # fmt: skip


def processes(store: Store) -> list[tuple[int, str]]:
    return store.writer.rows("SELECT pid, exe FROM tenwatch.processes ORDER BY pid")


def test_one_row_per_process_through_a_second_exec_an_exit_and_a_clean_up(
    store: Store, insert: Any
) -> None:
    insert("process_events", [record(1, "exec", 1), record(2, "exec", 2), record(3, "exec", 3)])
    # The second program of a process takes the place of its first.
    insert("process_events", [record(1, "exec", 4, exe="/bin/second"), record(2, "exit", 5)])
    wanted = [(1, "/bin/second"), (2, "/bin/2-exit"), (3, "/bin/3-exec")]
    assert processes(store) == wanted
    clear_ended_processes(store, store.writer)
    assert processes(store) == wanted
    assert store.writer.rows("SELECT count() FROM tenwatch.process_live FINAL") == [(2,)]
    # A process that never had an exec, as a forked child, is there once it ends.
    insert("process_events", [record(4, "exit", 6)])
    assert processes(store) == [*wanted, (4, "/bin/4-exit")]


def test_an_exec_that_came_after_its_exit_is_not_shown_as_running_for_ever(
    store: Store, insert: Any
) -> None:
    insert("process_events", [record(7, "exit", 9)])
    clear_ended_processes(store, store.writer)
    # Long after: that it had ended is forgotten.
    store.writer.command("TRUNCATE TABLE tenwatch.process_ended")
    insert("process_events", [record(7, "exec", 8)])
    assert len(processes(store)) == 2
    clear_ended_processes(store, store.writer)
    assert processes(store) == [(7, "/bin/7-exit")]


def test_a_full_disk_costs_the_oldest_days_and_never_the_newest(tmp_path: Any) -> None:
    free = 10**9  # More than any disk here has free, in MiB.
    settings = StoreSettings(
        path=str(tmp_path / "store"), fsync=False, minimum_free_megabytes=free, minimum_kept_days=2
    )
    with Store(settings) as store:
        apply_schema(store)
        for days in (0, 1, 2, 5):
            moment = datetime.now(UTC) - timedelta(days=days)
            rows = b"".join(
                b'{"ts":"%s","seq":%d}\n' % (text(moment).encode(), seq) for seq in range(days + 1)
            )
            for table in ("file_events", "losses"):
                store.writer.insert_lines(table, rows, insert_id=days, token=f"{table}{days}")
        dropped = guard_disk(store, store.writer)
        assert [(each.table, each.rows) for each in dropped] == [
            ("file_events", 6), ("file_events", 3),
        ]  # fmt: skip
        assert store.writer.rows("SELECT count() FROM tenwatch.file_events") == [(3,)]
        assert store.writer.rows("SELECT count() FROM tenwatch.losses") == [(12,)]


def test_a_disk_with_room_costs_nothing(store: Store, insert: Any) -> None:
    insert("file_events", [{"ts": "2026-01-01T00:00:00.000000Z", "seq": 1}])
    assert guard_disk(store, store.writer) == []


@pytest.mark.parametrize("days", [0, 3])
def test_rows_of_a_kept_day_survive_a_reopening(tmp_path: Any, days: int) -> None:
    settings = StoreSettings(path=str(tmp_path / "store"), fsync=False)
    moment = text(datetime.now(UTC) - timedelta(days=days))
    with Store(settings) as store:
        apply_schema(store)
        line = b'{"ts":"%s","seq":1}\n' % moment.encode()
        store.writer.insert_lines("file_events", line, insert_id=1, token="a")
    with Store(settings) as store:
        assert apply_schema(store) == []
        assert store.writer.rows("SELECT count() FROM tenwatch.files") == [(1,)]

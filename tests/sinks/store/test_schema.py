"""The schema: applied once, safe to repeat, explained, and the same source for every store."""

import re
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from sinks.errors import SchemaError, StoreLockedError
from sinks.store.client import Client, Store
from sinks.store.migrations import (
    FOLDER,
    apply_schema,
    load_migrations,
    rendered_schema,
    schema_status,
)
from sinks.store.settings import DEFAULT_RETENTION, StoreSettings
from stream.contract.bucket_metrics import BUCKET_METRICS
from stream.contract.kinds import KINDS

PUBLIC_COLUMNS = {
    "common": "ts node boot seq namespace pod pod_uid container container_id workload_kind "
    "workload course division student assignment resolved",
    "processes": "action pid ppid uid exec_id parent_exec_id comm exe argv argv_truncated cwd "
    "hostname cgroup start_ts duration_us exit_code signal core_dumped class purpose sources "
    "target degraded",
    "files": "action path old_path size mtime hash lines writer_pid writer_exec_id truncated",
    "snapshots": "path hash size encoding content",
    "hostpaths": "action root path type size mtime mode entries",
    "cgroups": "scope cgroup cpu_usage_us cpu_user_us cpu_system_us cpu_throttled_us memory_bytes "
    "memory_working_set_bytes memory_limit_bytes oom_kills io_read_bytes io_write_bytes "
    "io_read_ops io_write_ops net_rx_bytes net_tx_bytes pids",
}
VIEWS = [*PUBLIC_COLUMNS, "builds", "runs", "buckets", "pods", "nodes", "loss", "dead"]
VIEWS.remove("common")


def described(client: Client, view: str) -> dict[str, str]:
    return {row[0]: row[4] for row in client.rows(f"DESCRIBE TABLE tenwatch.{view}")}


def test_every_column_that_people_see_is_explained(store: Store) -> None:
    for name, engine in store.writer.rows(
        "SELECT name, engine FROM system.tables WHERE database = 'tenwatch'"
    ):
        if engine == "MaterializedView":
            continue
        unexplained = [column for column, text in described(store.writer, name).items() if not text]
        assert not unexplained, f"{name}: {unexplained}"


def test_the_public_names_are_columns_of_the_views(store: Store) -> None:
    for view, names in PUBLIC_COLUMNS.items():
        if view == "common":
            continue
        columns = set(described(store.writer, view))
        assert {*PUBLIC_COLUMNS["common"].split(), *names.split()} <= columns, view
    loss = "stage kind reason count boot first_seq last_seq first_ts last_ts"
    assert set(loss.split()) <= set(described(store.writer, "loss"))
    shared = "kind scope window_start window_end final version late samples"
    buckets = set(described(store.writer, "buckets"))
    assert set(shared.split()) <= buckets
    assert {metric.name for metric in BUCKET_METRICS} <= buckets


def test_every_field_of_every_kind_of_event_has_a_column(store: Store) -> None:
    tables = {
        "process": "process_events", "file": "file_events", "snapshot": "snapshot_events",
        "hostpath": "hostpath_events", "cgroup": "cgroup_samples", "pod": "pod_events",
        "progress": "progress", "loss": "losses",
    }  # fmt: skip
    for kind, definition in KINDS.items():
        columns = set(described(store.writer, tables[kind]))
        missing = set(definition.event.__struct_fields__) - columns
        assert not missing, f"{kind}: {missing}; add a migration with these columns"


def test_applying_again_does_nothing_and_status_says_so(store: Store) -> None:
    assert apply_schema(store) == []
    assert {item.state for item in schema_status(store)} == {"applied"}


def test_two_that_apply_at_once_do_no_harm(tmp_path: Path) -> None:
    with Store(StoreSettings(path=str(tmp_path / "store"), fsync=False)) as store:
        errors: list[BaseException] = []

        class Other:
            """The same engine by a connection of its own, as another replica has."""

            settings = store.settings
            database = store.database

            def __init__(self) -> None:
                self.writer = store._client()

        def apply(other: Any) -> None:
            try:
                apply_schema(other)
            except BaseException as error:
                errors.append(error)

        others = [Other() for _ in range(3)]
        threads = [threading.Thread(target=apply, args=(other,)) for other in others]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for other in others:
            other.writer.close()
        assert errors == []
        assert {item.state for item in schema_status(store)} == {"applied"}
        assert apply_schema(store) == []


def test_an_edited_migration_and_a_newer_store_are_refused(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    shutil.copytree(FOLDER, folder)
    first = folder / "0001_ledger.sql"
    first.write_text(first.read_text().replace("first_seq UInt64", "first_seq UInt32"))
    with pytest.raises(SchemaError, match="0001_ledger was edited after"):
        apply_schema(store, folder)
    count = len(load_migrations())
    sorted(folder.glob("*.sql"))[-1].unlink()
    with pytest.raises(SchemaError, match=f"migration {count} and this program knows {count - 1}"):
        apply_schema(store, folder)


def test_a_new_migration_and_a_changed_view_are_applied(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    shutil.copytree(FOLDER, folder)
    (folder / f"{len(load_migrations()) + 1:04d}_more.sql").write_text(
        "ALTER TABLE ${table:file_events} ADD COLUMN IF NOT EXISTS extra String COMMENT 'More';\n"
    )
    view = folder / "views" / "20_files.sql"
    view.write_text(view.read_text().replace("old_path,", "old_path, extra,"))
    states = {item.name: item.state for item in schema_status(store, folder)}
    assert (states["more"], states["files"], states["runs"]) == ("pending", "changed", "applied")
    assert [item.name for item in apply_schema(store, folder)] == ["more", "files"]
    assert described(store.writer, "files")["extra"] == "More"


def test_a_view_that_leaves_a_column_unexplained_is_refused(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    shutil.copytree(FOLDER, folder)
    (folder / "views" / "99_odd.sql").write_text("-- Odd.\nSELECT 1 AS riddle\n")
    with pytest.raises(SchemaError, match="explains no column riddle"):
        apply_schema(store, folder)


def test_retention_follows_the_settings(tmp_path: Path) -> None:
    def days(store: Store, table: str) -> list[str]:
        statement = store.writer.value(
            "SELECT create_table_query FROM system.tables "
            "WHERE database = 'tenwatch' AND name = {table:String}",
            {"table": table},
        )
        return re.findall(r"toIntervalDay\((\d+)\)", str(statement))

    path = str(tmp_path / "store")
    with Store(StoreSettings(path=path, fsync=False)) as store:
        apply_schema(store)
        for table, kept in DEFAULT_RETENTION.items():
            assert days(store, table) == [str(kept)], table
    changed = {"file_events": 5, "cgroup_samples": 0}
    with Store(StoreSettings(path=path, fsync=False, retention_days=changed)) as store:
        apply_schema(store)
        assert days(store, "file_events") == ["5"]
        assert days(store, "cgroup_samples") == []
        assert days(store, "losses") == [str(DEFAULT_RETENTION["losses"])]
    with (
        Store(StoreSettings(path=path, fsync=False, retention_days={"files": 5})) as store,
        pytest.raises(SchemaError, match="'files', which keeps no rows by time"),
    ):
        apply_schema(store)


@pytest.mark.parametrize(
    "settings",
    [
        StoreSettings(path="/x"),
        StoreSettings(url="http://clickhouse:8123"),
        StoreSettings(url="http://clickhouse:8123", cluster="main"),
    ],
    ids=lambda settings: settings.target,
)
def test_the_engine_parses_the_schema_of_every_target(
    store: Store, settings: StoreSettings
) -> None:
    statements = rendered_schema(settings)
    for statement in statements:
        assert "${" not in statement
        # Parsed, not run: there is no cluster here.
        assert store.writer.value("SELECT formatQuery({sql:String})", {"sql": statement})
    tables = [each for each in statements if re.match(r"CREATE TABLE .*\n\(", each)]
    if settings.cluster:
        assert all("ON CLUSTER `main`" in each for each in statements)
        assert all("ENGINE = Replicated" in each for each in tables)
        assert sum("ENGINE = Distributed(`main`" in each for each in statements) >= len(tables) - 2
        assert all("_local` ON CLUSTER" in each for each in tables)
    else:
        assert not any("Replicated" in each or "Distributed" in each for each in statements)


def test_a_folder_that_is_open_already_names_its_holder(store: Store) -> None:
    with pytest.raises(StoreLockedError, match=r"is open in process \d+"):
        Store(store.settings)
    # Refused, it took nothing away from the first.
    assert store.writer.value("SELECT 1") == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (StoreSettings(), "no store is named"),
        (StoreSettings(path="/x", url="http://x"), "both store.path and store.url"),
        (StoreSettings(path="/x", database="default"), "can't be used"),
        (StoreSettings(path="/x", database="a; DROP"), "can't be used"),
    ],
)
def test_settings_that_make_no_store_are_refused(settings: StoreSettings, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        Store(settings)

"""Brings the schema of a store to what this program needs: forward only, and safe to repeat.

Numbered files are applied once, in order, and recorded; every statement in them may run twice, so
two replicas that start at once do no harm. After them come the metric columns of bucket rows, the
views and the retention, each only where something differs.
"""

import hashlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from sinks.errors import SchemaError
from sinks.store import metrics
from sinks.store.client import Client, Store, columns_of, quoted
from sinks.store.settings import DEFAULT_RETENTION, StoreSettings
from sinks.store.template import Template, with_fragments
from sinks.store.views import create_view, load_views
from stream.contract.bucket_metrics import BUCKET_METRICS

_log = logging.getLogger("tenwatch.sink.store")
FOLDER: Final = Path(__file__).resolve().parent.parent / "migrations"
_FILE: Final = re.compile(r"(\d{4})_(\w+)\.sql")
_RECORD: Final = """
CREATE TABLE IF NOT EXISTS ${table:schema_migrations}
(
    version UInt32 COMMENT 'Number of the migration; 0 for a view',
    name String COMMENT 'Name of the migration or view',
    checksum String COMMENT 'Of its text',
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When it was applied, UTC'
)
ENGINE = ${engine:ReplacingMergeTree(applied_at)}
ORDER BY (version, name)
COMMENT 'Migrations and views that this database has; read it with FINAL';
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file."""

    version: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """Of the text with its fragments: what the file says, not what a store makes of it."""
        return hashlib.sha256(with_fragments(self.text, FOLDER).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class SchemaItem:
    """One migration or view, and whether the store has it."""

    version: int
    name: str
    state: Literal["applied", "pending", "changed", "unknown"]
    """``changed``: a view that will be replaced. ``unknown``: of a newer program."""


def load_migrations(folder: Path = FOLDER) -> list[Migration]:
    """All migrations in order; raises ``SchemaError`` if the numbers have a gap or repeat."""
    found = []
    for path in sorted(folder.glob("*.sql")):
        match = _FILE.fullmatch(path.name)
        if match is None:
            raise SchemaError(f"{path.name} is not named like 0001_name.sql")
        found.append(Migration(int(match[1]), match[2], path.read_text(encoding="utf-8")))
    if [each.version for each in found] != list(range(1, len(found) + 1)):
        raise SchemaError(f"the numbers of the migrations in {folder} are not 1, 2, 3 …")
    return found


def schema_template(settings: StoreSettings, folder: Path = FOLDER) -> Template:
    """The template of migrations and views for one store."""
    return Template(
        settings,
        folder,
        {
            "metrics": metrics.plain,
            "metrics_over_nodes": metrics.over_nodes,
            "metrics_over_windows": metrics.over_windows,
        },
    )


def rendered_schema(settings: StoreSettings, folder: Path = FOLDER) -> list[str]:
    """All statements of the numbered migrations for a store, in order, without running them."""
    template = schema_template(settings, folder)
    return [
        statement
        for text in [_RECORD, *(each.text for each in load_migrations(folder))]
        for statement in template.statements(text)
    ]


def schema_status(store: Store, folder: Path = FOLDER) -> list[SchemaItem]:
    """Every migration and view with its state; changes nothing."""
    recorded = _recorded(store.writer, store.settings.database)
    items = []
    for migration in load_migrations(folder):
        key = (migration.version, migration.name)
        items.append(SchemaItem(*key, "applied" if recorded.pop(key, None) else "pending"))
    for view in load_views(folder / "views", schema_template(store.settings, folder)):
        checksum = recorded.pop((0, view.name), None)
        state: Literal["applied", "pending", "changed"] = (
            "pending" if checksum is None
            else "applied" if checksum == view.checksum
            else "changed"
        )  # fmt: skip
        items.append(SchemaItem(0, view.name, state))
    items += [SchemaItem(version, name, "unknown") for version, name in recorded]
    return items


def apply_schema(store: Store, folder: Path = FOLDER) -> list[SchemaItem]:
    """Apply what is missing and give what was done; nothing when all is there.

    Raises ``SchemaError`` when an applied migration has been edited since, or when the store was
    migrated by a newer program.
    """
    client, settings = store.writer, store.settings
    template = schema_template(settings, folder)
    client.command(f"CREATE DATABASE IF NOT EXISTS {store.database}{template.on_cluster}")
    for statement in template.statements(_RECORD):
        client.command(statement)
    recorded = _recorded(client, settings.database)
    migrations = load_migrations(folder)
    newest = max((version for version, _ in recorded), default=0)
    if newest > len(migrations):
        raise SchemaError(
            f"the store has migration {newest} and this program knows {len(migrations)}; "
            "run the newer program, migrations only go forward"
        )
    done = []
    for migration in migrations:
        key = (migration.version, migration.name)
        if (checksum := recorded.get(key)) is None:
            for statement in template.statements(migration.text):
                client.command(statement)
            _record(client, template, migration.version, migration.name, migration.checksum)
            done.append(SchemaItem(*key, "applied"))
        elif checksum != migration.checksum:
            raise SchemaError(
                f"the migration {migration.version:04d}_{migration.name} was edited after it had "
                "been applied to this store; undo the edit and add a new migration"
            )
    _add_metrics(client, settings, template)
    for view in load_views(folder / "views", template):
        if recorded.get((0, view.name)) != view.checksum:
            create_view(client, settings.database, view, template)
            _record(client, template, 0, view.name, view.checksum)
            done.append(SchemaItem(0, view.name, "applied"))
    apply_retention(client, settings, template)
    if done:
        _log.info("schema: applied %s", ", ".join(each.name for each in done))
    return done


def _recorded(client: Client, database: str) -> dict[tuple[int, str], str]:
    if not columns_of(client, database, "schema_migrations"):
        return {}
    return {
        (int(version), str(name)): str(checksum)
        for version, name, checksum in client.rows(
            f"SELECT version, name, checksum FROM {quoted(database)}.schema_migrations FINAL"
        )
    }


def _record(client: Client, template: Template, version: int, name: str, checksum: str) -> None:
    client.command(
        f"INSERT INTO {template.local('schema_migrations')} (version, name, checksum) "
        f"VALUES ({version:d}, '{name}', '{checksum}')"
    )


def _add_metrics(client: Client, settings: StoreSettings, template: Template) -> None:
    for table in metrics.TABLES:
        present = {name for name, _, _ in columns_of(client, settings.database, table)}
        missing = [metric for metric in BUCKET_METRICS if metric.name not in present]
        if not missing:
            continue
        added = ",\n".join(
            f"ADD COLUMN IF NOT EXISTS {metrics.column_definition(metric)}" for metric in missing
        )
        client.command(f"ALTER TABLE {template.local(table)}{template.on_cluster}\n{added}")
        if settings.cluster:
            client.command(
                f"ALTER TABLE {quoted(settings.database)}.{quoted(table)}"
                f"{template.on_cluster}\n{added}"
            )


def apply_retention(client: Client, settings: StoreSettings, template: Template) -> None:
    """Give each table the time to live that the settings say; rows past it go with their part."""
    for table in settings.retention_days:
        if table not in DEFAULT_RETENTION:
            raise SchemaError(
                f"store.retention_days names {table!r}, which keeps no rows by time; "
                f"the tables are {', '.join(DEFAULT_RETENTION)}"
            )
    current = dict(
        client.rows(
            "SELECT name, create_table_query FROM system.tables WHERE database = {database:String}",
            {"database": settings.database},
        )
    )
    for table in DEFAULT_RETENTION:
        days = settings.retention(table)
        local = f"{table}_local" if settings.cluster else table
        statement = str(current.get(local, ""))
        column = _time_column(table)
        found = re.search(r"\bTTL\s+\S.*?toIntervalDay\((\d+)\)", statement)
        if (int(found[1]) if found else 0) == days:
            continue
        change = (
            f"MODIFY TTL toDateTime({column}) + INTERVAL {days:d} DAY" if days else "REMOVE TTL"
        )
        client.command(
            f"ALTER TABLE {template.local(table)}{template.on_cluster} {change}",
            settings={"materialize_ttl_after_modify": 0},
        )


def _time_column(table: str) -> str:
    if table.startswith("buckets_"):
        return "window_start"
    return "inserted_at" if table == "ledger" else "ts"

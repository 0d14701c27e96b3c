"""What ``tenwatch schema`` does."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from sinks.store.client import Store
from sinks.store.migrations import apply_schema, rendered_schema, schema_status
from sinks.store.settings import StoreSettings
from stream.settings import Configuration
from tenwatch.embedded.data_folder import DataFolder
from tenwatch.embedded.instance import find_instance
from tenwatch.sql_client import Result
from tenwatch.tables import print_table


def open_store(config: Path | None, data: Path | None) -> Store:
    """The server that the configuration names, else the running instance, as administrator."""
    configuration = Configuration.load(config)
    settings = configuration.section("store", StoreSettings)
    if not settings.url:
        instance = find_instance(data)
        admin = DataFolder(Path(instance.data)).secrets / "admin.json"
        settings = configuration.section(
            "store",
            StoreSettings,
            {"path": "", "url": instance.sql, "credentials_file": str(admin)},
        )
    return Store(settings)


def show_status(config: Path | None, data: Path | None, *, as_json: bool) -> int:
    """Print every migration and view; 1 if one isn't applied."""
    with open_store(config, data) as store:
        items = schema_status(store)
    if as_json:
        print(json.dumps([asdict(item) for item in items]))
    else:
        rows = [
            [f"{item.version:04d}" if item.version else "view", item.name, item.state]
            for item in items
        ]
        print_table(Result(["migration", "name", "state"], ["String"] * 3, rows))
    return int(any(item.state != "applied" for item in items))


def apply_missing(config: Path | None, data: Path | None, *, as_json: bool) -> None:
    """Apply what is missing, and say what was done."""
    with open_store(config, data) as store:
        done = apply_schema(store)
    if as_json:
        print(json.dumps([asdict(item) for item in done]))
        return
    for item in done:
        print(f"applied {f'{item.version:04d}' if item.version else 'view'} {item.name}")
    if not done:
        print("nothing to do: the schema is what this program needs")


def print_statements(config: Path | None, cluster: str | None) -> None:
    """All statements, each ended by a semicolon."""
    flags = {"cluster": cluster}
    settings = Configuration.load(config).section("store", StoreSettings, flags)
    for statement in rendered_schema(settings):
        sys.stdout.write(statement + ";\n\n")

"""Turns one SQL source into the form for an embedded store, a server or a cluster.

``${table:name}``         the table with the rows: ``name``, on a cluster ``name_local ON CLUSTER``
``${local:name}``         the same in a SELECT, without ON CLUSTER
``${view:name}``          a view, ON CLUSTER where there is one
``${name:name}``          what people ask: ``name``, on a cluster the distributed table
``${engine:MergeTree}``   the engine, on a cluster its Replicated form
``${settings}``           the settings of a table that events are inserted into
``${distributed:n:key}``  on a cluster the Distributed table over ``n_local``; else nothing
``${include:file a b}``   a file of the folder ``fragments``, with ``@1`` and ``@2`` replaced
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from sinks.errors import SchemaError
from sinks.store.client import quoted
from sinks.store.settings import StoreSettings

_PLACE: Final = re.compile(r"\$\{(\w+)(?::([^}]*))?\}")
_INCLUDE: Final = re.compile(r"\$\{include:([^}]*)\}")
_COMMENT: Final = re.compile(r"^\s*--.*$", re.MULTILINE)
DEDUPLICATION_WINDOW: Final = 10_000
"""Inserts whose token a table remembers; more than a sink can make between two of its retries."""


class Template:
    """Renders SQL for one store."""

    def __init__(
        self,
        settings: StoreSettings,
        folder: Path,
        places: Mapping[str, Callable[[], str]] | None = None,
    ) -> None:
        """``places`` are further words without an argument, and what makes their text."""
        self._settings = settings
        self._folder = folder
        self._places = places or {}

    def statements(self, text: str) -> list[str]:
        """The statements of a file, rendered. A statement ends with ``;`` at the end of a line."""
        plain = _COMMENT.sub("", self.render(text))
        return [each.strip() for each in re.split(r";[ \t]*(?:\n|$)", plain) if each.strip()]

    def render(self, text: str) -> str:
        """Fill every place; raises ``SchemaError`` for one that doesn't exist."""
        return _PLACE.sub(lambda found: self._fill(found[1], found[2] or ""), text)

    def local(self, table: str) -> str:
        """The table that holds rows on this server, quoted, with its database."""
        name = f"{table}_local" if self._settings.cluster else table
        return f"{quoted(self._settings.database)}.{quoted(name)}"

    @property
    def on_cluster(self) -> str:
        """The clause for statements about the schema; empty without a cluster."""
        return f" ON CLUSTER {quoted(self._settings.cluster)}" if self._settings.cluster else ""

    def _fill(self, word: str, argument: str) -> str:
        match word:
            case "table":
                return self.local(argument) + self.on_cluster
            case "local":
                return self.local(argument)
            case "view":
                return f"{self._name(argument)}{self.on_cluster}"
            case "name":
                return self._name(argument)
            case "engine":
                return self._engine(argument)
            case "settings":
                return self._table_settings()
            case "distributed":
                table, _, key = argument.partition(":")
                return self._distributed(table, key)
            case "include":
                return self.render(_fragment(argument, self._folder))
            case _ if word in self._places:
                return self._places[word]()
        raise SchemaError(f"the place ${{{word}}} of a SQL file is not known")

    def _name(self, name: str) -> str:
        return f"{quoted(self._settings.database)}.{quoted(name)}"

    def _engine(self, engine: str) -> str:
        if not self._settings.cluster:
            return engine
        name, _, arguments = engine.partition("(")
        inner = arguments.removesuffix(")")
        return f"Replicated{name}(" + ", ".join(
            ["'/clickhouse/tables/{uuid}/{shard}'", "'{replica}'", *([inner] if inner else [])]
        ) + ")"  # fmt: skip

    def _table_settings(self) -> str:
        settings = {
            "non_replicated_deduplication_window": DEDUPLICATION_WINDOW,
            "ttl_only_drop_parts": 1,
            "fsync_after_insert": int(self._settings.fsync),
            "fsync_part_directory": int(self._settings.fsync),
            # Merged and erased parts go soon: new ones are on disk before they take their place.
            "old_parts_lifetime": 60,
        }
        if self._settings.cluster:
            settings.pop("non_replicated_deduplication_window")
            settings["replicated_deduplication_window"] = DEDUPLICATION_WINDOW
        return "SETTINGS\n" + ",\n".join(
            f"    {name} = {value}" for name, value in settings.items()
        )

    def _distributed(self, table: str, key: str) -> str:
        if not self._settings.cluster:
            return ""
        database = self._settings.database
        return (
            f"CREATE TABLE IF NOT EXISTS {self._name(table)}{self.on_cluster} "
            f"AS {self.local(table)}\n"
            f"ENGINE = Distributed({quoted(self._settings.cluster)}, {quoted(database)}, "
            f"{quoted(table + '_local')}, {key});"
        )


def with_fragments(text: str, folder: Path) -> str:
    """The text with its fragments in it, and nothing else filled."""
    return _INCLUDE.sub(lambda found: with_fragments(_fragment(found[1], folder), folder), text)


def _fragment(argument: str, folder: Path) -> str:
    name, *given = argument.split()
    text = (folder / "fragments" / f"{name}.sql").read_text(encoding="utf-8")
    for number, value in enumerate(given, 1):
        text = text.replace(f"@{number}", value)
    return text.rstrip("\n")

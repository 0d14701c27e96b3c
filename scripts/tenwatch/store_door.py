"""The store behind an HTTP endpoint, in the form in which the packages of ``sinks`` ask it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tenwatch.sql_client import SqlClient


@dataclass(frozen=True, slots=True)
class StoreDoor:
    """What :class:`sinks.store.asking.Asks` and :class:`sinks.forget.erase.Writes` want.

    Numbers of 64 bits come as text and times as ClickHouse writes them, in UTC.
    """

    client: SqlClient

    def rows(
        self, statement: str, parameters: Mapping[str, Any] | None = None
    ) -> Sequence[Sequence[Any]]:
        """All rows of a query."""
        return self.client.rows(statement, parameters).data

    def command(
        self,
        statement: str,
        parameters: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Run a statement without a result."""
        self.client.execute(statement, parameters, settings)

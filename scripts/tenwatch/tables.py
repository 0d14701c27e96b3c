"""Results as tables on a terminal."""

import sys
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tenwatch.sql_client import Result

PLAIN_WIDTH = 200
"""Columns of a table that goes to a file or a pipe."""
_NUMBERS = ("UInt", "Int", "Float", "Decimal")


def is_number(clickhouse_type: str) -> bool:
    """Whether values of this type are aligned to the right."""
    inner = clickhouse_type.removeprefix("Nullable(").removeprefix("LowCardinality(")
    return inner.startswith(_NUMBERS)


def shown(value: Any) -> Text:
    """One value as a cell; what is missing is a dim dash, control characters are escaped."""
    if value is None:
        return Text("-", style="dim")
    if isinstance(value, list):
        value = " ".join(str(each) for each in value)
    text = str(value)
    return Text("".join(c if c.isprintable() else repr(c)[1:-1] for c in text))


def print_table(result: Result, console: Console | None = None) -> None:
    """Print all rows and their number."""
    console = console or Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name, type_name in zip(result.columns, result.types, strict=True):
        table.add_column(name, justify="right" if is_number(type_name) else "left", overflow="fold")
    for row in result.data:
        table.add_row(*(shown(value) for value in row))
    console.print(table)
    console.print(f"{len(result.data)} rows", style="dim")

"""The views that people ask: built from ``migrations/views/*.sql``, with a comment on every column.

A file begins with comment lines: what the view is, then ``-- @name: comment`` for each column that
its tables don't explain. The rest is one SELECT.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sinks.errors import SchemaError
from sinks.store.client import Client, columns_of, quoted
from sinks.store.template import Template

_SOURCE: Final = re.compile(r"`\w+`\.`(\w+)`")
_COLUMN: Final = re.compile(r"^--\s*@(\w+):\s*(.+)$")


@dataclass(frozen=True, slots=True)
class View:
    """One view: its name, what it is, its SELECT, and comments of its own columns."""

    name: str
    description: str
    select: str
    comments: dict[str, str]
    sources: tuple[str, ...]
    """Tables and views that it reads; their comments explain its columns, too."""

    @property
    def checksum(self) -> str:
        """Changes when any of it does."""
        text = repr((self.name, self.description, self.select, sorted(self.comments.items())))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def load_views(folder: Path, template: Template) -> list[View]:
    """All views of a folder, in order of the file names (``10_processes.sql``)."""
    return [_read(path, template) for path in sorted(folder.glob("*.sql"))]


def _read(path: Path, template: Template) -> View:
    description: list[str] = []
    comments: dict[str, str] = {}
    body: list[str] = []
    last = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if body or not line.startswith("--"):
            body.append(line)
        elif found := _COLUMN.match(line):
            last = found[1]
            comments[last] = found[2].strip()
        elif last:
            comments[last] += " " + line.removeprefix("--").strip()
        else:
            description.append(line.removeprefix("--").strip())
    name = path.stem.partition("_")[2]
    select = template.render("\n".join(body)).strip().rstrip(";")
    sources = tuple(dict.fromkeys(_SOURCE.findall(select)))
    return View(name, " ".join(description), select, comments, sources)


def create_view(client: Client, database: str, view: View, template: Template) -> None:
    """Create or replace the view; raises ``SchemaError`` if a column has no comment."""
    known = {
        column: comment
        for source in reversed(view.sources)
        for column, _, comment in columns_of(client, database, source)
    }
    columns = []
    missing = []
    for name, kind, *_ in client.rows(f"DESCRIBE TABLE ({view.select})"):
        comment = view.comments.get(name) or known.get(name, "")
        if not comment:
            missing.append(name)
        columns.append(f"    {quoted(name)} {kind} COMMENT {_text(comment)}")
    if missing:
        raise SchemaError(
            f"the view {view.name} explains no column {', '.join(missing)}; "
            "add a line '-- @name: comment' to its file"
        )
    client.command(
        f"CREATE OR REPLACE VIEW {quoted(database)}.{quoted(view.name)}{template.on_cluster}\n(\n"
        + ",\n".join(columns)
        + f"\n)\nAS {view.select}\nCOMMENT {_text(view.description)}"
    )


def _text(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

"""Named queries: one SQL file per question, with what it is and its parameters at the top.

::

    -- title: Files of a student's assignment
    -- questions: 1
    -- param student String: Student
    -- param since DateTime64(6, 'UTC') = -180d: Begin, a time in UTC or like -2h
    -- More about it, in as many lines as it takes.
    SELECT …  WHERE student = {student:String}

A parameter is bound by the server under its ClickHouse type, never put into the text. One without
``=`` must be given. Times may be relative to now: ``-90s``, ``-15m``, ``-2h``, ``-7d``, ``now``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Final

from sinks.errors import QueryFileError

_FOLDER: Final = Path(__file__).resolve().parent
_HEADER: Final = re.compile(r"--\s*(title|questions):\s*(.+)")
_PARAMETER: Final = re.compile(r"--\s*param\s+(\w+)\s+([^=:]+?)(?:\s*=\s*(.*?))?:\s+(.+)")
_RELATIVE: Final = re.compile(r"-(\d{1,9})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True)
class QueryParameter:
    """One parameter of a named query."""

    name: str
    type: str
    """ClickHouse type, like ``String`` or ``DateTime64(6, 'UTC')``."""
    default: str | None
    """As a person would give it; None when it must be given."""
    help: str

    @property
    def is_time(self) -> bool:
        """Whether it is a time, which may be given relative to now."""
        return self.type.startswith("DateTime")


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """One file."""

    name: str
    title: str
    questions: tuple[int, ...]
    """Numbers of the questions that it answers; see ``docs/reference``."""
    description: str
    parameters: tuple[QueryParameter, ...]
    sql: str

    def bind(
        self, values: Mapping[str, str] | None = None, now: datetime | None = None
    ) -> dict[str, str]:
        """The parameters to send with :attr:`sql`: the given values, and defaults for the rest.

        Raises ``QueryFileError`` for an unknown parameter, a missing one, or a malformed time.
        """
        given = dict(values or {})
        known = {each.name for each in self.parameters}
        for name in given:
            if name not in known:
                raise QueryFileError(
                    f"{self.name} has no parameter {name!r}; "
                    f"it has {', '.join(sorted(known)) or 'none'}"
                )
        bound = {}
        for parameter in self.parameters:
            value = given.get(parameter.name, parameter.default)
            if value is None:
                raise QueryFileError(
                    f"{self.name} needs {parameter.name} ({parameter.help}); "
                    f"give it as {parameter.name}=…"
                )
            bound[parameter.name] = _time(value, parameter, now) if parameter.is_time else value
        return bound


@cache
def named_queries() -> dict[str, NamedQuery]:
    """All of them, by name."""
    return {path.stem: _read(path) for path in sorted(_FOLDER.glob("*.sql"))}


def named_query(name: str) -> NamedQuery:
    """One of them; raises ``QueryFileError`` naming all for a name that is none."""
    try:
        return named_queries()[name]
    except KeyError:
        raise QueryFileError(
            f"there is no query {name!r}; there are {', '.join(named_queries())}"
        ) from None


def _read(path: Path) -> NamedQuery:
    header: dict[str, str] = {}
    parameters: list[QueryParameter] = []
    description: list[str] = []
    body: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if body or not line.startswith("--"):
            body.append(line)
        elif found := _HEADER.fullmatch(line):
            header[found[1]] = found[2]
        elif found := _PARAMETER.fullmatch(line):
            name, kind, default, text = found.groups()
            value = default.strip("'") if default is not None else None
            parameters.append(QueryParameter(name, kind, value, text))
        else:
            description.append(line.removeprefix("--").strip())
    if not header.get("title") or not header.get("questions"):
        raise QueryFileError(f"{path.name} has no title or questions at its top")
    return NamedQuery(
        name=path.stem,
        title=header["title"],
        questions=tuple(int(number) for number in header["questions"].split(",")),
        description=" ".join(description),
        parameters=tuple(parameters),
        sql="\n".join(body).strip(),
    )


def _time(text: str, parameter: QueryParameter, now: datetime | None) -> str:
    """A time as the server reads it, in UTC."""
    if text == "now":
        moment = now or datetime.now(UTC)
    elif found := _RELATIVE.fullmatch(text):
        moment = (now or datetime.now(UTC)) - timedelta(**{_UNITS[found[2]]: int(found[1])})
    else:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise QueryFileError(
                f"{parameter.name}={text!r} is not a time; give one like 2026-01-02T03:04:05Z "
                "(UTC), now, -90s, -15m, -2h or -7d"
            ) from None
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    form = "%Y-%m-%d %H:%M:%S.%f" if "64" in parameter.type else "%Y-%m-%d %H:%M:%S"
    return moment.strftime(form)

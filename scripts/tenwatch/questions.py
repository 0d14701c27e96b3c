"""What ``tenwatch query`` was asked: a prepared question with its parameters, or free SQL."""

import re
from collections.abc import Sequence
from typing import TextIO

from sinks.errors import QueryFileError
from sinks.queries import NamedQuery, named_queries, named_query
from tenwatch.errors import UsageError

_NAME = re.compile(r"[a-z][a-z0-9_]*")


def resolve(question: str, given: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The SQL and the parameters to bind; raises :class:`UsageError`."""
    values: dict[str, str] = {}
    for each in given:
        name, separator, value = each.partition("=")
        if not separator or not name.isidentifier():
            raise UsageError(f"--param {each!r} is not NAME=VALUE")
        values[name] = value
    if not _NAME.fullmatch(question):
        return question, values
    try:
        query = named_query(question)
        return query.sql, query.bind(values)
    except QueryFileError as error:
        raise UsageError(str(error)) from None


def list_all(out: TextIO) -> None:
    """Every prepared question with its parameters."""
    for query in named_queries().values():
        out.write(f"{query.name}\n    {query.title}\n")
        out.writelines(f"      {line}\n" for line in _parameters(query))


def _parameters(query: NamedQuery) -> list[str]:
    width = max((len(each.name) for each in query.parameters), default=0)
    return [
        f"{each.name:{width}}  {each.help}"
        + (f" (default {each.default or 'empty'})" if each.default is not None else " (needed)")
        for each in query.parameters
    ]

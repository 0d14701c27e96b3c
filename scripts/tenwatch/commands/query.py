"""``tenwatch query``: free SQL, or a prepared question by name."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """How a result is written."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    markdown = "markdown"


def run(
    question: Annotated[
        str | None, typer.Argument(help="SQL, or a prepared question's name. None lists them.")
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", metavar="NAME=VALUE", help="Bind a parameter; repeatable."),
    ] = None,
    output: Annotated[
        Format | None,
        typer.Option("--format", "-f", help="Default: table on a terminal, jsonl elsewhere."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Data folder of the instance.", envvar="TENWATCH_DATA")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Ask this ClickHouse HTTP endpoint instead.")
    ] = None,
) -> None:
    """Ask by SQL, or by the name of a prepared question.

    The views are in database tenwatch: processes, files, buckets, loss and more;
    'tenwatch query "DESCRIBE tenwatch.processes"' explains the columns of one.

    Example: tenwatch query "SELECT argv, exit_code FROM tenwatch.processes
    WHERE exit_code != 0 ORDER BY ts DESC LIMIT 5"
    """
    from tenwatch import questions
    from tenwatch.access import open_sql

    if question is None:
        questions.list_all(sys.stdout)
        return
    sql, bound = questions.resolve(question, parameter or [])
    client = open_sql(data, url)
    chosen = output or (Format.table if sys.stdout.isatty() else Format.jsonl)
    if chosen is Format.table:
        from tenwatch.tables import print_table

        print_table(client.rows(sql, bound))
        return
    formats = {
        Format.json: "JSON",
        Format.jsonl: "JSONEachRow",
        Format.csv: "CSVWithNames",
        Format.markdown: "Markdown",
    }
    for chunk in client.stream(sql, bound, formats[chosen]):
        sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()

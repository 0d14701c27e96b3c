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


def _complete_question(incomplete: str) -> list[tuple[str, str]]:
    from tenwatch.completion import questions

    return questions(incomplete)


def _complete_parameter(incomplete: str) -> list[tuple[str, str]]:
    from tenwatch.completion import parameters

    return parameters(incomplete)


def run(
    question: Annotated[
        str | None,
        typer.Argument(
            help="SQL, or a prepared question's name. None lists them.",
            autocompletion=_complete_question,
        ),
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "--param",
            "-p",
            metavar="NAME=VALUE",
            help="Bind a parameter; repeatable.",
            autocompletion=_complete_parameter,
        ),
    ] = None,
    output: Annotated[
        Format | None,
        typer.Option("--format", "-f", help="Default: table on a terminal, jsonl elsewhere."),
    ] = None,
    plot: Annotated[
        bool, typer.Option("--plot", help="Draw the numbers over time as sparklines.")
    ] = False,
    svg: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw them into an SVG file.")
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

    tenwatch query usage_series -p scope=node --plot
    """
    from tenwatch.access import open_sql
    from tenwatch.questions import list_all, resolve

    if question is None:
        list_all(sys.stdout)
        return
    sql, bound = resolve(question, parameter or [])
    client = open_sql(data, url)
    if plot or svg:
        from tenwatch.plotting import print_plot, write_svg

        result = client.rows(sql, bound)
        if svg:
            write_svg(result, svg)
        if plot:
            print_plot(result)
        return
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

"""``tenwatch top``: who uses what, right now."""

from enum import StrEnum
from typing import Annotated

import typer

from tenwatch.commands.options import DataOption, JsonOption, UrlOption


class Rows(StrEnum):
    """What a row is about."""

    node = "node"
    pod = "pod"
    workload = "workload"
    namespace = "namespace"
    student = "student"


class Sort(StrEnum):
    """What comes first."""

    cpu = "cpu"
    memory = "memory"
    io = "io"
    execs = "execs"
    failures = "failures"
    files = "files"
    name = "name"


COLUMNS = {
    Sort.cpu: "cpu_millicores", Sort.memory: "memory_bytes", Sort.io: "io_write",
    Sort.execs: "execs", Sort.failures: "failures", Sort.files: "file_changes", Sort.name: "name",
}  # fmt: skip


def run(
    by: Annotated[Rows, typer.Option(help="What a row is about.")] = Rows.node,
    sort: Annotated[Sort, typer.Option(help="The largest of it comes first.")] = Sort.cpu,
    text: Annotated[
        str, typer.Option("--filter", metavar="TEXT", help="Only rows whose name contains it.")
    ] = "",
    span: Annotated[
        int, typer.Option(min=10, max=3600, help="Seconds that counts and rates are over.")
    ] = 60,
    once: Annotated[
        bool, typer.Option("--once", help="Print once and end; the default without a terminal.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="With --once: at most so many.")] = None,
    as_json: JsonOption = False,
    data: DataOption = None,
    url: UrlOption = None,
) -> None:
    """Show CPU, memory, IO, network, execs, failures and file changes, anew every second.

    Keys: n p w s u choose what rows are about, c m i e f d a what comes first, / filters, q quits.
    The first line says how the pipeline is: events stored, delay, silent producers, loss.

    Example: tenwatch top --by pod --sort memory
    """
    import asyncio
    import sys

    from tenwatch.access import open_sql
    from tenwatch.watching.run import print_once, show_live
    from tenwatch.watching.usage import By
    from tenwatch.watching.view import Choice

    choice = Choice(sort=COLUMNS[sort], text=text)
    store = open_sql(data, url)
    if once or as_json or not (sys.stdout.isatty() and sys.stdin.isatty()):
        print_once(store, By(by.value), span, choice, limit, json_output=as_json)
    else:
        asyncio.run(show_live(store, By(by.value), span, choice))

"""``tenwatch audit``: is every event stored once, dead, or counted as lost?"""

from typing import Annotated

import typer

from tenwatch.commands.options import DataOption, JsonOption, UrlOption


def run(
    node: Annotated[str, typer.Option(help="Only this node.")] = "",
    kind: Annotated[str, typer.Option(help="Only this kind of events.")] = "",
    rows: Annotated[
        bool, typer.Option("--rows", help="Count the rows of the tables, too; reads every event.")
    ] = False,
    grace: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="What was announced so short a while ago may be on its way.",
        ),
    ] = 60,
    as_json: JsonOption = False,
    data: DataOption = None,
    url: UrlOption = None,
) -> None:
    """Prove that nothing is lost uncounted: balance what producers announced with the store.

    For each life of each producer every event must be stored once, be a dead letter, or be
    counted in a loss record. Exit code 0 only if all of it balances; an audit of nothing doesn't.

    Example: tenwatch audit --node worker-3 --rows
    """
    from sinks.audit import AuditOptions, run_audit
    from tenwatch.access import open_sql
    from tenwatch.auditing import print_json, print_report
    from tenwatch.store_door import StoreDoor

    options = AuditOptions(node=node, kind=kind, grace_seconds=grace, rows=rows)
    report = run_audit(StoreDoor(open_sql(data, url)), options)
    if as_json:
        print_json(report)
    else:
        print_report(report)
    raise typer.Exit(report.exit_code)

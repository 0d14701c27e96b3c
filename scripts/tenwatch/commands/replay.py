"""``tenwatch replay``: a time range through the worker again."""

from pathlib import Path
from typing import Annotated

import typer


def run(
    start: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="2026-01-02T03:04:05Z or -2h.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Default: now.")] = None,
    last: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Instead of both: the last 10m, 1h…")
    ] = None,
    kinds: Annotated[
        list[str] | None, typer.Option("--kind", help="Only this kind; repeatable.")
    ] = None,
    nodes: Annotated[
        list[str] | None, typer.Option("--node", help="Only this node; repeatable.")
    ] = None,
    speed: Annotated[str, typer.Option(help="1x, 10x, 0.5x or max.")] = "max",
    name: Annotated[str | None, typer.Option(help="Name of the run. Default: a new one.")] = None,
    source: Annotated[
        str,
        typer.Option(metavar="SOURCE", help="jetstream, clickhouse, or the folder of a recording."),
    ] = "jetstream",
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Compare with the live buckets; exit code 1 if not equal."),
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the run's streams for taps.")] = False,
    remove: Annotated[
        str | None, typer.Option(metavar="RUN", help="Remove a run and all that it left.")
    ] = None,
    list_runs: Annotated[bool, typer.Option("--list", help="List the runs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
    config: Annotated[
        Path | None, typer.Option(help="Configuration file (YAML).", envvar="TENWATCH_CONFIG")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Data folder of the instance.", envvar="TENWATCH_DATA")
    ] = None,
) -> None:
    """Feed a time range through the worker again, into a run of its own.

    A run has its own subjects, streams, worker and rows (table tenwatch.replay_buckets); nothing
    live is touched. The log is fed from its beginning, so that joins and counters know what they
    knew; the range says which windows are kept.

    Example: tenwatch replay --last 1h --verify
    """
    import asyncio

    from tenwatch.replaying import command

    if list_runs:
        command.print_runs(data)
        return
    if remove is not None:
        asyncio.run(command.remove_run(data, remove))
        return
    options = command.read_options(
        start, end, last, kinds, nodes, speed, name, keep, config, source
    )
    raise typer.Exit(asyncio.run(command.replay(data, options, verify=verify, as_json=as_json)))

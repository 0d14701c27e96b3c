"""``tenwatch tap``: events as they flow."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Stage(StrEnum):
    """Where in the pipeline to listen."""

    events = "events"
    buckets = "buckets"
    loss = "loss"


class Style(StrEnum):
    """How a line is printed."""

    json = "json"
    pretty = "pretty"
    raw = "raw"


def run(
    kinds: Annotated[
        list[str] | None, typer.Argument(help="Kinds of events: process, file… Default: all.")
    ] = None,
    stage: Annotated[Stage, typer.Option(help="Where to listen.")] = Stage.events,
    node: Annotated[str | None, typer.Option(help="Only this node.")] = None,
    where: Annotated[
        str | None, typer.Option(metavar="CONDITION", help="Only lines that match.")
    ] = None,
    sample: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Print this share of the lines.")
    ] = 1.0,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many lines.")] = None,
    style: Annotated[
        Style | None,
        typer.Option("--format", "-f", help="Default: pretty on a terminal, json elsewhere."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Data folder of the instance.", envvar="TENWATCH_DATA")
    ] = None,
) -> None:
    """Print events as they flow; never slows them.

    Data goes to stdout, one JSON line per event; everything else goes to stderr. A tap is a plain
    subscription: what it can't take in time, the server drops for this tap alone, and says so.

    Example: tenwatch tap process --where 'exit_code != 0'
    """
    import asyncio
    import sys

    from tenwatch.tapping import TapOptions, tap
    from tenwatch.where import compile_condition

    options = TapOptions(
        stage=stage.value,
        kinds=tuple(kinds or ()),
        node=node,
        condition=compile_condition(where) if where else None,
        sample=sample,
        limit=limit,
        style=(style or (Style.pretty if sys.stdout.isatty() else Style.json)).value,
    )
    asyncio.run(tap(options, data))

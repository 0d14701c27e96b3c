"""``tenwatch record``: messages of a stage into compressed files."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tenwatch.commands.options import DataOption, JsonOption


class Stage(StrEnum):
    """What to record."""

    raw = "raw"
    events = "events"
    buckets = "buckets"
    dead = "dead"


def run(
    folder: Annotated[Path, typer.Argument(help="A new folder, or a recording to go on with.")],
    kinds: Annotated[
        list[str] | None, typer.Option("--kind", help="Only this kind; repeatable.")
    ] = None,
    nodes: Annotated[
        list[str] | None, typer.Option("--node", help="Only this node; repeatable.")
    ] = None,
    stage: Annotated[
        Stage, typer.Option(help="raw can be replayed; the others are for reading.")
    ] = Stage.raw,
    last: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Begin so long ago. Default: all.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on with what comes, until it is stopped.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many messages.")] = None,
    rotate_mib: Annotated[
        int, typer.Option("--rotate-mib", min=1, help="Size at which a new file is begun, MiB.")
    ] = 256,
    info: Annotated[
        bool, typer.Option("--info", help="Say what is in the recording, and record nothing.")
    ] = False,
    as_json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """Record messages into a folder: NDJSON in zstd frames with an index, in the log's order.

    Safe to kill: what was written stays whole, and the same command goes on behind it. Read it
    with 'zstdcat FOLDER/*.zst | jq -r .payload', or feed it to 'tenwatch replay --source FOLDER'.

    Example: tenwatch record ./monday --last 8h
    """
    import asyncio
    import time

    from tenwatch.recording.record import RecordOptions, record
    from tenwatch.recording.show import print_info, print_report, show_progress
    from tenwatch.replaying.time_range import parse_duration

    if info:
        print_info(folder, as_json=as_json)
        return
    options = RecordOptions(
        stage=stage.value,
        kinds=tuple(kinds or ()),
        nodes=tuple(nodes or ()),
        start=time.time_ns() // 1000 - parse_duration(last) if last else None,
        follow=follow,
        limit=limit,
        rotate_bytes=rotate_mib * 1024 * 1024,
    )
    print_report(asyncio.run(record(data, folder, options, show_progress)), as_json=as_json)

"""``tenwatch produce``."""

from pathlib import Path
from typing import Annotated

import typer


def run(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...", help="process, file, hostpath, cgroup, pod; node for the last three."
        ),
    ],
    config: Annotated[
        Path | None, typer.Option(help="Configuration file (YAML).", envvar="TENWATCH_CONFIG")
    ] = None,
) -> None:
    """Run producers of this node in one process.

    Sections of the configuration: producer, spool, broker, and one per name. What was seen is kept
    in the spool until the broker has acknowledged it. 'python -m producers' does the same in less
    memory.

    Example: tenwatch produce process
    """
    from producers.__main__ import produce

    raise typer.Exit(produce(names, config))

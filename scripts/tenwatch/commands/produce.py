"""``tenwatch produce``."""

import os
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
    in the spool until the broker has acknowledged it.

    Example: tenwatch produce process
    """
    from producers.base.runner import run_producer
    from producers.base.settings import RunSettings
    from producers.registry import GROUPS, OBSERVERS, ObserverContext, expand
    from stream.settings import Configuration
    from tenwatch.errors import UsageError
    from tenwatch.logs import start_logging

    start_logging()
    wanted = expand(names)
    for name in wanted:
        if name not in OBSERVERS:
            raise UsageError(
                f"{name!r} is not a producer; name some of {', '.join([*OBSERVERS, *GROUPS])}"
            )
    configuration = Configuration.load(config)
    settings = RunSettings.load(configuration, names[0] if len(names) == 1 else "-".join(wanted))
    own = os.environ.get("TENWATCH_DATA")
    context = ObserverContext(
        configuration,
        settings.node,
        Path(settings.spool.folder) / settings.name,
        [Path(own)] if own else [],
    )
    raise typer.Exit(run_producer([OBSERVERS[name](context) for name in wanted], settings))

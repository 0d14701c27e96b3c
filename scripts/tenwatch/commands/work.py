"""``tenwatch work``."""

from pathlib import Path
from typing import Annotated

import typer


def run(
    config: Annotated[
        Path | None, typer.Option(help="Configuration file (YAML).", envvar="TENWATCH_CONFIG")
    ] = None,
) -> None:
    """Run a stream worker: enrich raw events, and window them into 10-second buckets.

    Sections of the configuration: worker, windows, broker. Its state lies at the broker; it can be
    killed at any time and loses and doubles nothing.

    Example: TENWATCH_WORKER_RULES_FILE=rules.yaml tenwatch work
    """
    from stream.settings import Configuration
    from stream.worker.run import run_worker
    from stream.worker.settings import WorkerRole
    from tenwatch.logs import start_logging

    start_logging()
    raise typer.Exit(run_worker(WorkerRole.of(Configuration.load(config))))

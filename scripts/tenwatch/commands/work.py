"""``tenwatch work``."""

from pathlib import Path
from typing import Annotated

import typer


def run(
    config: Annotated[
        Path | None, typer.Option(help="Configuration file (YAML).", envvar="TENWATCH_CONFIG")
    ] = None,
) -> None:
    """Run a stream worker: enrich events and window them into 10-second buckets.

    Sections of the configuration: worker, windows, broker. Workers of one group share the
    partitions of RAW; state, results and position are committed together.

    Example: TENWATCH_BROKER_SERVERS='["nats://nats-0:4222"]' tenwatch work
    """
    from stream.settings import Configuration
    from stream.settings.logs import start_logging
    from stream.worker.run import run_worker
    from stream.worker.settings import WorkerRole

    start_logging()
    raise typer.Exit(run_worker(WorkerRole.of(Configuration.load(config))))

"""``tenwatch sink``."""

from pathlib import Path
from typing import Annotated

import typer


def run(
    config: Annotated[
        Path | None, typer.Option(help="Configuration file (YAML).", envvar="TENWATCH_CONFIG")
    ] = None,
) -> None:
    """Run the sink: JetStream to ClickHouse, and SQL over HTTP.

    Sections of the configuration: store, sink, sql, broker. It acknowledges to the broker only
    after ClickHouse confirmed an insert.

    Example: TENWATCH_STORE_PATH=/var/lib/tenwatch/store tenwatch sink
    """
    from sinks.ingest.run import SinkRole, run_sink
    from stream.settings import Configuration
    from stream.settings.logs import start_logging

    start_logging()
    raise typer.Exit(run_sink(SinkRole.of(Configuration.load(config))))

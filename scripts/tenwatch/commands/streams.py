"""``tenwatch streams``: the streams at the broker."""

from typing import Annotated

import typer

from tenwatch.commands.options import ConfigOption

app = typer.Typer(
    help="Streams at the broker: RAW, EVENTS, BUCKETS and DEAD.", no_args_is_help=True
)


@app.command()
def apply(
    wait: Annotated[
        float, typer.Option(min=1, help="Seconds to wait for the broker and for its cluster.")
    ] = 60.0,
    config: ConfigOption = None,
) -> None:
    """Create what is missing and bring the rest to the settings. Safe to repeat.

    Sections of the configuration: streams, broker. It needs the login of an administrator in the
    credentials file. An embedded instance does the same when it starts.

    Example: tenwatch streams apply --wait 600
    """
    import asyncio

    from stream.settings import Configuration
    from tenwatch.stream_work import apply_streams

    asyncio.run(apply_streams(Configuration.load(config), wait))

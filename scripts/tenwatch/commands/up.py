"""``tenwatch up``: everything on this machine."""

from pathlib import Path
from typing import Annotated

import typer


def run(
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder for everything that is kept. Default: /var/lib/tenwatch as root, else "
            "~/.local/state/tenwatch.",
            envvar="TENWATCH_DATA",
        ),
    ] = None,
    watch: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Watch files below it; repeatable. Default: here."),
    ] = None,
    screen: Annotated[
        bool, typer.Option("--screen/--no-screen", help="Live screen, or one line of JSON.")
    ] = True,
    node: Annotated[
        str | None, typer.Option(help="Name of this node. Default: its host name.")
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(
            help="User for NATS, worker and sink. Default: tenwatch if it exists, else nobody."
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Configuration file (YAML).", envvar="TENWATCH_CONFIG")
    ] = None,
    nats_port: Annotated[
        int, typer.Option(help="Port of NATS on loopback; another one if it is taken.")
    ] = 4222,
    sql_port: Annotated[
        int, typer.Option(help="Port of SQL over HTTP on loopback; another one if it is taken.")
    ] = 8123,
) -> None:
    """Run everything on this machine: broker, producers, worker, store.

    Started as root, only the producers keep privileges. Without root it runs, too, and says what
    is degraded. With --no-screen it prints one line of JSON on stdout when everything is ready.
    Ctrl-C or SIGTERM drains everything in order and loses nothing.

    Example: tenwatch up --watch /home --data /var/lib/tenwatch
    """
    import asyncio

    from tenwatch.embedded.data_folder import default_data_folder
    from tenwatch.embedded.options import UpOptions, default_node
    from tenwatch.embedded.up import up

    folders = [path.expanduser().resolve() for path in watch or [Path.cwd()]]
    options = UpOptions(
        data=(data or default_data_folder()).expanduser().resolve(),
        watch=folders,
        node=node or default_node(),
        user=user,
        config=config.resolve() if config else None,
        nats_port=nats_port,
        sql_port=sql_port,
    )
    raise typer.Exit(asyncio.run(up(options, with_screen=screen)))

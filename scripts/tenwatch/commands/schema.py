"""``tenwatch schema``: tables and views of the store."""

from typing import Annotated

import typer

from tenwatch.commands.options import ConfigOption, DataOption, JsonOption

app = typer.Typer(
    help="Tables and views of the store: what it has, and what this program needs.",
    no_args_is_help=True,
)


@app.command()
def status(
    as_json: JsonOption = False, config: ConfigOption = None, data: DataOption = None
) -> None:
    """List migrations and views with their state; exit code 1 if something isn't applied.

    The store is the server that the configuration names (store.url), else the running instance.

    Example: tenwatch schema status
    """
    from tenwatch.schema_work import show_status

    raise typer.Exit(show_status(config, data, as_json=as_json))


@app.command()
def apply(
    as_json: JsonOption = False, config: ConfigOption = None, data: DataOption = None
) -> None:
    """Apply what is missing. Forward only, and safe to repeat or to run twice at once.

    A sink does the same when it starts. Give it the configuration of the sink: the time that
    tables keep their rows is part of it.

    Example: tenwatch schema apply --config /etc/tenwatch.yaml
    """
    from tenwatch.schema_work import apply_missing

    apply_missing(config, data, as_json=as_json)


@app.command("print")
def print_sql(
    cluster: Annotated[
        str | None, typer.Option(help="For a ClickHouse cluster of this name.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Print the statements of all tables, for review or for a cluster's own tools.

    Example: tenwatch schema print --cluster production
    """
    from tenwatch.schema_work import print_statements

    print_statements(config, cluster)

"""``tenwatch config``: check, show and explain the configuration."""

from typing import Annotated

import typer

from tenwatch.commands.options import ConfigOption, JsonOption

app = typer.Typer(
    help="Check, show and explain the configuration: file, then environment, then flags.",
    no_args_is_help=True,
)
Sections = Annotated[
    list[str] | None, typer.Argument(metavar="SECTION...", help="Default: all sections.")
]


@app.command()
def validate(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Say everything that is wrong, with file, line and setting; exit code 1 if anything is.

    Example: tenwatch config validate --config /etc/tenwatch.yaml
    """
    from tenwatch.configuring.show import print_problems

    raise typer.Exit(print_problems(config, as_json=as_json))


@app.command()
def show(
    sections: Sections = None,
    changed: Annotated[
        bool, typer.Option("--changed", help="Only what differs in source from the default.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show every setting in effect and where it was set; secrets are masked.

    Example: tenwatch config show store --config /etc/tenwatch.yaml
    """
    from tenwatch.configuring.show import print_settings

    print_settings(config, sections or [], changed=changed, as_json=as_json)


@app.command()
def explain(
    sections: Sections = None,
    variables: Annotated[
        bool, typer.Option("--variables", help="List the environment variables instead.")
    ] = False,
) -> None:
    """Print a whole configuration file with every setting, its default, and why.

    Example: tenwatch config explain > tenwatch.yaml
    """
    from tenwatch.configuring.show import print_explanation, print_variables

    if variables:
        print_variables()
    else:
        print_explanation(sections or [])

"""``tenwatch doctor``: what works here, and what to do about the rest."""

from pathlib import Path
from typing import Annotated

import typer

from tenwatch.commands.options import ConfigOption, DataOption, JsonOption


def run(
    watch: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="A folder that files are watched in. Default: here."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Don't compile and attach the BPF program.")
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Examine kernel, machine, broker and store, with a remedy for each finding.

    Changes nothing. Exit code 1 if something that is needed doesn't work; what works with less is
    a note. Run it as the user who is to run 'tenwatch up'.

    Example: sudo tenwatch doctor --watch /home
    """
    from tenwatch.doctoring.report import examine, print_findings

    roots = [path.expanduser().resolve() for path in watch or [Path.cwd()]]
    raise typer.Exit(print_findings(examine(data, config, roots, quick=quick), as_json=as_json))

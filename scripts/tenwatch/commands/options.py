"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

DataOption = Annotated[
    Path | None, typer.Option(help="Data folder of the instance.", envvar="TENWATCH_DATA")
]
UrlOption = Annotated[str | None, typer.Option(help="Ask this ClickHouse HTTP endpoint instead.")]
ConfigOption = Annotated[
    Path | None, typer.Option(help="Configuration file (YAML).", envvar="TENWATCH_CONFIG")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

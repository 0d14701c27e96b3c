"""Gathers the findings and prints them."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stream.settings import Configuration
from tenwatch.doctoring.finding import Finding, State
from tenwatch.doctoring.kernel import kernel_findings
from tenwatch.doctoring.machine import machine_findings
from tenwatch.doctoring.services import service_findings
from tenwatch.embedded.data_folder import default_data_folder

STYLES = {State.ok: "green", State.note: "yellow", State.broken: "bold red"}


def examine(
    data: Path | None, config: Path | None, roots: Sequence[Path], *, quick: bool
) -> list[Finding]:
    """Look at everything; changes nothing."""
    configuration = Configuration.load(config)

    async def services() -> list[Finding]:
        return [finding async for finding in service_findings(data)]

    return [
        *kernel_findings(configuration, roots, quick=quick),
        *machine_findings(data or default_data_folder()),
        *asyncio.run(services()),
    ]


def print_findings(findings: Sequence[Finding], *, as_json: bool) -> int:
    """Print all; 1 if something that is needed is broken."""
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        console = Console()
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for finding in findings:
            state = Text(finding.state.value, style=STYLES[finding.state])
            table.add_row(state, finding.check, finding.found)
            if finding.remedy:
                table.add_row("", "", Text(f"→ {finding.remedy}", style="bold"))
        console.print(table)
        counts = {state: sum(each.state is state for each in findings) for state in State}
        console.print(
            f"{counts[State.ok]} ok, {counts[State.note]} with a note, "
            f"{counts[State.broken]} broken"
        )
    return int(any(finding.state is State.broken for finding in findings))

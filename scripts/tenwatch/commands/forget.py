"""``tenwatch forget``: erase what is kept of a person, a pod or a path."""

from enum import StrEnum
from typing import Annotated

import typer

from tenwatch.commands.options import ConfigOption, DataOption, JsonOption


class What(StrEnum):
    """Whom or what to forget."""

    student = "student"
    pod = "pod"
    path = "path"


def run(
    what: Annotated[What, typer.Argument(help="student, pod or path.")],
    name: Annotated[
        str, typer.Argument(help="Its name; a path is absolute, a folder means all below it.")
    ],
    scope: Annotated[
        str, typer.Option("--in", help="Of a student the course, of a pod the namespace.")
    ] = "",
    reason: Annotated[str, typer.Option(help="Why; it is recorded.")] = "",
    by: Annotated[str | None, typer.Option(help="Who asked; recorded. Default: you.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Erase without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Erase for good what the store and the broker hold of a student, a pod or a path.

    What was erased is recorded (a salted hash instead of the name), and 'tenwatch audit' still
    balances. Stop or drain what produces it first: what is on its way is not reached, and a
    worker remembers the size of a file by its path until the file is deleted.

    Example: tenwatch forget student ada --in os-1 --reason "left the course" --dry-run
    """
    import asyncio
    import getpass

    from sinks.forget import Subject
    from tenwatch import forgetting
    from tenwatch.errors import UsageError

    subject = Subject(what.value, name, scope)
    found = forgetting.count(data, subject)
    if dry_run:
        forgetting.print_erasure(found, done=False, as_json=as_json)
        return
    if not reason:
        raise UsageError("say why with --reason; it is recorded with the erasure")
    if not yes:
        forgetting.print_erasure(found, done=False, as_json=False, to_stderr=True)
        typer.confirm(f"Erase all of it for good, of {what.value} {name}?", abort=True, err=True)
    erased = asyncio.run(forgetting.erase(data, config, subject, by or getpass.getuser(), reason))
    forgetting.print_erasure(erased, done=True, as_json=as_json)

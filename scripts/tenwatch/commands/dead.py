"""``tenwatch dead``: what was refused, why, and sending it again."""

from typing import Annotated

import typer

from tenwatch.commands.options import DataOption, JsonOption, UrlOption

app = typer.Typer(
    help="Dead letters: what worker or store refused, with its reason.", no_args_is_help=True
)
Since = Annotated[str, typer.Option(metavar="TIME", help="2026-01-02T03:04:05Z or -2h.")]


@app.command("list")
def list_letters(
    stage: Annotated[str, typer.Option(help="Only of this stage: worker or sink.")] = "",
    kind: Annotated[str, typer.Option(help="Only of this kind.")] = "",
    node: Annotated[str, typer.Option(help="Only of this node.")] = "",
    reason: Annotated[str, typer.Option(help="Only with this reason, like bad_line.")] = "",
    since: Since = "-7d",
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 50,
    as_json: JsonOption = False,
    data: DataOption = None,
    url: UrlOption = None,
) -> None:
    """List dead letters, newest first, with the id that show and resend take.

    Example: tenwatch dead list --reason bad_line --since -1h
    """
    from tenwatch import dead_letters
    from tenwatch.access import open_sql

    chosen = dead_letters.Filter(stage, kind, node, reason, since)
    dead_letters.print_list(open_sql(data, url), chosen, limit, as_json=as_json)


@app.command()
def show(
    letter: Annotated[str, typer.Argument(metavar="ID", help="From 'tenwatch dead list'.")],
    raw: Annotated[bool, typer.Option("--raw", help="Only the refused bytes.")] = False,
    as_json: JsonOption = False,
    data: DataOption = None,
    url: UrlOption = None,
) -> None:
    """Show one dead letter whole: where it came from, why it was refused, and its bytes.

    Example: tenwatch dead show 5C0FEE0DDEADBEEF
    """
    from tenwatch import dead_letters
    from tenwatch.access import open_sql

    dead_letters.print_one(open_sql(data, url), letter, raw=raw, as_json=as_json)


@app.command()
def resend(
    letters: Annotated[
        list[str] | None, typer.Argument(metavar="ID...", help="From 'tenwatch dead list'.")
    ] = None,
    stage: Annotated[str, typer.Option(help="Only of this stage: worker or sink.")] = "",
    kind: Annotated[str, typer.Option(help="Only of this kind.")] = "",
    node: Annotated[str, typer.Option(help="Only of this node.")] = "",
    reason: Annotated[str, typer.Option(help="All with this reason, instead of ids.")] = "",
    since: Since = "-7d",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent.")] = False,
    as_json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """Send refused events again, to the stage that refused them.

    They get a new identity (a boot of their own), since the old one is accounted for as dead; time
    and everything else stay. What still isn't right is refused again. What is stored already
    (reason too_late) is not sent.

    Example: tenwatch dead resend --reason bad_line --kind process --since -1d
    """
    import asyncio

    from tenwatch import dead_letters

    chosen = dead_letters.Filter(stage, kind, node, reason, since)
    outcome = asyncio.run(dead_letters.resend(data, letters or [], chosen, dry_run=dry_run))
    raise typer.Exit(dead_letters.print_outcome(outcome, dry_run=dry_run, as_json=as_json))

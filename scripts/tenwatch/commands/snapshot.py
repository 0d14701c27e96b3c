"""``tenwatch snapshot``: what was in a file at a time."""

from pathlib import Path
from typing import Annotated

import typer

from tenwatch.commands.options import DataOption, JsonOption, UrlOption

app = typer.Typer(help="What was in files, at any time.", no_args_is_help=True)
PathArgument = Annotated[str, typer.Argument(metavar="PATH", help="Absolute path on its node.")]
At = Annotated[str, typer.Option(metavar="TIME", help="2026-01-02T03:04:05Z, -2h or now.")]
Student = Annotated[str, typer.Option(help="Only of this student.")]


@app.command("list")
def list_versions(
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="A file; or a folder, with / at its end.")
    ],
    at: At = "now",
    since: Annotated[str, typer.Option(metavar="TIME", help="A file's versions from then on.")] = (
        "-180d"
    ),
    student: Student = "",
    as_json: JsonOption = False,
    data: DataOption = None,
    url: UrlOption = None,
) -> None:
    """List all versions of a file, or the files of a folder at a time.

    Example: tenwatch snapshot list /workspace/os-1-2026/hw1/main.c
    """
    from tenwatch import snapshots
    from tenwatch.access import open_sql

    store = open_sql(data, url)
    if path.endswith("/"):
        snapshots.print_tree(store, path, at, student, as_json=as_json)
    else:
        snapshots.print_versions(store, path, since, at, student, as_json=as_json)


@app.command()
def show(
    path: PathArgument,
    at: At = "now",
    student: Student = "",
    as_json: JsonOption = False,
    data: DataOption = None,
    url: UrlOption = None,
) -> None:
    """Write what was in a file at a time to stdout, byte for byte.

    Example: tenwatch snapshot show /workspace/os-1-2026/hw1/main.c --at -2h
    """
    from tenwatch import snapshots
    from tenwatch.access import open_sql

    snapshots.write_content(open_sql(data, url), path, at, student, as_json=as_json)


@app.command()
def diff(
    path: PathArgument,
    start: Annotated[str, typer.Option("--from", metavar="TIME", help="The earlier time.")],
    end: Annotated[str, typer.Option("--to", metavar="TIME", help="The later time.")] = "now",
    student: Student = "",
    data: DataOption = None,
    url: UrlOption = None,
) -> None:
    """Write what changed in a file between two times, as a unified diff.

    Example: tenwatch snapshot diff /workspace/os-1-2026/hw1/main.c --from -1d --to now
    """
    from tenwatch import snapshots
    from tenwatch.access import open_sql

    snapshots.write_difference(open_sql(data, url), path, start, end, student)


@app.command()
def restore(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A file, or a folder with / at end.")],
    into: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where to write; files there stay as they are.")
    ],
    at: At = "now",
    student: Student = "",
    as_json: JsonOption = False,
    data: DataOption = None,
    url: UrlOption = None,
) -> None:
    """Write files as they were at a time into a folder; never overwrites, never leaves it.

    Exit code 1 if something was not written.

    Example: tenwatch snapshot restore /workspace/os-1-2026/hw1/ --at -1d --into ./before
    """
    from tenwatch import snapshots
    from tenwatch.access import open_sql

    raise typer.Exit(
        snapshots.restore_files(open_sql(data, url), path, into, at, student, as_json=as_json)
    )

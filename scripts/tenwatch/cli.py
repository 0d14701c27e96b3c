"""The program's entry point: ``tenwatch COMMAND``.

The modules of the commands import nothing but typer at the top, so that ``--help`` is fast; what a
command needs it imports when it runs.
"""

import os
import sys

import typer

from stream.settings.errors import SettingsError
from tenwatch.commands import (
    audit,
    config,
    dead,
    doctor,
    forget,
    loadgen,
    produce,
    query,
    record,
    replay,
    schema,
    sink,
    snapshot,
    streams,
    tap,
    top,
    up,
    work,
)
from tenwatch.errors import TenwatchError, UsageError

app = typer.Typer(
    name="tenwatch",
    help="Watch processes, files and resources of nodes in exact 10-second buckets.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 nothing runs or answers, "
    "4 a part can't start, 5 the store refused a query.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command("up")(up.run)
app.command("query")(query.run)
app.command("tap")(tap.run)
app.command("top")(top.run)
app.command("record")(record.run)
app.command("replay")(replay.run)
app.command("audit")(audit.run)
app.add_typer(snapshot.app, name="snapshot")
app.add_typer(dead.app, name="dead")
app.command("doctor")(doctor.run)
app.command("loadgen")(loadgen.run)
app.command("forget")(forget.run)
app.add_typer(schema.app, name="schema")
app.add_typer(streams.app, name="streams")
app.add_typer(config.app, name="config")
app.command("produce")(produce.run)
app.command("work")(work.run)
app.command("sink")(sink.run)


def main() -> None:
    """Run the program; an expected failure is one sentence on stderr and an exit code."""
    try:
        app()
    except TenwatchError as error:
        print(f"tenwatch: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except SettingsError as error:
        print(f"tenwatch: {error}", file=sys.stderr)
        sys.exit(UsageError.exit_code)
    except BrokenPipeError:
        # The reader of a pipe (head, say) has gone: that is a normal end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        from tenwatch.failures import expected_exit_code

        code = expected_exit_code(error)
        if code is None:
            raise
        print(f"tenwatch: {error}", file=sys.stderr)
        sys.exit(code)

"""One function for each page."""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec
import typer
from msgspec import Struct

from sinks.queries import named_queries
from stream.contract.bucket_metrics import BUCKET_METRICS
from stream.contract.buckets import BucketRow
from stream.contract.dead import DeadLetter
from stream.contract.event import Enrichment, Event, LogPosition
from stream.contract.kinds import KINDS
from tenwatch.cli import app
from tenwatch.configuring.documentation import FieldDocumentation, document
from tenwatch.configuring.sections import OTHER_VARIABLES, SECTIONS

_MADE = "<!-- Made by `python -m tenwatch.reference docs/reference`; do not edit. -->\n\n"


_ROLE: Final = re.compile(r":[a-z]+:`~?([^`]+)`")


def commands() -> str:
    """Every command with its help, arguments and options."""
    root: Any = typer.main.get_command(app)
    parts = ["# Commands\n", str(root.epilog), ""]
    parts += [
        "Results go to stdout, everything else to stderr. `--json` prints what a script wants; "
        "colours appear on terminals only. `tenwatch --install-completion` teaches your shell.\n"
    ]
    for path, command in leaves():
        parts.append(f"## `{path}`\n")
        parts += _help(command.help or "")
        rows = []
        for parameter in command.params:
            if parameter.name == "help":
                continue
            names = ", ".join(f"`{each}`" for each in parameter.opts) or f"`{parameter.name}`"
            if parameter.param_type_name == "argument":
                names = f"`{(parameter.metavar or parameter.name or '').upper()}`"
            variable = f" (`{parameter.envvar}`)" if parameter.envvar else ""
            rows.append((names, f"{getattr(parameter, 'help', '') or ''}{variable}"))
        if rows:
            parts.append(_table(("argument or option", "meaning"), rows))
    return _MADE + "\n".join(parts)


def _help(text: str) -> list[str]:
    """Paragraphs of a help; what begins with ``tenwatch`` is an example, written as code."""
    parts = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        example = paragraph.removeprefix("Example: ")
        code = example.startswith(("tenwatch ", "sudo tenwatch ", "TENWATCH_"))
        parts.append(f"```sh\n{example}\n```\n" if code else paragraph + "\n")
    return parts


def leaves() -> Iterator[tuple[str, Any]]:
    """Every command that can be run, with its whole name."""
    return _walk("tenwatch", typer.main.get_command(app))


def _walk(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", {})
    if not children:
        yield path, command
    for name, child in children.items():
        yield from _walk(f"{path} {name}", child)


def configuration() -> str:
    """Every setting."""
    parts = [
        "# Configuration\n",
        "One YAML file (`--config`, or `TENWATCH_CONFIG`) with a mapping for each section. The "
        "environment variable `TENWATCH_<SECTION>_<FIELD>` is over the file, and a flag over both. "
        "`tenwatch config explain` prints all of it as a file, `tenwatch config validate` says "
        "everything that is wrong, `tenwatch config show` where each value comes from.\n",
    ]
    for section, model in SECTIONS.items():
        text, fields = document(model)
        parts += [f"## `{section}`\n", text + "\n"]
        rows = [(f"`{each.name}`", _default(each), each.text) for each in fields]
        parts.append(_table(("setting", "default", "meaning"), rows))
    parts.append("## Other environment variables\n")
    parts.append(
        _table(("variable", "meaning"), [(f"`{k}`", v) for k, v in OTHER_VARIABLES.items()])
    )
    return _MADE + "\n".join(parts)


def events() -> str:
    """Every kind of events, and what a worker adds."""
    parts = [
        "# Events\n",
        "A message is a batch: one JSON object per line. Producers publish on "
        "`raw.<kind>.<node>`; a worker appends fields and publishes on `events.<kind>.<node>`.\n",
        "## Every event\n",
        _fields(Event, ()),
        "## What a worker adds\n",
        _fields(Enrichment, ()),
        _fields(LogPosition, ()),
    ]
    common = {field.name for field in msgspec.structs.fields(Event)}
    for kind, definition in KINDS.items():
        parts += [f"## `{kind}`\n", f"Schema `{definition.schema}`: {definition.description}.\n"]
        parts.append(document(definition.event)[0] + "\n")
        parts.append(_fields(definition.event, common))
    parts += ["## Dead letters\n", document(DeadLetter)[0] + "\n", _fields(DeadLetter, ())]
    return _MADE + "\n".join(parts)


def buckets() -> str:
    """Rows of windows and their metrics."""
    metrics = [
        (f"`{each.name}`", ", ".join(each.kinds), each.unit, each.combine, each.description)
        for each in BUCKET_METRICS
    ]
    return (
        _MADE
        + "# Buckets\n\n"
        + document(BucketRow)[0]
        + "\n\n"
        + _fields(BucketRow, ())
        + "\n## Metrics\n\n`combines` says how rows of several nodes or windows become one: "
        "amounts add up (sum), others as their description says.\n\n"
        + _table(("metric", "kinds", "unit", "combines", "meaning"), metrics)
    )


def queries() -> str:
    """Every prepared question."""
    parts = [
        "# Prepared questions\n",
        "`tenwatch query NAME -p PARAMETER=VALUE` asks one of them. Times may be relative to now: "
        "`-90s`, `-15m`, `-2h`, `-7d`.\n",
    ]
    for query in named_queries().values():
        parts += [f"## `{query.name}`\n", f"{query.title}. {query.description}".strip() + "\n"]
        rows = [
            (
                f"`{each.name}`", f"`{each.type}`",
                "needed" if each.default is None else f"`{each.default}`" if each.default else "",
                each.help,
            )
            for each in query.parameters
        ]  # fmt: skip
        if rows:
            parts.append(_table(("parameter", "type", "default", "meaning"), rows))
    return _MADE + "\n".join(parts)


PAGES: Final[dict[str, Callable[[], str]]] = {
    "commands.md": commands,
    "configuration.md": configuration,
    "events.md": events,
    "buckets.md": buckets,
    "queries.md": queries,
}


def _fields(model: type[Struct], without: Iterable[str]) -> str:
    rows = [
        (f"`{each.name}`", f"`{each.type}`", each.text)
        for each in document(model)[1]
        if each.name not in without
    ]
    return _table(("field", "type", "meaning"), rows)


def _default(field: FieldDocumentation) -> str:
    text = msgspec.json.encode(field.default, enc_hook=str).decode()
    return f"`{text}`" if len(text) <= 60 else "see `tenwatch config explain`"


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines) + "\n"


def _cell(text: str) -> str:
    plain = _ROLE.sub(r"`\1`", " ".join(text.split()))
    return plain.replace("|", "\\|").replace("``", "`")

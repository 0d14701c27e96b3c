"""What ``tenwatch config`` prints."""

import json
import sys
import textwrap
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from stream.settings import Configuration
from tenwatch.configuring.check import Setting, builtins_of, problems, settings
from tenwatch.configuring.documentation import document
from tenwatch.configuring.sections import OTHER_VARIABLES, SECTIONS
from tenwatch.errors import UsageError
from tenwatch.tables import PLAIN_WIDTH, shown


def chosen_sections(names: list[str]) -> list[str]:
    """The named sections, or all; raises :class:`UsageError`."""
    for name in names:
        if name not in SECTIONS:
            raise UsageError(f"{name!r} is not a section; the sections are {', '.join(SECTIONS)}")
    return names or list(SECTIONS)


def print_problems(config: Path | None, *, as_json: bool) -> int:
    """All problems; 1 if there is one."""
    found = problems(Configuration.load(config))
    if as_json:
        print(json.dumps(found))
    else:
        for sentence in found:
            print(sentence)
        if not found:
            print(f"{config or 'the environment'}: all settings are right")
    return int(bool(found))


def print_settings(config: Path | None, names: list[str], *, changed: bool, as_json: bool) -> None:
    """Every setting in effect, with its source."""
    configuration = Configuration.load(config)
    found = [
        setting
        for section in chosen_sections(names)
        for setting in settings(configuration, section)
        if not changed or setting.source != "default"
    ]
    if as_json:
        print(json.dumps([_as_dict(setting) for setting in found]))
        return
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("setting", "value", "source"):
        table.add_column(name, overflow="fold")
    for setting in found:
        value = "" if setting.value == "" else json.dumps(setting.value, ensure_ascii=False)
        table.add_row(f"{setting.section}.{setting.name}", shown(value), shown(setting.source))
    console.print(table)


def _as_dict(setting: Setting) -> dict[str, object]:
    return {
        "section": setting.section, "name": setting.name, "value": setting.value,
        "source": setting.source,
    }  # fmt: skip


def print_explanation(names: list[str]) -> None:
    """A documented configuration file with every default; it can be used as it is."""
    for section in chosen_sections(names):
        text, fields = document(SECTIONS[section])
        print(_commented(text))
        print(f"{section}:")
        for field in fields:
            print(_commented(field.text, "  "))
            value = "" if field.required else _yaml(field.default)
            print(f"  {'# ' * field.required}{field.name}: {value}\n")


def print_variables() -> None:
    """Names of environment variables, and what each sets."""
    for section, model in SECTIONS.items():
        for field in document(model)[1]:
            print(f"TENWATCH_{section}_{field.name}".upper())
    for name, what in OTHER_VARIABLES.items():
        print(f"{name}  ({what})")


def _commented(text: str, indent: str = "") -> str:
    lines = [
        line
        for paragraph in text.splitlines()
        for line in (textwrap.wrap(paragraph, 96 - len(indent)) or [""])
    ]
    return "\n".join(f"{indent}# {line}".rstrip() for line in lines)


def _yaml(value: object) -> str:
    plain = builtins_of(value)
    text: str = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=10**6)
    return text.strip().removesuffix("...").strip()

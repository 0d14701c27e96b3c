"""Finds everything that is wrong with a configuration, not only the first of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Struct

from stream.settings import Configuration, SettingsError, SettingValue
from tenwatch.configuring.sections import OTHER_VARIABLES, SECTIONS

SECRET_WORDS = ("password", "secret", "token")
MASK = "********"
PREFIX = "TENWATCH_"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as it is in effect."""

    section: str
    name: str
    value: Any
    """Masked if its name says that it is a secret."""
    source: str
    """File and line, environment variable, or ``default``."""


def problems(configuration: Configuration) -> list[str]:
    """One sentence for each, naming where it was set; empty when all is right."""
    found = [
        f"{next(iter(body.values())).source if body else configuration.file}: {section!r} is not a "
        f"section; the sections are {', '.join(SECTIONS)}"
        for section, body in configuration.from_file.items()
        if section not in SECTIONS
    ]
    for section, model in SECTIONS.items():
        found += _section_problems(configuration, section, model)
    return found + list(_unknown_variables(configuration.environment))


def _section_problems(configuration: Configuration, section: str, model: type[Struct]) -> list[str]:
    try:
        values = configuration.values(section, model)
    except SettingsError as error:
        return [str(error)]
    found = []
    for name, value in values.items():
        one = Configuration(configuration.file, {}, {section: {name: value}})
        try:
            one.section(section, model)
        except SettingsError as error:
            found.append(str(error))
    if found:
        return found
    try:
        checked = configuration.section(section, model)
        validate = getattr(checked, "validate", None)
        if validate is not None:
            validate()
    except SettingsError as error:
        return [str(error)]
    except ValueError as error:
        return [f"{configuration.file or 'configuration'}: {section}: {error}"]
    return []


def _unknown_variables(environment: Mapping[str, str]) -> Iterator[str]:
    known = {
        f"{PREFIX}{section}_{name}".upper()
        for section, model in SECTIONS.items()
        for name in (field.name for field in msgspec.structs.fields(model))
    } | set(OTHER_VARIABLES)
    for name in environment:
        if name.startswith(PREFIX) and name not in known:
            yield f"{name}: no setting has this variable; it would be without effect"


def settings(configuration: Configuration, section: str) -> list[Setting]:
    """Every setting of a section with its value and source; raises ``SettingsError``."""
    model = SECTIONS[section]
    sources: dict[str, SettingValue] = configuration.values(section, model)
    checked = builtins_of(configuration.section(section, model))
    return [
        Setting(
            section, name, masked(name, value),
            sources[name].source if name in sources else "default",
        )
        for name, value in checked.items()
    ]  # fmt: skip


def builtins_of(value: Any) -> Any:
    """A setting as JSON or YAML can write it; paths become text."""
    return msgspec.to_builtins(value, enc_hook=str)


def masked(name: str, value: Any) -> Any:
    """The value, unless its name says that it is a secret; files that hold one are named."""
    secret = any(word in name for word in SECRET_WORDS) and not name.endswith("_file")
    if secret and value:
        return MASK
    if isinstance(value, dict):
        return {key: masked(str(key), each) for key, each in value.items()}
    return value

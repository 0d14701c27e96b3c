"""Reads sections of settings from a YAML file, the environment and flags.

A section is a frozen :class:`msgspec.Struct`; a docstring under each field gives unit, default and
why. The file has one mapping per section; the environment variable of a field is
``TENWATCH_<SECTION>_<FIELD>``; a flag overrides both. An error names file, line and field.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec
import yaml

from stream.settings.errors import SettingsError

Section = TypeVar("Section", bound=msgspec.Struct)
PREFIX = "TENWATCH"


@dataclass(frozen=True, slots=True)
class SettingValue:
    """A value and where it came from, for people (``tenwatch.yaml:12``, ``TENWATCH_NODE_NAME``)."""

    value: Any
    source: str


@dataclass(slots=True)
class Configuration:
    """All that was configured, by section; sections are checked when they are asked for."""

    file: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    from_file: dict[str, dict[str, SettingValue]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path | None, environment: Mapping[str, str] | None = None) -> Self:
        """Read the file (if one is named) and keep the environment for later look-ups.

        Raises :class:`SettingsError` for a file that can't be read or is not mappings of mappings.
        """
        configuration = cls(path, os.environ if environment is None else environment)
        if path is not None:
            configuration.from_file = _read(path)
        return configuration

    def values(
        self, section: str, model: type[msgspec.Struct], flags: Mapping[str, Any] | None = None
    ) -> dict[str, SettingValue]:
        """Every field that something set, with its source; unknown fields raise."""
        known = {each.name for each in msgspec.structs.fields(model)}
        merged = dict(self.from_file.get(section, {}))
        for name, found in merged.items():
            if name not in known:
                raise SettingsError(
                    f"{found.source}: {section}.{name} is not a setting; "
                    f"the settings of {section} are {', '.join(sorted(known))}"
                )
        for name in known:
            variable = f"{PREFIX}_{section}_{name}".upper().replace("-", "_")
            if variable in self.environment:
                text = self.environment[variable]
                merged[name] = SettingValue(_from_text(text, variable), variable)
        for name, value in (flags or {}).items():
            if value is not None:
                merged[name] = SettingValue(value, f"--{name.replace('_', '-')}")
        return merged

    def section(
        self, section: str, model: type[Section], flags: Mapping[str, Any] | None = None
    ) -> Section:
        """One section, checked; raises :class:`SettingsError` naming source, field and problem."""
        merged = self.values(section, model, flags)
        try:
            return msgspec.convert(
                {name: found.value for name, found in merged.items()},
                model,
                strict=False,
                dec_hook=_to_path,
            )
        except msgspec.ValidationError as error:
            message = str(error)
            name = message.rpartition("`$.")[2].partition("`")[0].split("[")[0].split(".")[0]
            found_at = merged[name].source if name in merged else str(self.file or "configuration")
            shown = f"{section}.{name}" if name in merged else section
            raise SettingsError(f"{found_at}: {shown}: {message}") from None


def _to_path(wanted: type, value: Any) -> Any:
    """Let a field be a :class:`~pathlib.Path`, which neither YAML nor the environment has."""
    if wanted is Path and isinstance(value, str):
        return Path(value)
    raise TypeError(f"Expected `{wanted.__name__}`, got `{type(value).__name__}`")


def _from_text(text: str, variable: str) -> Any:
    try:
        return yaml.safe_load(text) if text[:1] in "[{" else text
    except yaml.YAMLError as error:
        raise SettingsError(f"{variable}: not readable as a list or mapping: {error}") from None


def _read(path: Path) -> dict[str, dict[str, SettingValue]]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{path}: can't be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not UTF-8 at byte {error.start}") from None
    try:
        loader = yaml.SafeLoader(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: not valid YAML: {error}") from None
    try:
        root = loader.get_single_node()
        if root is None:
            return {}
        if not isinstance(root, yaml.MappingNode):
            raise SettingsError(f"{path}:1: expected sections (a mapping), like 'node:'")
        sections: dict[str, dict[str, SettingValue]] = {}
        for key, body in root.value:
            line = key.start_mark.line + 1
            if not isinstance(body, yaml.MappingNode):
                raise SettingsError(f"{path}:{line}: {key.value}: expected settings (a mapping)")
            sections[str(key.value)] = {
                str(name.value): SettingValue(
                    loader.construct_object(value, deep=True),
                    f"{path}:{name.start_mark.line + 1}",
                )
                for name, value in body.value
            }
        return sections
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, SettingsError):
            raise
        raise SettingsError(f"{path}: not valid YAML: {error}") from None
    finally:
        loader.dispose()

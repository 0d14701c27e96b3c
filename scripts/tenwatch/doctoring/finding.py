"""One thing that was looked at."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How it is."""

    ok = "ok"
    note = "note"
    """Works with less: the remedy says what is missing and how to get it."""
    broken = "broken"
    """Something that is needed doesn't work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, how it is, what was seen, and what to do."""

    area: str
    check: str
    state: State
    found: str
    remedy: str = ""
    """Empty when all is well."""


def ok(area: str, check: str, found: str) -> Finding:
    """All is well."""
    return Finding(area, check, State.ok, found)


def note(area: str, check: str, found: str, remedy: str) -> Finding:
    """It works with less."""
    return Finding(area, check, State.note, found, remedy)


def broken(area: str, check: str, found: str, remedy: str) -> Finding:
    """It doesn't work, and it is needed."""
    return Finding(area, check, State.broken, found, remedy)

"""Kind ``hostpath``: what lies in a folder of the node."""

from typing import Literal

from msgspec import Struct

from stream.contract.event import Event, KindDefinition


class HostPathEntry(Struct, kw_only=True, omit_defaults=True):
    """One entry of a listing."""

    path: str
    """Relative to the root."""
    type: str
    """``file``, ``directory``, ``symlink``, ``socket``, ``fifo``, ``block``, ``character``."""
    size: int = 0
    """Bytes."""
    mtime: str = ""
    mode: int = 0
    """Permission bits (``st_mode & 0o7777``)."""


class HostPathEvent(Event, kw_only=True, omit_defaults=True):
    """A whole listing, or one entry that appeared, changed or vanished."""

    action: Literal["listing", "appeared", "changed", "vanished"]
    root: str
    path: str = ""
    """Relative to the root; empty for a listing."""
    type: str = ""
    size: int | None = None
    mtime: str | None = None
    mode: int | None = None
    entries: list[HostPathEntry] = []  # noqa: RUF012 - msgspec copies an empty list default
    part: int = 0
    """A large listing comes in parts, from 0."""
    parts: int = 1
    missing: bool = False
    """The root does not exist (any more)."""
    truncated: bool = False
    """The folder holds more entries than the configured limit."""


DEFINITION = KindDefinition("hostpath", 1, HostPathEvent, "what lies in folders of the node")

"""Kind ``file``: a file appeared, changed, moved or went."""

from typing import Literal

from stream.contract.event import Event, KindDefinition

FileAction = Literal["created", "modified", "deleted", "moved", "found"]


class FileEvent(Event, kw_only=True, omit_defaults=True):
    """One settled change of one file. ``found`` is what a baseline scan saw for the first time."""

    action: FileAction
    path: str
    """Absolute path; bytes that are not UTF-8 are written ``\\xNN``."""
    old_path: str = ""
    """The path before a move; empty for other actions."""
    size: int | None = None
    """Bytes; null when the file is gone."""
    mtime: str | None = None
    """Modification time in the form of :mod:`stream.contract.timestamps`."""
    hash: str = ""
    """``blake2b:<hex of 16 bytes>`` of the content, where it was read; else empty."""
    lines: int | None = None
    """Lines of the content, where it was read."""
    writer_pid: int | None = None
    """The process that wrote it, where the kernel told (fanotify)."""
    writer_exec_id: str = ""
    """Its ``exec_id``, where known."""
    truncated: bool = False
    """The content was longer than what was read."""


DEFINITION = KindDefinition("file", 1, FileEvent, "files that appear, change, move or go")

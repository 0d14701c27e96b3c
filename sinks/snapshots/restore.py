"""Writes files as they were at a time into a folder, and never outside of it."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sinks.errors import SnapshotError
from sinks.snapshots.contents import content_at, tree_at
from sinks.store.asking import Asks

_FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class Restored:
    """What a restore did."""

    written: list[str] = field(default_factory=list)
    """Paths below the folder."""
    refused: dict[str, str] = field(default_factory=dict)
    """Stored paths that were not written, and why."""


def restore(asks: Asks, prefix: str, folder: Path, at: str = "now", student: str = "") -> Restored:
    """Write every file below ``prefix`` as it was at a time into ``folder``, which must exist.

    Existing files are never overwritten. A stored path is untrusted: each of its parts is opened
    on its own, without following links, so that neither ``..`` nor a link that lies in the folder
    leads out of it. Files get mode 0600, folders 0700.
    """
    try:
        root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise SnapshotError(
            f"{folder} can't be restored into: {error.strerror}; give a folder that exists"
        ) from None
    done = Restored()
    try:
        for path in tree_at(asks, prefix, at, student):
            try:
                parts = _parts(path, prefix)
                content = content_at(asks, path, at, student).content
                _write(root, parts, content)
                done.written.append("/".join(parts))
            except (OSError, SnapshotError) as error:
                done.refused[path] = str(error)
    finally:
        os.close(root)
    return done


def _parts(path: str, prefix: str) -> list[str]:
    """The parts below the prefix; raises ``SnapshotError`` for one that is no plain name."""
    cut = prefix if prefix.endswith("/") else prefix[: prefix.rfind("/") + 1]
    parts = [part for part in path.removeprefix(cut).split("/") if part]
    if not parts:
        raise SnapshotError("the path names no file below the prefix")
    for part in parts:
        if part in (".", "..") or "\0" in part or len(os.fsencode(part)) > 255:
            raise SnapshotError(f"{part[:40]!r} in the path is not the name of a file")
    return parts


def _write(root: int, parts: list[str], content: bytes) -> None:
    with _below(root, parts[:-1]) as folder:
        descriptor = os.open(parts[-1], _FILE_FLAGS, 0o600, dir_fd=folder)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)


@contextlib.contextmanager
def _below(root: int, parts: list[str]) -> Iterator[int]:
    """The folder of these parts, made where it is missing."""
    current = os.dup(root)
    try:
        for part in parts:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o700, dir_fd=current)
            following = os.open(part, _FOLDER_FLAGS, dir_fd=current)
            os.close(current)
            current = following
        yield current
    finally:
        os.close(current)

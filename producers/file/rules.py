"""Which files are reported: patterns compiled into a few regular expressions."""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from os import fsdecode
from re import Pattern

_NEVER = re.compile(r"(?!)")


def _segment(pattern: str) -> str:
    """One folder level of a glob as a regular expression; ``*`` and ``?`` never match ``/``."""
    out: list[str] = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if character == "*":
            out.append("[^/]*")
        elif character == "?":
            out.append("[^/]")
        elif character == "[" and (end := pattern.find("]", position + 1)) > 0:
            inside = pattern[position:end].replace("\\", "\\\\").replace("[", "\\[")
            negated = inside[0] in "!^"
            out.append(f"(?!/)[{'^' if negated else ''}{inside[1:] if negated else inside}]")
            position = end + 1
        else:
            out.append(re.escape(character))
    return "".join(out)


def _path_expression(pattern: str) -> str:
    out: list[str] = []
    segments = pattern.strip("/").split("/")
    for index, segment in enumerate(segments):
        last = index == len(segments) - 1
        if segment == "**":
            out.append(".*" if last else "(?:[^/]+/)*")
        else:
            out.append(_segment(segment) + ("" if last else "/"))
    return "".join(out)


def _compile(expressions: list[str]) -> Pattern[str]:
    return re.compile("|".join(f"(?:{each})" for each in expressions), re.DOTALL)


class Patterns:
    """A set of glob patterns; see :class:`~producers.file.settings.FileSettings` for the rules."""

    def __init__(self, patterns: Iterable[str]) -> None:
        patterns = tuple(patterns)
        names = [_segment(each) for each in patterns if "/" not in each]
        paths = [_path_expression(each) for each in patterns if "/" in each]
        self._name = _compile(names) if names else _NEVER
        self._path = _compile(paths) if paths else _NEVER
        self._everything = "*" in patterns

    def match(self, path: str, name: str) -> bool:
        """Whether a relative path (whose last part is ``name``) matches."""
        return (
            self._everything
            or self._name.fullmatch(name) is not None
            or (self._path is not _NEVER and self._path.fullmatch(path) is not None)
        )


def _levels(path: str) -> Iterator[tuple[str, str]]:
    start = 0
    while start < len(path):
        end = path.find("/", start)
        end = len(path) if end < 0 else end
        yield path[:end], path[start:end]
        start = end + 1


class Rules:
    """Decides by path alone, relative to the watched folder. Safe to use from any thread."""

    def __init__(
        self, include: Iterable[str], exclude: Iterable[str], snapshot_include: Iterable[str]
    ) -> None:
        self._include = Patterns(include)
        self._exclude = Patterns(exclude)
        self._snapshot = Patterns(snapshot_include)
        self._folder_cached = lru_cache(maxsize=4096)(self._folder)

    def _folder(self, relative: bytes) -> bool:
        return not any(
            self._exclude.match(path, name) for path, name in _levels(fsdecode(relative))
        )

    def enters(self, relative: bytes) -> bool:
        """Whether a folder, and every folder above it, is looked into; empty is the root."""
        return not relative or self._folder_cached(relative)

    def reports(self, relative: bytes) -> bool:
        """Whether a file is reported."""
        folder, _, _ = relative.rpartition(b"/")
        path = fsdecode(relative)
        name = path.rpartition("/")[2]
        return (
            self._include.match(path, name)
            and not self._exclude.match(path, name)
            and self.enters(folder)
        )

    def publishes_content(self, relative: bytes) -> bool:
        """Whether the content of a file that is reported is published."""
        path = fsdecode(relative)
        return self._snapshot.match(path, path.rpartition("/")[2])

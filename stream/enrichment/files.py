"""The last known size of each file of one node, so that a save says by how much a file grew."""

from functools import lru_cache
from typing import Final
from zlib import crc32

import msgspec

from stream.enrichment.lines import FileLine

SHARDS: Final = 32
MAXIMUM_PER_SHARD: Final = 2048
"""Paths remembered per shard (65536 per node); the longest untouched go first."""


Deltas = tuple[int | None, int | None]
"""By how many bytes and lines a file changed; None where before or after isn't known."""
_Known = tuple[int | None, int | None]
_decoder = msgspec.msgpack.Decoder(dict[str, _Known])
_encode = msgspec.msgpack.Encoder().encode


_UNKNOWN: Final[_Known] = (None, None)
_EMPTY: Final[_Known] = (0, 0)
_NO_DELTAS: Final[Deltas] = (None, None)


def _difference(after: _Known, before: _Known) -> Deltas:
    size, lines = after
    was, had = before
    return (
        None if size is None or was is None else size - was,
        None if lines is None or had is None else lines - had,
    )


class FileTable:
    """Sizes and lines by path, in shards, so that a commit writes only what changed."""

    def __init__(self) -> None:
        self._known: tuple[dict[str, _Known], ...] = tuple({} for _ in range(SHARDS))
        self.dirty: set[int] = set()

    def load_shard(self, shard: int, stored: bytes) -> None:
        """Take in what :meth:`dump_shard` wrote; order is age."""
        self._known[shard].update(_decoder.decode(stored))

    def dump_shard(self, shard: int) -> bytes:
        """One shard, whole."""
        return _encode(self._known[shard])

    def apply(self, event: FileLine) -> Deltas:
        """Take in one event; by how much the file changed since what was last known of it.

        A created file grew from nothing. A deleted one shrank to nothing. The first sight of a
        file that was there already changes nothing that is known.
        """
        if event.action == "moved":
            return self._move(event)
        path = event.path
        shard = _shard_of(path)
        self.dirty.add(shard)
        paths = self._known[shard]
        before = paths.pop(path, None)
        if event.action == "deleted":
            return _difference(_EMPTY, before or _UNKNOWN)
        after = (event.size, event.lines)
        paths[path] = after
        if len(paths) > MAXIMUM_PER_SHARD:
            del paths[next(iter(paths))]
        if before is None:
            if event.action != "created":
                return _NO_DELTAS
            before = _EMPTY
        return _difference(after, before)

    def _move(self, event: FileLine) -> Deltas:
        replaced = self._paths(event.path).pop(event.path, None)
        before = self._paths(event.old_path).pop(event.old_path, None) or _UNKNOWN
        size = before[0] if event.size is None else event.size
        lines = before[1] if event.lines is None else event.lines
        paths = self._paths(event.path)
        paths[event.path] = (size, lines)
        if len(paths) > MAXIMUM_PER_SHARD:
            del paths[next(iter(paths))]
        grown = _difference((size, lines), before)
        if replaced is None:
            return grown
        return (grown[0] or 0) - (replaced[0] or 0), (grown[1] or 0) - (replaced[1] or 0)

    def _paths(self, path: str) -> dict[str, _Known]:
        shard = _shard_of(path)
        self.dirty.add(shard)
        return self._known[shard]


@lru_cache(maxsize=65_536)
def _shard_of(path: str) -> int:
    return crc32(path.encode("utf-8", "surrogatepass")) % SHARDS

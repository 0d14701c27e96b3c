"""The last known size of each file of one node, so that a save says by how much a file grew."""

from typing import Final, NamedTuple
from zlib import crc32

import msgspec

from stream.enrichment.lines import FileLine

SHARDS: Final = 32
MAXIMUM_PER_SHARD: Final = 2048
"""Paths remembered per shard (65536 per node); the longest untouched go first."""


class Deltas(NamedTuple):
    """By how much a file changed; None where a size before or after isn't known."""

    size: int | None
    lines: int | None


_Known = tuple[int | None, int | None]
_decoder = msgspec.msgpack.Decoder(dict[str, _Known])
_encode = msgspec.msgpack.Encoder().encode


def _difference(after: int | None, before: int | None) -> int | None:
    return None if after is None or before is None else after - before


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
        before = self._pop(event.path)
        if event.action == "deleted":
            return Deltas(*(None if each is None else -each for each in before or (None, None)))
        if event.action == "moved":
            replaced = before
            before = self._pop(event.old_path) if event.old_path else None
            size = event.size if event.size is not None else (before or (None, None))[0]
            lines = event.lines if event.lines is not None else (before or (None, None))[1]
            self._put(event.path, (size, lines))
            grown = Deltas(*map(_difference, (size, lines), before or (None, None)))
            if replaced is None:
                return grown
            return Deltas(*map(_difference, map(_or_zero, grown), map(_or_zero, replaced)))
        if event.action == "created" and before is None:
            before = (0, 0)
        self._put(event.path, (event.size, event.lines))
        return Deltas(*map(_difference, (event.size, event.lines), before or (None, None)))

    def _pop(self, path: str) -> _Known | None:
        shard = crc32(path.encode("utf-8", "surrogatepass")) % SHARDS
        self.dirty.add(shard)
        return self._known[shard].pop(path, None)

    def _put(self, path: str, known: _Known) -> None:
        shard = crc32(path.encode("utf-8", "surrogatepass")) % SHARDS
        paths = self._known[shard]
        paths[path] = known
        if len(paths) > MAXIMUM_PER_SHARD:
            del paths[next(iter(paths))]


def _or_zero(value: int | None) -> int:
    return value or 0

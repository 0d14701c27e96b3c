"""Batches that wait for metadata, in the order of the log: one lane per kind of one node.

Behind a batch that waits, everything of its kind and node waits, its progress records too: so the
watermark never passes an event that is still held. A lane is bounded; when it is full, its head
goes on unresolved.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import Struct

from stream.contract.batch import BatchIdentity
from stream.contract.state import StateStore
from stream.contract.subjects import escape_token
from stream.enrichment.decoding import Batch, decode_message
from stream.enrichment.lines import ProgressLine

MAXIMUM_BATCHES: Final = 32
"""Places in one lane; some seconds of a busy node, and few enough for one commit."""
MAXIMUM_BYTES: Final = 16 * 1024 * 1024
"""Bytes that may wait in one lane."""
PREFIX: Final = "held/"


class _Stored(Struct, array_like=True):
    """A waiting batch, or a progress record (one line of kind progress), as the state holds it."""

    kind: str
    version: int
    boot: str
    first_seq: int
    count: int
    offset: int
    first_line: int
    payload: bytes


_decoder = msgspec.msgpack.Decoder(_Stored)
_encode = msgspec.msgpack.Encoder().encode


@dataclass(slots=True)
class Waiting:
    """One place in a lane."""

    key: str
    batch: Batch
    """Of kind ``progress`` it has one line: a record that waits behind its producer's events."""

    @property
    def progress(self) -> ProgressLine | None:
        """The progress record that waits here, if it is one."""
        event = self.batch.events[0]
        return event if isinstance(event, ProgressLine) else None

    def dump(self) -> bytes:
        """For the state."""
        identity = self.batch.identity
        return _encode(
            _Stored(
                identity.kind,
                identity.version,
                identity.boot,
                identity.first_seq,
                identity.count,
                self.batch.offset,
                self.batch.first_line,
                self.batch.payload(),
            )
        )


class Lanes:
    """All lanes of one node."""

    def __init__(self, node: str, store: StateStore) -> None:
        self._node = node
        self._store = store
        self._lanes: dict[str, deque[Waiting]] = {}
        self._bytes: dict[str, int] = {}

    def __iter__(self) -> Iterator[str]:
        """The kinds that have something waiting; process first, since files are joined to it."""
        return iter(sorted(self._lanes, key=lambda kind: (kind != "process", kind)))

    def __len__(self) -> int:
        """Events that wait."""
        return sum(
            waiting.batch.identity.count
            for lane in self._lanes.values()
            for waiting in lane
            if waiting.progress is None
        )

    def __contains__(self, kind: str) -> bool:
        return kind in self._lanes

    def restore(self, key: str, stored: bytes) -> None:
        """Put back what lies in the state under a key; keys must come in their order."""
        held = _decoder.decode(stored)
        identity = BatchIdentity(
            held.kind, held.version, self._node, held.boot, held.first_seq, held.count
        )
        (batch,) = decode_message(identity, held.offset, held.payload, self._node).batches
        batch.first_line = held.first_line
        waiting = Waiting(key, batch)
        self._store.load(key, waiting)
        self._append(key.split("/")[2], waiting)

    def hold(self, kind: str, batch: Batch) -> None:
        """Put a batch (or one progress record about the kind) at the end of a lane."""
        lane = self._lanes.get(kind)
        number = int(lane[-1].key.rpartition("/")[2]) + 1 if lane else 0
        waiting = Waiting(f"{PREFIX}{escape_token(self._node)}/{kind}/{number:09d}", batch)
        self._store[waiting.key] = waiting
        self._append(kind, waiting)

    def _append(self, kind: str, waiting: Waiting) -> None:
        self._lanes.setdefault(kind, deque()).append(waiting)
        self._bytes[kind] = self._bytes.get(kind, 0) + sum(map(len, waiting.batch.lines))

    def head(self, kind: str) -> Waiting:
        """What has waited longest."""
        return self._lanes[kind][0]

    def full(self, kind: str) -> bool:
        """Whether the lane is beyond its bounds."""
        return len(self._lanes[kind]) > MAXIMUM_BATCHES or self._bytes[kind] > MAXIMUM_BYTES

    def release(self, kind: str) -> Waiting:
        """Take the head out."""
        lane = self._lanes[kind]
        waiting = lane.popleft()
        self._bytes[kind] -= sum(map(len, waiting.batch.lines))
        if not lane:
            del self._lanes[kind], self._bytes[kind]
        del self._store[waiting.key]
        return waiting

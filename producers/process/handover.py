"""Hands the ring over from one life of the producer to the next, without a loss or a repetition.

A pinned ring outlives the producer. For that, a record's space may be given back to the kernel only
when its event is durable, on disk in the spool; until then a kill -9 must find it in the ring. And
the next life must not hand over again what was durable already. Both follow from one fact: a record
makes exactly one event, so that places in the ring and sequence numbers advance together.

The cursor, an array that is pinned beside the ring, says which place belongs to which number in
which life. What became durable behind it, the spool tells when it is opened again.
"""

import hashlib
import mmap
import os
from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol, runtime_checkable

from producers.base.observer import EventSink
from producers.process.ring import PAGE, Counts, RingBuffer

_CURRENT: Final = 0
_SLOTS: Final = (1, 5)
_ACCOUNTED: Final = 9
_ACCOUNTED_AT: Final = 15
_TRAIL: Final = 16
_WORDS: Final = 32
_TRAIL_STEP: Final = 64 * 1024
"""Bytes of the ring between two remembered places: more would be remembered for nothing."""


@runtime_checkable
class DurableSink(EventSink, Protocol):
    """A sink that knows what of its events a kill cannot take any more."""

    boot: str
    """This life's name."""

    def durable(self, kind: str) -> int:
        """How many of the events of this kind, from the first on, are on disk or given up."""

    def recovered(self, kind: str) -> tuple[str, int] | None:
        """An earlier life and how many of its events are on disk; None if nothing is known."""


class Place(NamedTuple):
    """What the cursor says: everything in the ring before ``position`` is durable."""

    position: int
    seq: int
    """Events of the life that are durable at ``position``."""
    life: bytes
    """Digest of the life's name, 16 bytes."""


class Cursor:
    """The pinned array. Two slots, written in turn, so that a kill finds one of them whole.

    :param descriptor: of the map; owned, and closed by :meth:`close`
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._page = mmap.mmap(descriptor, PAGE, mmap.MAP_SHARED)
        self._words = memoryview(self._page)[: 8 * _WORDS].cast("Q")

    def read(self) -> Place | None:
        """The last place written; None on a new array."""
        slot = self._words[_CURRENT]
        if slot not in _SLOTS:
            return None
        position, seq, *life = self._words[slot : slot + 4]
        return Place(position, seq, b"".join(word.to_bytes(8, "little") for word in life))

    def write(self, place: Place) -> None:
        """Remember a place."""
        slot = next(each for each in _SLOTS if each != self._words[_CURRENT])
        self._words[slot] = place.position
        self._words[slot + 1] = place.seq
        self._words[slot + 2] = int.from_bytes(place.life[:8], "little")
        self._words[slot + 3] = int.from_bytes(place.life[8:], "little")
        self._words[_CURRENT] = slot

    @property
    def accounted(self) -> tuple[Counts, int]:
        """The kernel's counts that were reported last, and when, in microseconds of UTC."""
        size = len(Counts._fields)
        counts = Counts(*self._words[_ACCOUNTED : _ACCOUNTED + size])
        return counts, self._words[_ACCOUNTED_AT]

    @accounted.setter
    def accounted(self, accounted: tuple[Counts, int]) -> None:
        counts, self._words[_ACCOUNTED_AT] = accounted
        for index, value in enumerate(counts):
            self._words[_ACCOUNTED + index] = value

    @property
    def trail(self) -> int:
        """The beginning of an old record, from which on the ring can be read once more."""
        return self._words[_TRAIL]

    @trail.setter
    def trail(self, position: int) -> None:
        self._words[_TRAIL] = position

    def close(self) -> None:
        """Unmap the array and close its descriptor."""
        self._words.release()
        self._page.close()
        os.close(self._descriptor)


class Handover:
    """Decides when records may leave the ring.

    :param cursor: None if the ring is not pinned; then they leave at once
    """

    def __init__(self, kind: str, ring: RingBuffer, cursor: Cursor | None, sink: EventSink) -> None:
        self._kind = kind
        self._ring = ring
        self._cursor = cursor
        self._sink = sink if cursor is not None and isinstance(sink, DurableSink) else None
        self._emitted = 0
        self._pending: deque[tuple[int, int]] = deque()
        self._trail: deque[int] = deque()

    def history(self) -> Iterator[bytes]:
        """Records that earlier lives have read and that are still in the ring, the oldest first.

        Their execs tell what it was that has ended since.
        """
        place = self._cursor.read() if self._cursor is not None else None
        if self._cursor is not None and place is not None:
            self._trail.append(self._cursor.trail)
            stop = max(self._ring.position, place.position)
            yield from self._ring.reread(self._cursor.trail, stop)

    def repeated(self) -> int:
        """How many events, from the ring's present position on, an earlier life made durable.

        Moves the ring's position to the cursor's.
        """
        place = self._cursor.read() if self._cursor is not None else None
        if place is None or self._sink is None:
            return 0
        self._ring.seek(place.position)
        recovered = self._sink.recovered(self._kind)
        if recovered is None or _digest(recovered[0]) != place.life:
            return 0
        return max(0, recovered[1] - place.seq)

    def begin(self) -> None:
        """What is behind the ring's position was an earlier life's; this one's events follow."""
        if self._cursor is not None and self._sink is not None:
            life = _digest(self._sink.boot)
            self._cursor.write(Place(self._ring.position, 0, life))
            self._leave_trail(self._ring.position)
        self._ring.release(self._ring.position)

    def handed_over(self, events: int) -> None:
        """So many more events, of the records up to the ring's position, are with the sink."""
        self._emitted += events
        if self._sink is None:
            self._ring.release(self._ring.position)
        else:
            self._pending.append((self._ring.position, self._emitted))

    def settle(self) -> bool:
        """Give back what is durable; whether that is all."""
        if self._sink is None or self._cursor is None:
            return True
        durable = self._sink.durable(self._kind)
        settled: tuple[int, int] | None = None
        while self._pending and self._pending[0][1] <= durable:
            settled = self._pending.popleft()
        if settled is not None:
            position, seq = settled
            # In this order: the ring must never be ahead of the cursor, which tells how many of
            # its records were durable.
            self._cursor.write(Place(position, seq, _digest(self._sink.boot)))
            self._ring.release(position)
            self._leave_trail(position)
        return not self._pending

    def _leave_trail(self, position: int) -> None:
        if not self._trail or position - self._trail[-1] >= _TRAIL_STEP:
            self._trail.append(position)
        oldest = self._ring.oldest_intact
        while self._trail[0] < oldest and len(self._trail) > 1:
            self._trail.popleft()
        if self._cursor is not None:
            self._cursor.trail = self._trail[0]


def _digest(life: str) -> bytes:
    return hashlib.blake2b(life.encode(), digest_size=16).digest()

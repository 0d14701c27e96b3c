"""Turns events into batches: gives each its identity, writes it as JSON, decides when to close.

Runs on the loop only. A seq is given at the moment in which the line is written into a batch, so
within one (boot, kind) there is never a gap, whatever happened before.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from producers.base.settings import ProducerSettings
from producers.base.spool_record import Meta
from stream.contract.batch import MAXIMUM_RAW_BYTES
from stream.contract.event import Event
from stream.contract.kinds import kind_definition

LOAD_EVENTS: Final = 32
"""Events of one kind within a second from which on batches close early."""

TOO_LARGE: Final = "event_too_large"
UNENCODABLE: Final = "event_unencodable"

_encode_lines = msgspec.json.Encoder().encode_lines


class Batch(NamedTuple):
    """A closed batch: what it is, and its lines."""

    meta: Meta
    payload: bytes


class Batcher:
    """The open batch of one kind, and the seqs of this boot."""

    def __init__(self, kind: str, node: str, boot: str, settings: ProducerSettings) -> None:
        self.kind = kind
        self._version = kind_definition(kind).version
        self._node = node
        self._boot = boot
        self._settings = settings
        self.next_seq = 0
        """Seqs given so far."""
        self.refused: Counter[str] = Counter()
        """Events that can't be written, by reason; they got no seq."""
        self._lines: list[bytes] = []
        self._bytes = 0
        self._count = 0
        self._first_ts = self._last_ts = ""
        self._opened = 0.0
        self._recent = self._before = 0

    def add(self, events: list[Event], now: float) -> Iterator[Batch]:
        """Write the events into batches; gives those that are full. ``now`` is the loop's time."""
        limit = self._settings.batch_events
        self._recent += len(events)
        while events:
            taken, events = events[: limit - self._count], events[limit - self._count :]
            yield from self._write(taken, now)
            if self._count >= limit:
                yield from self.close()

    def _write(self, events: list[Event], now: float) -> Iterator[Batch]:
        for seq, event in enumerate(events, self.next_seq):
            event.node = self._node
            event.boot = self._boot
            event.seq = seq
        try:
            lines = _encode_lines(events)
        except (UnicodeEncodeError, TypeError, ValueError, OverflowError):
            # Text that is no text, most likely. Only that event is left out.
            if len(events) == 1:
                self.refused[UNENCODABLE] += 1
                return
            yield from self._halves(events, now)
            return
        if self._bytes + len(lines) > self._settings.batch_bytes:
            if self._count:
                yield from self.close()
                yield from self._write(events, now)
                return
            if len(events) > 1:
                yield from self._halves(events, now)
                return
            if len(lines) > MAXIMUM_RAW_BYTES:
                self.refused[TOO_LARGE] += 1
                return
        if not self._count:
            self._opened = now
            self._first_ts = events[0].ts
        self._last_ts = events[-1].ts
        self._lines.append(lines)
        self._bytes += len(lines)
        self._count += len(events)
        self.next_seq += len(events)

    def _halves(self, events: list[Event], now: float) -> Iterator[Batch]:
        half = len(events) // 2
        yield from self._write(events[:half], now)
        yield from self._write(events[half:], now)

    def due(self, now: float) -> bool:
        """Whether the open batch has reached its age."""
        return bool(self._count) and now >= self.deadline

    @property
    def open(self) -> bool:
        """Whether events wait in an open batch."""
        return bool(self._count)

    @property
    def deadline(self) -> float:
        """When the open batch is to be closed, in the loop's time."""
        busy = max(self._before, self._recent) >= LOAD_EVENTS
        settings = self._settings
        return self._opened + (
            settings.batch_age_seconds if busy else settings.batch_idle_age_seconds
        )

    def close(self) -> Iterator[Batch]:
        """Close the open batch, if there is one."""
        if not self._count:
            return
        first_seq = self.next_seq - self._count
        meta = Meta(
            self.kind,
            self._version,
            self._node,
            self._boot,
            first_seq,
            self._count,
            self._first_ts,
            self._last_ts,
        )
        payload = b"".join(self._lines)
        self._lines = []
        self._bytes = self._count = 0
        yield Batch(meta, payload)

    def tick(self) -> None:
        """A second has passed: what came in it decides how early the next batches close."""
        self._before, self._recent = self._recent, 0

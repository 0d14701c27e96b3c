"""Removes from the streams what is stored, oldest first, behind everyone who reads them."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from stream.broker.jetstream import ConsumerInfo, JetStream
from stream.broker.streams import BUCKETS_STREAM, EVENTS_STREAM

PURGED: Final = (EVENTS_STREAM, BUCKETS_STREAM)
"""DEAD is not among them: it drops its oldest by itself."""


class _Consumers(msgspec.Struct):
    consumers: list[ConsumerInfo] | None = None
    total: int = 0


@dataclass(slots=True)
class _Seen:
    moment: float
    floor: int


class StreamCleaner:
    """Keeps a horizon for taps and replays while the stream has room for it."""

    def __init__(
        self,
        jetstream: JetStream,
        horizon_seconds: float,
        above_fraction: float,
        clock: Callable[[], float] = time.monotonic,
        streams: Sequence[str] = PURGED,
    ) -> None:
        self._jetstream = jetstream
        self._streams = streams
        self._horizon = horizon_seconds
        self._above = above_fraction
        self._clock = clock
        self._floors: dict[str, deque[_Seen]] = {}

    async def clean(self) -> dict[str, int]:
        """One round; gives the number of messages removed from each stream."""
        return {name: await self._clean(name) for name in self._streams}

    async def _clean(self, name: str) -> int:
        info = await self._jetstream.stream_info(name)
        floor = await self._floor(name, info.state.last_seq)
        if floor is None:
            return 0
        now = self._clock()
        floors = self._floors.setdefault(name, deque())
        floors.append(_Seen(now, floor))
        below = 0
        while floors and floors[0].moment <= now - self._horizon:
            below = floors.popleft().floor
        limit = int(info.config.get("max_bytes", -1))
        if limit > 0 and info.state.bytes > self._above * limit:
            # Half of what may go: the newest stored messages are the most wanted ones.
            below = max(below, info.state.first_seq + (floor - info.state.first_seq + 1) // 2)
        if below < info.state.first_seq:
            return 0
        return await self._jetstream.purge_below(name, below + 1)

    async def _floor(self, name: str, last: int) -> int | None:
        """The highest sequence that every durable consumer has done with; None without one.

        ``last`` is the end of the stream before the consumers are asked. A consumer that has
        nothing to read has done with all up to it, though its own floor stands still when its
        filter matches little.
        """
        floors = []
        offset = 0
        while True:
            page = await self._jetstream.request(
                f"CONSUMER.LIST.{name}", {"offset": offset}, model=_Consumers
            )
            found = page.consumers or []
            for each in found:
                if each.config.get("durable_name"):
                    idle = not each.num_pending and not each.num_ack_pending
                    floors.append(last if idle else each.ack_floor.stream_seq)
            offset += len(found)
            if not found or offset >= page.total:
                return min(floors, default=None)

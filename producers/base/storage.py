"""The spool and the producer's state, on a thread of their own, for the loop to await."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from producers.base.batcher import Batch
from producers.base.errors import SpoolError, SpoolFullError, SpoolWriteError
from producers.base.settings import SpoolSettings
from producers.base.spool import Spool
from producers.base.spool_record import Meta
from producers.base.spool_types import LostRange, Position, Ranges, Recovery, Stored
from producers.base.state_file import ProducerState, StateFile, UnspooledRange

_log = logging.getLogger("tenwatch.producer")
Result = TypeVar("Result")
LOSS = "loss"


class Storage:
    """Async doors to :class:`Spool` and :class:`StateFile`; calls run one after the other."""

    def __init__(
        self, folder: Path, settings: SpoolSettings, boot: str, kinds: Sequence[str]
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._spool: Spool | None = None
        self._state: StateFile | None = None
        self._boot = boot
        self._kinds = list(kinds)
        self.previous: ProducerState | None = None
        """What the life before this one left; set by :meth:`open`."""
        self.observing = False
        """Until it is set, the state goes on telling when the lives before had last observed."""

    @property
    def spool(self) -> Spool:
        """The spool, once open. The loop reads only its plain attributes."""
        if self._spool is None:
            raise RuntimeError("the storage is not open")
        return self._spool

    async def _run(self, function: Callable[..., Result], *arguments: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    async def open(self) -> Recovery:
        """Take the folder and read what is there; raises :class:`SpoolError`."""
        return await self._run(self._open)

    def _open(self) -> Recovery:
        self._spool = Spool(self._folder, self._settings)
        try:
            self._state = StateFile(self._folder / "state")
        except SpoolError:
            self._spool.close()
            raise
        self.previous = self._state.read()
        floor = Position(0, 0)
        if self.previous is not None:
            floor = Position(self.previous.floor_segment, self.previous.floor_offset)
        recovery = self._spool.open(floor)
        self._write_state(self._spool.floor, [], sync=True)
        return recovery

    async def append(
        self, batches: Sequence[Batch], reserve: bool = False
    ) -> tuple[list[Stored], SpoolFullError | SpoolWriteError | None]:
        """Append as many as go; gives those, and what stopped the next one."""
        return await self._run(self._append, batches, reserve)

    def _append(
        self, batches: Sequence[Batch], reserve: bool
    ) -> tuple[list[Stored], SpoolFullError | SpoolWriteError | None]:
        stored: list[Stored] = []
        for batch in batches:
            try:
                stored.append(self.spool.append(batch.meta, batch.payload, reserve))
            except (SpoolFullError, SpoolWriteError) as error:
                return stored, error
        return stored, None

    async def read(self, cursor: Position, max_bytes: int) -> tuple[list[Stored], Position, int]:
        """See :meth:`Spool.read`."""
        return await self._run(self.spool.read, cursor, max_bytes)

    async def acknowledge(self, floor: Position) -> None:
        """See :meth:`Spool.acknowledge`."""
        await self._run(self.spool.acknowledge, floor)

    async def victim(self, cursor: Position) -> int | None:
        """See :meth:`Spool.victim`."""
        return await self._run(self.spool.victim, cursor)

    async def summary(self, number: int) -> tuple[list[LostRange], list[Batch]]:
        """What a segment holds: ranges of seqs, and apart the batches that tell of losses."""
        return await self._run(self._summary, number)

    def _summary(self, number: int) -> tuple[list[LostRange], list[Batch]]:
        ranges, losses = Ranges(), []
        for record in self.spool.contents(number):
            if record.meta.kind == LOSS:
                losses.append(Batch(record.meta, record.payload))
            else:
                ranges.add(record.meta)
        return ranges.all(), losses

    async def drop(self, number: int) -> None:
        """See :meth:`Spool.drop`."""
        await self._run(self.spool.drop, number)

    async def keep(self, floor: Position, unspooled: Sequence[Meta]) -> None:
        """Remove what is acknowledged, sync by the policy, remember that this life lasts."""
        await self._run(self._keep, floor, unspooled)

    def _keep(self, floor: Position, unspooled: Sequence[Meta]) -> None:
        self.spool.acknowledge(floor)
        self.spool.sync()
        try:
            self._write_state(floor, unspooled)
        except OSError as error:
            _log.warning("the state in %s can't be written: %s", self._folder, error.strerror)

    async def close(self, floor: Position, unspooled: Sequence[Meta], orderly: bool) -> None:
        """Leave the mark of an orderly stop (or not), and let go of the folder."""
        await self._run(self._close, floor, unspooled, orderly)
        self._thread.shutdown()

    def _close(self, floor: Position, unspooled: Sequence[Meta], orderly: bool) -> None:
        self.spool.acknowledge(floor)
        with contextlib.suppress(OSError):
            self._write_state(floor, unspooled, sync=True, closed=orderly)
        if self._state is not None:
            self._state.close()
        self.spool.close()

    def _write_state(
        self,
        floor: Position,
        unspooled: Sequence[Meta],
        sync: bool = False,
        closed: bool = False,
    ) -> None:
        if self._state is None:
            return
        ranges = Ranges()
        for meta in unspooled:
            ranges.add(meta)
        state = ProducerState(boot=self._boot, alive_us=0)
        if self.observing:
            state.alive_us = time.time_ns() // 1000
            state.kinds = self._kinds
            state.closed = closed
        elif self.previous is not None:
            state = msgspec.structs.replace(self.previous)
        state.floor_segment, state.floor_offset = floor
        state.unspooled = [
            UnspooledRange(each.meta.kind, each.meta.boot, each.first_seq, each.last_seq)
            for each in ranges.all()
        ]
        self._state.write(state, sync)

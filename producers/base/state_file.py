"""A small state that is written every second and survives whatever happens meanwhile.

The file has two slots of fixed size, written in turn, in place: a torn write leaves the other slot,
and a full disk doesn't matter, since both have their blocks from the beginning.
"""

import os
import struct
import zlib
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from producers.base.errors import SpoolError

SLOT_BYTES: Final = 8192
_HEADER: Final = struct.Struct("<4sQII")
_MAGIC: Final = b"TWs1"


class UnspooledRange(Struct, array_like=True, frozen=True):
    """Seqs that are in memory only, because the disk refused them."""

    kind: str
    boot: str
    first_seq: int
    last_seq: int


class ProducerState(Struct, kw_only=True):
    """What a producer remembers of itself from one life to the next."""

    boot: str
    """The life that observed last."""
    alive_us: int
    """When it was last known to observe, microseconds since the epoch."""
    closed: bool = False
    """Whether it stopped in order: then everything that it saw is in the spool or acknowledged."""
    kinds: list[str] = []
    """The kinds that it observed."""
    floor_segment: int = 0
    """Everything in the spool below (segment, offset) is acknowledged."""
    floor_offset: int = 0
    unspooled: list[UnspooledRange] = []
    """Neither on disk nor acknowledged, as far as was known when this was written."""


class StateFile:
    """Reads and writes one :class:`ProducerState`. Not for several threads at once."""

    def __init__(self, path: Path) -> None:
        """Open or make the file; raises :class:`SpoolError`."""
        self._path = path
        descriptor = -1
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if os.fstat(descriptor).st_size < 2 * SLOT_BYTES:
                os.pwrite(descriptor, bytes(2 * SLOT_BYTES), 0)
        except OSError as error:
            if descriptor >= 0:
                os.close(descriptor)
            raise SpoolError(
                f"the state file {path} can't be made: {error.strerror}; free some space or name "
                "another spool.folder"
            ) from None
        self._descriptor = descriptor
        self._generation = 0

    def read(self) -> ProducerState | None:
        """The newest state that is whole; None if there is none."""
        newest: ProducerState | None = None
        for slot in range(2):
            data = os.pread(self._descriptor, SLOT_BYTES, slot * SLOT_BYTES)
            if len(data) < _HEADER.size:
                continue
            magic, generation, length, checksum = _HEADER.unpack_from(data)
            body = data[_HEADER.size : _HEADER.size + length]
            if magic != _MAGIC or len(body) != length or zlib.crc32(body) != checksum:
                continue
            if generation < self._generation:
                continue
            try:
                newest = msgspec.json.decode(body, type=ProducerState)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            self._generation = generation
        return newest

    def write(self, state: ProducerState, sync: bool = False) -> None:
        """Write the next generation; raises :class:`OSError` if the disk refuses."""
        body = msgspec.json.encode(state)
        if len(body) > SLOT_BYTES - _HEADER.size:
            state = msgspec.structs.replace(state, unspooled=state.unspooled[:16])
            body = msgspec.json.encode(state)
        self._generation += 1
        header = _HEADER.pack(_MAGIC, self._generation, len(body), zlib.crc32(body))
        slot = self._generation % 2
        os.pwrite(self._descriptor, header + body, slot * SLOT_BYTES)
        if sync:
            os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

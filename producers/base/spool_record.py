"""One batch as it lies in a segment of the spool, and how a damaged segment is read.

``magic (4) | length of meta (2) | length of payload (4) | CRC-32 of all that follows and of both
lengths (4) | meta (MessagePack) | payload (NDJSON)``, little-endian. The magic lets a reader find
the next record behind a damaged one, so damage costs only what it hit.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from stream.contract.batch import MAXIMUM_RAW_BYTES, BatchIdentity

MAGIC: Final = b"TWb1"
_HEADER: Final = struct.Struct("<4sHII")
_LENGTHS: Final = struct.Struct("<HI")
HEADER_BYTES: Final = _HEADER.size
MAXIMUM_META_BYTES: Final = 4096
MAXIMUM_RECORD_BYTES: Final = HEADER_BYTES + MAXIMUM_META_BYTES + MAXIMUM_RAW_BYTES


class Meta(Struct, array_like=True, frozen=True, gc=False):
    """What is known of a batch without reading it."""

    kind: str
    version: int
    node: str
    boot: str
    first_seq: int
    count: int
    first_ts: str = ""
    last_ts: str = ""

    @property
    def identity(self) -> BatchIdentity:
        """The batch's identity on the wire."""
        return BatchIdentity(
            self.kind, self.version, self.node, self.boot, self.first_seq, self.count
        )

    @property
    def last_seq(self) -> int:
        """The seq of the last line."""
        return self.first_seq + self.count - 1


class Record(NamedTuple):
    """A record that was read, and where: ``[start, end)`` of its segment."""

    meta: Meta
    payload: bytes
    start: int
    end: int


class Damage(NamedTuple):
    """Bytes ``[start, end)`` of a segment that are no record."""

    start: int
    end: int


_encode_meta = msgspec.msgpack.Encoder().encode
_decode_meta = msgspec.msgpack.Decoder(Meta).decode


def encode_record(meta: Meta, payload: bytes) -> bytes:
    """A batch as bytes of a segment."""
    encoded = _encode_meta(meta)
    checksum = zlib.crc32(_LENGTHS.pack(len(encoded), len(payload)))
    checksum = zlib.crc32(payload, zlib.crc32(encoded, checksum))
    return _HEADER.pack(MAGIC, len(encoded), len(payload), checksum) + encoded + payload


def record_length(header: bytes) -> int | None:
    """Bytes of the record whose first bytes these are; None if they are no record's."""
    if len(header) < HEADER_BYTES:
        return None
    magic, meta_length, payload_length, _ = _HEADER.unpack_from(header)
    if magic != MAGIC or meta_length > MAXIMUM_META_BYTES or payload_length > MAXIMUM_RAW_BYTES:
        return None
    return HEADER_BYTES + int(meta_length) + int(payload_length)


def decode_record(data: bytes | memoryview, start: int, base: int = 0) -> Record | None:
    """The record that begins at ``start``, or None if it is torn or damaged.

    ``base`` is where ``data`` begins within its segment.
    """
    length = record_length(bytes(data[start : start + HEADER_BYTES]))
    if length is None or start + length > len(data):
        return None
    _, meta_length, _, checksum = _HEADER.unpack_from(data, start)
    body = start + HEADER_BYTES
    found = zlib.crc32(data[body : start + length], zlib.crc32(data[start + 4 : start + 10]))
    if found != checksum:
        return None
    try:
        meta = _decode_meta(data[body : body + meta_length])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    payload = bytes(data[body + meta_length : start + length])
    return Record(meta, payload, base + start, base + start + length)


def scan(data: bytes, start: int = 0) -> Iterator[Record | Damage]:
    """All records of a segment from ``start`` on, and the damage between them; never raises."""
    view = memoryview(data)
    position = damaged_from = start
    while position < len(data):
        record = decode_record(view, position)
        if record is None:
            position = data.find(MAGIC, position + 1)
            if position < 0:
                break
            continue
        if damaged_from < record.start:
            yield Damage(damaged_from, record.start)
        yield record
        position = damaged_from = record.end
    if damaged_from < len(data):
        yield Damage(damaged_from, len(data))

"""ClickHouse's own compression (`compress=1`, `decompress=1`): blocks that each carry a checksum.

A block is the CityHash128 (version 1.0.2) of what follows, 16 bytes; a byte for the method; the
length of the block from that byte on and the length of its data, both 32 bit; and the packed data
(`src/Compression/CompressionInfo.h` of ClickHouse). Drivers of Go and Java use it by default.
"""

import struct

import lz4.block
import zstandard
from clickhouse_cityhash.cityhash import CityHash128

from sinks.sql_endpoint.errors import BadRequestError, TooLargeError

_NONE, _LZ4, _ZSTD = 0x02, 0x82, 0x90
_HEADER = struct.Struct("<BII")
_CHECKSUM = struct.Struct("<QQ")
_BLOCK_BYTES = 1024 * 1024
_LOW = (1 << 64) - 1


class BlockEncoder:
    """Packs a response with LZ4, in blocks of at most 1 MiB."""

    def encode(self, piece: bytes) -> bytes:
        """The blocks of `piece`."""
        return b"".join(
            _block(piece[start : start + _BLOCK_BYTES])
            for start in range(0, len(piece), _BLOCK_BYTES)
        )

    def finish(self) -> bytes:
        """Nothing: blocks end by themselves."""
        return b""


def _block(data: bytes) -> bytes:
    packed: bytes = lz4.block.compress(data, store_size=False)
    block = _HEADER.pack(_LZ4, _HEADER.size + len(packed), len(data)) + packed
    return _checksum(block) + block


def _checksum(block: bytes) -> bytes:
    value: int = CityHash128(block)
    return _CHECKSUM.pack(value >> 64, value & _LOW)


def unpack_blocks(raw: bytes, limit: int) -> bytes:
    """The data of all blocks of a request, at most `limit` bytes; BadRequestError if damaged."""
    out = bytearray()
    place = 0
    while place < len(raw):
        start = place + _CHECKSUM.size
        if len(raw) < start + _HEADER.size:
            raise BadRequestError("the last compressed block of the body is cut short")
        method, length, size = _HEADER.unpack_from(raw, start)
        block = raw[start : start + length]
        if length < _HEADER.size or len(block) < length:
            raise BadRequestError("the last compressed block of the body is cut short")
        if _checksum(block) != raw[place:start]:
            raise BadRequestError(f"the checksum of the compressed block at {place} is wrong")
        if len(out) + size > limit:
            raise TooLargeError(
                f"the request body is larger than {limit} bytes after decompression"
            )
        out += _unpacked(method, block[_HEADER.size :], size)
        place = start + length
    return bytes(out)


def _unpacked(method: int, packed: bytes, size: int) -> bytes:
    try:
        if method == _LZ4:
            data = lz4.block.decompress(packed, uncompressed_size=size)
        elif method == _ZSTD:
            data = zstandard.ZstdDecompressor().decompress(packed, max_output_size=size)
        elif method == _NONE:
            data = packed
        else:
            raise BadRequestError(f"the compression method {method:#x} is not served; use LZ4")
    except (lz4.block.LZ4BlockError, zstandard.ZstdError, ValueError) as error:
        raise BadRequestError(f"a compressed block is damaged: {str(error)[:100]}") from None
    if len(data) != size:
        raise BadRequestError("a compressed block has another size than it says")
    return bytes(data)

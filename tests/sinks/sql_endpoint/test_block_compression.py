"""ClickHouse's own compressed blocks, in both directions."""

import struct

import lz4.block
import pytest
import zstandard
from clickhouse_cityhash.cityhash import CityHash128
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.sql_endpoint.block_compression import BlockEncoder, unpack_blocks
from sinks.sql_endpoint.errors import BadRequestError, SqlEndpointError, TooLargeError
from tests.sinks.sql_endpoint.endpoint_process import EndpointProcess

MEBIBYTE = 1 << 20
# A block that clickhouse-go reads: checksum, method, lengths, data.
GOLDEN = bytes.fromhex(
    "b3d68bc5c0abafa3b146e3a9dd8036cd"
    "82" "18000000" "18000000"
    "6968656c6c6f20060050656c6c6f0a"
)  # fmt: skip
TEXT = b"hello hello hello hello\n"


def block(method: int, packed: bytes, size: int) -> bytes:
    body = struct.pack("<BII", method, 9 + len(packed), size) + packed
    checksum = CityHash128(body)
    return struct.pack("<QQ", checksum >> 64, checksum & (2**64 - 1)) + body


def test_a_known_block() -> None:
    assert BlockEncoder().encode(TEXT) == GOLDEN
    assert unpack_blocks(GOLDEN, 100) == TEXT


@given(st.lists(st.binary(max_size=5000), max_size=4), st.integers(1, 400))
@settings(deadline=None, max_examples=60)
def test_what_is_packed_is_unpacked(pieces: list[bytes], times: int) -> None:
    encoder = BlockEncoder()
    packed = b"".join(encoder.encode(piece * times) for piece in pieces) + encoder.finish()
    assert unpack_blocks(packed, 20_000_000) == b"".join(piece * times for piece in pieces)


def test_every_method_is_unpacked() -> None:
    raw = block(0x02, TEXT, 24) + block(0x90, zstandard.compress(TEXT), 24) + GOLDEN
    assert unpack_blocks(raw, 100) == TEXT * 3


@given(st.data())
@settings(deadline=None, max_examples=200)
def test_damage_is_noticed_and_never_more_than_an_error(data: st.DataObject) -> None:
    raw = bytearray(GOLDEN * 2)
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(1, len(raw)))
    with pytest.raises(SqlEndpointError):
        unpack_blocks(bytes(raw), 1000)
    if cut % len(GOLDEN):
        with pytest.raises(SqlEndpointError):
            unpack_blocks((GOLDEN * 2)[:cut], 1000)


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (block(0x82, lz4.block.compress(b"x" * 2000, store_size=False), 2000), TooLargeError),
        (block(0x82, b"\xff" * 20, 900), BadRequestError),
        (block(0x82, lz4.block.compress(b"x" * 20, store_size=False), 900), BadRequestError),
        (block(0x90, b"\xff" * 20, 900), BadRequestError),
        (block(0x02, b"x" * 20, 21), BadRequestError),
        (block(0x55, b"x" * 20, 20), BadRequestError),
        (block(0x82, b"x", 2**32 - 1), TooLargeError),
    ],
)
def test_bombs_and_lies_are_refused(raw: bytes, error: type[SqlEndpointError]) -> None:
    with pytest.raises(error):
        unpack_blocks(raw, 1000)


def test_results_and_requests_come_in_blocks(endpoint: EndpointProcess) -> None:
    small = endpoint.ask("SELECT 1", compress=1)
    assert "Content-Encoding" not in small.headers
    assert unpack_blocks(small.body, 100) == b"1\n"
    large = endpoint.ask("SELECT number FROM numbers(2000000)", compress=1)
    numbers = unpack_blocks(large.body, 100 * MEBIBYTE).split()
    assert (len(numbers), numbers[-1]) == (2_000_000, b"1999999")
    question = BlockEncoder().encode(b"SELECT 1 + 1")
    assert endpoint.ask(question, decompress=1).body == b"2\n"
    bomb = BlockEncoder().encode(b"SELECT 1" + b" " * 50_000_000)
    assert endpoint.ask(bomb, decompress=1).status == 413
    assert endpoint.ask(b"SELECT 1", decompress=1).status == 400
    failed = endpoint.ask("SELECT nope", compress=1)
    assert failed.code == 47

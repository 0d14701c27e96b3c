"""HTTP compression in both directions: gzip, deflate, zstd and lz4, in pieces."""

import zlib
from typing import Any, Protocol

import lz4.frame
import zstandard

from sinks.sql_endpoint.block_compression import BlockEncoder
from sinks.sql_endpoint.errors import BadRequestError, NotServedError, TooLargeError

_PIECE = 256 * 1024
_GZIP_WINDOW = 16 + zlib.MAX_WBITS


class Encoder(Protocol):
    """Compresses a response body piece by piece."""

    def encode(self, piece: bytes) -> bytes:
        """Compressed bytes so far; may be empty."""

    def finish(self) -> bytes:
        """The rest, with the end of the stream."""


class _Zlib:
    def __init__(self, window: int) -> None:
        # Level 1 and 3 below: a fast link gains nothing from more, and the machine is shared.
        self._stream = zlib.compressobj(1, zlib.DEFLATED, window)

    def encode(self, piece: bytes) -> bytes:
        return self._stream.compress(piece)

    def finish(self) -> bytes:
        return self._stream.flush()


class _Zstd:
    def __init__(self) -> None:
        self._stream = zstandard.ZstdCompressor(level=1).compressobj()

    def encode(self, piece: bytes) -> bytes:
        return self._stream.compress(piece)

    def finish(self) -> bytes:
        return self._stream.flush()


class _Lz4:
    def __init__(self) -> None:
        self._stream = lz4.frame.LZ4FrameCompressor(auto_flush=False)
        self._begun = False

    def encode(self, piece: bytes) -> bytes:
        head = b"" if self._begun else self._stream.begin()
        self._begun = True
        return head + bytes(self._stream.compress(piece))

    def finish(self) -> bytes:
        head = b"" if self._begun else self._stream.begin()
        return head + bytes(self._stream.flush())


BLOCKS = "blocks"
"""Name for ClickHouse's own compression among the encodings; it is none of HTTP's."""


def encoder(name: str) -> Encoder | None:
    """The encoder for a Content-Encoding or BLOCKS, or None for identity."""
    match name:
        case "":
            return None
        case "gzip":
            return _Zlib(_GZIP_WINDOW)
        case "deflate":
            return _Zlib(zlib.MAX_WBITS)
        case "zstd":
            return _Zstd()
        case "lz4":
            return _Lz4()
        case "blocks":
            return BlockEncoder()
    raise NotServedError(f"the encoding {name!r} is not served here")


class Decoder:
    """Decompresses a request body, at most `limit` bytes of it however small it arrives."""

    def __init__(self, encoding: str, limit: int) -> None:
        self._limit = limit
        self._out = bytearray()
        self._encoding = encoding.strip().lower()
        self._stream: Any = None
        match self._encoding:
            case "" | "identity":
                pass
            case "gzip" | "x-gzip":
                self._stream = zlib.decompressobj(_GZIP_WINDOW)
            case "deflate":
                self._stream = zlib.decompressobj()
            case "zstd":
                # Its own memory is bounded by the window, which the frame's header asks for.
                self._stream = zstandard.ZstdDecompressor(max_window_size=2**23)
                self._stream = self._stream.decompressobj(write_size=_PIECE)
            case "lz4":
                self._stream = lz4.frame.LZ4FrameDecompressor()
            case _:
                raise NotServedError(
                    f"the Content-Encoding {encoding[:30]!r} is not served here; "
                    "use gzip, deflate, zstd or lz4"
                )

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the body; TooLargeError as soon as they are too many."""
        if self._stream is None:
            self._add(piece)
            return
        try:
            self._decode(piece)
        except (zlib.error, zstandard.ZstdError, RuntimeError, EOFError) as error:
            raise BadRequestError(
                f"the body is not valid {self._encoding}: {str(error)[:100]}"
            ) from None

    def _decode(self, piece: bytes) -> None:
        stream = self._stream
        if isinstance(stream, lz4.frame.LZ4FrameDecompressor):
            self._add(stream.decompress(piece, max_length=self._limit - len(self._out) + 1))
        elif self._encoding == "zstd":
            # Little input at a time bounds the output: zstd expands a block to 128 KiB at most.
            for start in range(0, len(piece), 256):
                self._add(stream.decompress(piece[start : start + 256]))
        else:
            self._add(stream.decompress(piece, self._limit - len(self._out) + 1))

    def _add(self, piece: bytes) -> None:
        self._out += piece
        if len(self._out) > self._limit:
            raise TooLargeError(
                f"the request body is larger than {self._limit} bytes after decompression"
            )

    def finish(self) -> bytes:
        """The whole body; BadRequestError if its compression is cut short."""
        if self._stream is not None and self._out and not self._stream.eof:
            raise BadRequestError(f"the {self._encoding} body is cut short")
        return bytes(self._out)

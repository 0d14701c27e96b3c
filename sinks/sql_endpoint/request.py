"""What a request asks, in ClickHouse's HTTP interface: URL parameters, headers and body."""

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import BodyPartReader, hdrs, web

from sinks.sql_endpoint.block_compression import unpack_blocks
from sinks.sql_endpoint.compression import BLOCKS, Decoder
from sinks.sql_endpoint.errors import (
    BadRequestError,
    NotServedError,
    SyntaxRefusedError,
    TooLargeError,
)
from sinks.sql_endpoint.query_settings import TRANSPORT_PARAMETERS

_PARAMETER = "param_"
_QUERY_ID_LENGTH = 128
_FORM_PARTS = 1000


@dataclass(frozen=True, slots=True)
class SqlRequest:
    """One query as the client sent it, before any check of the statement."""

    body: bytes
    """The statement: the parameter `query` and the body, joined by a newline when both are given.
    UTF-8, but for the data behind an INSERT."""
    may_write: bool
    """Whether the method allows a write: not with GET."""
    database: str
    """Database of unqualified names, as sent."""
    default_format: str
    """Format when the statement names none."""
    parameters: Mapping[str, str] = field(repr=False)
    """Values of `{name:Type}`, without the prefix `param_`."""
    settings: Mapping[str, str]
    """Engine settings asked for as URL parameters."""
    query_id: str
    """Id given by the client, else a new one."""
    compress: str
    """Content-Encoding of the response, or BLOCKS; empty for none."""
    wait_end: bool
    """Whether the client asked that the response starts when the query has ended."""
    send_progress: bool
    """Whether the client asked for X-ClickHouse-Progress headers."""
    progress_interval: float
    """Seconds between two of them."""
    native_revision: int
    """Revision as of which the client decodes Native blocks until it has read the greeting (see
    `native_hello`); 0 for plain Native."""

    def text(self) -> str:
        """The statement as text; SyntaxRefusedError when it is not UTF-8."""
        return _text(self.body)


async def read_request(request: web.Request, body_bytes: int) -> SqlRequest:
    """Read a request of at most `body_bytes` body; BadRequestError and kin say what is wrong."""
    given = _single_values(request)
    body = b""
    if request.method == hdrs.METH_POST:
        if request.content_type == "multipart/form-data":
            given.update(await _form(request, body_bytes))
        else:
            body = await _body(request, body_bytes)
            if _flag(given, "decompress"):
                body = await asyncio.to_thread(unpack_blocks, body, body_bytes)
    _refuse_what_is_not_served(request, given)
    statement = b"\n".join(part for part in (given.get("query", "").encode(), body) if part)
    query_id = given.get("query_id") or str(uuid.uuid4())
    if len(query_id) > _QUERY_ID_LENGTH or not query_id.isprintable():
        raise BadRequestError("query_id must be printable and at most 128 characters")
    return SqlRequest(
        body=statement,
        may_write=request.method == hdrs.METH_POST,
        database=given.get("database") or request.headers.get("X-ClickHouse-Database") or "",
        default_format=given.get("default_format")
        or request.headers.get("X-ClickHouse-Format", "")
        or "TabSeparated",
        parameters={
            name.removeprefix(_PARAMETER): value
            for name, value in given.items()
            if name.startswith(_PARAMETER)
        },
        settings={
            name: value
            for name, value in given.items()
            if not name.startswith(_PARAMETER) and name not in TRANSPORT_PARAMETERS
        },
        query_id=query_id,
        compress=_response_encoding(request, given),
        wait_end=_flag(given, "wait_end_of_query"),
        send_progress=_flag(given, "send_progress_in_http_headers"),
        progress_interval=max(_number(given, "http_headers_progress_interval_ms", 100) / 1000, 0.1),
        native_revision=_number(given, "client_protocol_version", 0),
    )


def _single_values(request: web.Request) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in request.query.items():
        if given.setdefault(name, value) != value:
            raise BadRequestError(f"the parameter {name[:100]!r} is given two values; give one")
    return given


async def _body(request: web.Request, limit: int) -> bytes:
    decoder = Decoder(request.headers.get(hdrs.CONTENT_ENCODING, ""), limit)
    async for chunk in request.content.iter_chunked(64 * 1024):
        decoder.feed(chunk)
    return decoder.finish()


async def _form(request: web.Request, limit: int) -> dict[str, str]:
    """Text fields of a multipart form, as clients send long parameters."""
    fields: dict[str, str] = {}
    size = 0
    reader = await request.multipart()
    async for part in reader:
        if not isinstance(part, BodyPartReader) or part.name is None:
            raise BadRequestError("a part of the form has no name")
        if part.filename is not None:
            raise NotServedError(
                f"external data ({part.name[:100]!r}) is not served here; "
                "use the table function values(), or send an Array as a parameter"
            )
        content = bytearray()
        while chunk := await part.read_chunk(64 * 1024):
            content += chunk
            size += len(chunk)
            if size > limit:
                raise TooLargeError(f"the request body is larger than {limit} bytes")
        if len(fields) >= _FORM_PARTS:
            raise TooLargeError(f"the form has more than {_FORM_PARTS} fields")
        fields[part.name] = _text(bytes(content))
    return fields


def _refuse_what_is_not_served(request: web.Request, given: Mapping[str, str]) -> None:
    # A session_id alone changes nothing, and some clients send one with every request. What would
    # need the session (SET, USE, temporary tables) is refused where the statement is read.
    if _flag(given, "session_check"):
        raise NotServedError(
            "sessions are not kept here, so there is none to check; leave out session_check and "
            "send database and settings with each query"
        )
    for name in ("role", "framing"):
        if name in given:
            raise NotServedError(f"the parameter {name} is not served here; leave it out")


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise SyntaxRefusedError(
            "the statement is not UTF-8; write other bytes as unhex('…')"
        ) from None


def _flag(given: Mapping[str, str], name: str) -> bool:
    value = given.get(name, "0").lower()
    if value in ("1", "true"):
        return True
    if value in ("0", "false", ""):
        return False
    raise BadRequestError(f"{name} must be 0 or 1, not {value[:20]!r}")


def _number(given: Mapping[str, str], name: str, default: int) -> int:
    value = given.get(name) or str(default)
    if not (value.isascii() and value.isdigit()) or len(value) > 9:
        raise BadRequestError(f"{name} must be a whole number, not {value[:20]!r}")
    return int(value)


def _response_encoding(request: web.Request, given: Mapping[str, str]) -> str:
    """The encoding of the response: only when it is asked for, as ClickHouse does."""
    if _flag(given, "compress"):
        return BLOCKS
    if not _flag(given, "enable_http_compression"):
        return ""
    accepted = [
        item.partition(";")[0].strip().lower()
        for item in request.headers.get(hdrs.ACCEPT_ENCODING, "").split(",")
        if not item.replace(" ", "").endswith(";q=0")
    ]
    return next((name for name in ("zstd", "lz4", "gzip", "deflate") if name in accepted), "")

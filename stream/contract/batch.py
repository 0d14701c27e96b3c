"""A message: headers that belong to the whole batch, and NDJSON, one event per line."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from stream.contract.errors import ContractError, HeaderError
from stream.contract.event import Event
from stream.contract.kinds import kind_definition
from stream.contract.subjects import parse_subject

MAXIMUM_RAW_BYTES: Final = 512 * 1024
"""Payload of a RAW message; half of an enriched one's, so that enriching always fits."""
MAXIMUM_LINES: Final = 512
"""Lines of one batch, so that what enrichment adds to each of them fits too."""
MAXIMUM_ENRICHED_BYTES: Final = 1024 * 1024
"""The server's default ``max_payload``."""
MAXIMUM_SNAPSHOT_BYTES: Final = 256 * 1024
"""Content of one snapshot before encoding."""
CONTENT_TYPE: Final = "application/x-ndjson"

SCHEMA_HEADER: Final = "Tenwatch-Schema"
NODE_HEADER: Final = "Tenwatch-Node"
BOOT_HEADER: Final = "Tenwatch-Boot"
FIRST_SEQ_HEADER: Final = "Tenwatch-First-Seq"
COUNT_HEADER: Final = "Tenwatch-Count"
CONTENT_TYPE_HEADER: Final = "Content-Type"
MESSAGE_ID_HEADER: Final = "Nats-Msg-Id"

_encode_lines = msgspec.json.Encoder().encode_lines


@dataclass(frozen=True, slots=True)
class BatchIdentity:
    """What a batch holds: ``count`` events of one (node, kind, boot), from ``first_seq`` on."""

    kind: str
    version: int
    """Major version of the kind's schema."""
    node: str
    boot: str
    first_seq: int
    count: int

    @property
    def message_id(self) -> str:
        """The same for every attempt to publish this batch, so that JetStream drops repeats."""
        return f"{self.node}:{self.kind}:{self.boot}:{self.first_seq}"

    @property
    def last_seq(self) -> int:
        """The seq of the last line."""
        return self.first_seq + self.count - 1

    def headers(self) -> dict[str, str]:
        """The headers of the NATS message."""
        return {
            MESSAGE_ID_HEADER: self.message_id,
            SCHEMA_HEADER: f"{self.kind}/{self.version}",
            NODE_HEADER: self.node,
            BOOT_HEADER: self.boot,
            FIRST_SEQ_HEADER: str(self.first_seq),
            COUNT_HEADER: str(self.count),
            CONTENT_TYPE_HEADER: CONTENT_TYPE,
        }


def _required(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    if not value:
        raise HeaderError(f"the header {name} is missing; a batch carries it, see docs/reference")
    return value


def _count(headers: Mapping[str, str], name: str, minimum: int) -> int:
    text = _required(headers, name)
    if not (text.isascii() and text.isdigit()) or len(text) > 18 or int(text) < minimum:
        raise HeaderError(f"the header {name} is {text!r}, not a whole number from {minimum} on")
    return int(text)


def read_identity(subject: str, headers: Mapping[str, str] | None) -> BatchIdentity:
    """Read and check the headers of a RAW or EVENTS message against its subject.

    The subject's node is the truth, since the broker enforces it. Raises
    :class:`~stream.contract.errors.ContractError` when anything is missing or disagrees, or when
    the schema has another major version than this program reads.
    """
    parsed = parse_subject(subject)
    definition = kind_definition(parsed.middle)
    if headers is None:
        raise HeaderError(f"the message on {subject} has no headers; a batch carries them")
    schema = _required(headers, SCHEMA_HEADER)
    if schema != definition.schema:
        raise HeaderError(
            f"schema {schema!r} on {subject}; this program reads {definition.schema!r}"
        )
    node = _required(headers, NODE_HEADER)
    if node != parsed.last:
        raise HeaderError(
            f"the header {NODE_HEADER} says {node!r} on the subject of {parsed.last!r}"
        )
    return BatchIdentity(
        kind=definition.name,
        version=definition.version,
        node=node,
        boot=_required(headers, BOOT_HEADER),
        first_seq=_count(headers, FIRST_SEQ_HEADER, 0),
        count=_count(headers, COUNT_HEADER, 1),
    )


def encode_lines(events: Iterable[Event]) -> bytes:
    """Write events as NDJSON; every line ends with a line feed."""
    return _encode_lines(list(events))


def split_lines(payload: bytes, count: int) -> list[bytes]:
    """The lines of a payload; raises :class:`ContractError` if there are not ``count`` of them."""
    lines = payload.split(b"\n")
    if lines and not lines[-1]:
        lines.pop()
    if len(lines) != count:
        raise ContractError(f"the batch holds {len(lines)} lines and announces {count}")
    return lines

"""One message of the log, as the sink holds it until its rows are stored."""

from collections.abc import Mapping
from dataclasses import dataclass

from sinks.ingest.tables.definition import SinkTable
from stream.broker.subscription import Delivery
from stream.contract.batch import (
    BOOT_HEADER,
    BatchIdentity,
    read_identity,
)
from stream.contract.errors import ContractError
from stream.contract.kinds import loss
from stream.contract.subjects import LOSS, events_subject, parse_subject

_FIRST_TIME = b'{"ts":"'


@dataclass(slots=True, eq=False)
class Held:
    """A message that is not yet acknowledged."""

    delivery: Delivery
    identity: BatchIdentity | None
    """None for rows without one, and for a message that is ``wrong``."""
    lines: int
    wrong: ContractError | None = None
    """Why the whole message can't be taken; it becomes a dead letter."""

    @property
    def data(self) -> bytes:
        """The payload, every line of it ended by a line feed."""
        data = self.delivery.data
        return data if not data or data.endswith(b"\n") else data + b"\n"


def hold(table: SinkTable, delivery: Delivery) -> Held:
    """Read what a message is; never raises, for a wrong one is held, too."""
    data = delivery.data
    lines = data.count(b"\n") + (bool(data) and not data.endswith(b"\n"))
    if not table.identified:
        return Held(delivery, None, lines)
    try:
        identity = _identity(delivery.subject, delivery.headers)
        if identity is not None and lines > identity.count:
            raise ContractError(f"the batch holds {lines} lines and announces {identity.count}")
    except ContractError as error:
        return Held(delivery, None, lines, error)
    return Held(delivery, identity, lines)


def _identity(subject: str, headers: Mapping[str, str] | None) -> BatchIdentity | None:
    parsed = parse_subject(subject)
    if parsed.stage != LOSS:
        return read_identity(subject, headers)
    # The middle token of a loss names the stage, so its kind is known from the start. Workers
    # and sinks report losses of their own without a batch's identity.
    if headers is None or BOOT_HEADER not in headers:
        return None
    return read_identity(events_subject(loss.DEFINITION.name, parsed.last), headers)


def lines_of(data: bytes) -> list[bytes]:
    """The lines of a payload, each with its line feed; nothing else ends a line."""
    return [line + b"\n" for line in data.split(b"\n")[:-1]]


def first_time(data: bytes) -> str:
    """The time of the first line; empty where it doesn't begin with one."""
    if data.startswith(_FIRST_TIME) and data[34:35] == b'"':
        return data[7:34].decode("ascii", "replace")
    return ""


def log_position(line: bytes) -> tuple[int, int]:
    """Partition and offset of the RAW message that a line came from; zeros where it has none.

    A worker appends them, so they are looked for from the end.
    """
    return _number(line, b'"log_partition":'), _number(line, b'"log_offset":')


def _number(line: bytes, key: bytes) -> int:
    place = line.rfind(key)
    if place < 0:
        return 0
    start = place + len(key)
    end = start
    while end < len(line) and 48 <= line[end] <= 57:
        end += 1
    return int(line[start:end] or b"0")

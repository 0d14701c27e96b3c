"""From the payload of a RAW message to decoded lines, and what had to be refused.

The quick way looks at a batch as a whole; only when something in it is wrong are its lines read
one by one, so that a bad line never takes a good one with it.
"""

from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, cast

import msgspec

from stream.contract.batch import MAXIMUM_LINES, MAXIMUM_RAW_BYTES, BatchIdentity
from stream.contract.errors import ContractError, TimestampError
from stream.contract.timestamps import LENGTH, parse_timestamp
from stream.enrichment.lines import GUARDED_LINES, Line, ProgressLine

_SECOND: Final = 1_000_000
_CLOSING_BRACE: Final = ord("}")


class Refused(NamedTuple):
    """One line that can't be used."""

    seq: int | None
    """Its place, where the batch's headers give it one."""
    line_number: int
    """Place in the message, from 0."""
    reason: str
    detail: str
    payload: bytes


@dataclass(slots=True)
class Batch:
    """Usable lines of one message that follow each other; the lists are parallel."""

    identity: BatchIdentity
    """Of just these lines."""
    node: str
    """The node's name, not escaped."""
    offset: int
    """Place of the message in the log."""
    first_line: int
    """Place of the first of these lines in the message."""
    lines: list[bytes]
    """Without the closing brace, so that fields can be appended."""
    events: list[Any]
    seconds: list[int]
    """Whole seconds since the epoch of each event's time."""

    def payload(self) -> bytes:
        """The lines as they came."""
        return b"}\n".join(self.lines) + b"}\n"

    def part(self, first_seq: int, last_seq: int) -> "Batch":
        """The lines from one seq to another, both included, as a batch of their own."""
        start = first_seq - self.identity.first_seq
        end = last_seq - self.identity.first_seq + 1
        if start == 0 and end == self.identity.count:
            return self
        return Batch(
            replace(self.identity, first_seq=first_seq, count=end - start),
            self.node,
            self.offset,
            self.first_line + start,
            self.lines[start:end],
            self.events[start:end],
            self.seconds[start:end],
        )


class Decoded(NamedTuple):
    """A message: its usable lines (in one piece when no line is bad), and the bad ones."""

    batches: list[Batch]
    refused: list[Refused]


_DECODERS: Final = {kind: msgspec.json.Decoder(line) for kind, line in GUARDED_LINES.items()}
_seconds_of: dict[str, int] = {}
"""Whole seconds by the first 20 characters of a time; cleared when it grows."""
_SECONDS_BOUND: Final = 20_000


def second_of(ts: str) -> int:
    """Seconds since the epoch of a time on the wire, checked in full.

    Raises :class:`~stream.contract.errors.TimestampError` for any other form.
    """
    known = _seconds_of.get(ts[:20])
    if known is None or ts[26:] != "Z" or not ts[20:26].isdigit() or not ts.isascii():
        known = parse_timestamp(ts) // _SECOND
        if known < 0:
            raise TimestampError(f"{ts!r} is before 1970")
        if len(_seconds_of) >= _SECONDS_BOUND:
            _seconds_of.clear()
        _seconds_of[ts[:20]] = known
    return known


def decode_message(identity: BatchIdentity, offset: int, payload: bytes, node: str) -> Decoded:
    """Decode a message of one kind; ``node`` is the name that the subject gives, not escaped.

    Raises :class:`ContractError` when the message as a whole can't be used.
    """
    if len(payload) > MAXIMUM_RAW_BYTES:
        raise ContractError(f"{len(payload)} bytes; a batch has at most {MAXIMUM_RAW_BYTES}")
    whole = _decode_whole(identity, offset, payload, node)
    if whole is not None:
        return Decoded([whole], [])
    lines = payload.removesuffix(b"\n").split(b"\n")
    if len(lines) != identity.count:
        raise ContractError(f"{len(lines)} lines where the header announces {identity.count}")
    if len(lines) > MAXIMUM_LINES:
        raise ContractError(f"{len(lines)} lines; a batch has at most {MAXIMUM_LINES}")
    return _decode_each(identity, offset, lines, node)


def _decode_whole(identity: BatchIdentity, offset: int, payload: bytes, node: str) -> Batch | None:
    """The batch, if nothing at all is wrong with it."""
    lines = _open_lines(payload)
    if len(lines) != identity.count or len(lines) > MAXIMUM_LINES:
        return None
    try:
        if not payload.isascii():
            payload.decode("utf-8")  # the decoder does not look into fields that it skips
        events = _DECODERS[identity.kind].decode_lines(payload)
        seconds = _seconds(events)
        if identity.kind == "progress":
            for event in events:
                _check_progress(cast("ProgressLine", event))
    except (msgspec.DecodeError, ContractError, UnicodeDecodeError):
        return None
    sound = (
        [event.seq for event in events] == [*range(identity.first_seq, identity.last_seq + 1)]
        and {event.boot for event in events} == {identity.boot}
        and {event.node for event in events} == {node}
    )
    return Batch(identity, node, offset, 0, lines, events, seconds) if sound else None


def _open_lines(payload: bytes) -> list[bytes]:
    """The lines without their closing braces; none at all if a line does not end with one."""
    lines: list[bytes] = []
    append, find = lines.append, payload.find  # one byte is found far faster than two
    start = 0
    while (end := find(b"\n", start)) >= 0:
        if payload[end - 1] != _CLOSING_BRACE:
            return []
        append(payload[start : end - 1])
        start = end + 1
    return lines if start == len(payload) else []


def _seconds(events: list[Any]) -> list[int]:
    """The whole seconds of each event's time, all of them checked in full.

    The form is checked for all texts at once, by columns, and a second is read once per batch.
    """
    texts = [event.ts for event in events]
    joined = "".join(texts)
    fractions = "".join([joined[column::LENGTH] for column in range(20, 26)])
    sound = (
        {*map(len, texts)} == {LENGTH}
        and joined.isascii()
        and fractions.isdigit()
        and joined[26::LENGTH] == "Z" * len(texts)
    )
    if not sound:
        return [second_of(text) for text in texts]  # one of them is wrong, and says how
    first, last = min(texts), max(texts)
    if first[:20] == last[:20]:  # then all between them begin alike, too
        return [second_of(first)] * len(texts)
    starts = [text[:20] for text in texts]
    seconds = {start: second_of(f"{start}000000Z") for start in {*starts}}
    return [seconds[start] for start in starts]


def _decode_each(identity: BatchIdentity, offset: int, lines: list[bytes], node: str) -> Decoded:
    """Line by line: what is wrong is refused, the rest comes in as few pieces as possible."""
    found = Decoded([], [])
    current: Batch | None = None
    for number, line in enumerate(lines):
        seq = identity.first_seq + number
        stripped = line.strip()
        try:
            event = _checked(stripped, identity, seq, node)
            second = second_of(event.ts)
        except ContractError as error:
            found.refused.append(Refused(seq, number, "bad_line", str(error), line))
            current = None
            continue
        if current is None:
            place = replace(identity, first_seq=seq, count=0)
            current = Batch(place, node, offset, number, [], [], [])
            found.batches.append(current)
        current.lines.append(stripped[:-1])
        current.events.append(event)
        current.seconds.append(second)
        current.identity = replace(current.identity, count=len(current.lines))
    return found


def _checked(line: bytes, identity: BatchIdentity, seq: int, node: str) -> Line:
    try:
        line.decode("utf-8")
        event: Line = _DECODERS[identity.kind].decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ContractError(f"not an event of kind {identity.kind}: {error}") from None
    if event.seq != seq:
        raise ContractError(f"seq {event.seq} where the batch's headers give {seq}")
    if event.boot != identity.boot:
        raise ContractError(f"boot {event.boot!r} in a batch of boot {identity.boot!r}")
    if event.node != node:
        raise ContractError(f"node {event.node!r} on the subject of {node!r}")
    if isinstance(event, ProgressLine):
        _check_progress(event)
    return event


def _check_progress(event: ProgressLine) -> None:
    second_of(event.watermark)
    if event.producer not in GUARDED_LINES:
        raise ContractError(f"progress of {event.producer!r}, which is no kind of event")

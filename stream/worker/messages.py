"""What a worker publishes: enriched batches, losses, dead letters. Pure functions."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Final, NamedTuple

import msgspec

from stream.contract.batch import (
    BOOT_HEADER,
    COUNT_HEADER,
    MAXIMUM_ENRICHED_BYTES,
    MESSAGE_ID_HEADER,
    BatchIdentity,
)
from stream.contract.dead import DeadLetter, dead_letter_now
from stream.contract.kinds.loss import DEFINITION as LOSS
from stream.contract.kinds.loss import LossEvent
from stream.contract.subjects import dead_subject, events_subject, loss_subject
from stream.enrichment.decoding import Batch, Refused
from stream.enrichment.enricher import EnrichedBatch
from stream.windows.partition import Gap

STAGE: Final = "worker"
RULES_HEADER: Final = "Tenwatch-Rules"
"""Version of the identity rules that a batch was enriched with."""
DEAD_BYTES: Final = 256 * 1024
"""Dead letters are cut into messages of about this size."""
_encode = msgspec.json.Encoder().encode


class Message(NamedTuple):
    """Something to publish, acknowledged before the offset is committed."""

    subject: str
    payload: bytes
    headers: dict[str, str]
    """With a message id that is the same whenever the same log is read again."""


def enriched_messages(enriched: EnrichedBatch, partition: int, prefix: str) -> Iterator[Message]:
    """The enriched batch, with the identity of the raw one.

    It is split in two only when it is larger than a message may be. A batch of losses is split by
    the stage that each record names, since that is in the subject.
    """
    batch = enriched.batch
    if batch.identity.kind == LOSS.name:
        for stage, part in _by_stage(enriched):
            subject = loss_subject(stage or "unknown", batch.node)
            yield from _messages(part, partition, prefix + subject)
    else:
        subject = prefix + events_subject(batch.identity.kind, batch.node)
        yield from _messages(enriched, partition, subject)


def _messages(enriched: EnrichedBatch, partition: int, subject: str) -> Iterator[Message]:
    payload = enriched.payload(partition)
    count = enriched.batch.identity.count
    if len(payload) > MAXIMUM_ENRICHED_BYTES and count > 1:
        yield from _messages(_part(enriched, 0, count // 2), partition, subject)
        yield from _messages(_part(enriched, count // 2, count), partition, subject)
        return
    headers = enriched.batch.identity.headers()
    headers[RULES_HEADER] = enriched.rules
    yield Message(subject, payload, headers)


def _part(enriched: EnrichedBatch, start: int, end: int) -> EnrichedBatch:
    first = enriched.batch.identity.first_seq
    return EnrichedBatch(
        enriched.batch.part(first + start, first + end - 1),
        enriched.owners[start:end],
        enriched.suffixes[start:end],
        enriched.rules,
    )


def _by_stage(enriched: EnrichedBatch) -> Iterator[tuple[str, EnrichedBatch]]:
    start = 0
    for stage, events in groupby(enriched.batch.events, key=lambda event: str(event.stage)):
        end = start + sum(1 for _ in events)
        yield stage, _part(enriched, start, end)
        start = end


def gap_message(gap: Gap, ts: str, boot: str, seq: int, prefix: str) -> Message:
    """The loss of events that a producer sent and that never came; ``boot`` and ``seq`` are its
    own identity."""
    missing = gap.missing
    event = LossEvent(
        ts=ts,
        node=gap.node,
        boot=boot,
        seq=seq,
        stage=STAGE,
        kind=gap.kind,
        reason="never_arrived",
        count=missing.last_seq - missing.first_seq + 1,
        lost_boot=missing.boot,
        first_seq=missing.first_seq,
        last_seq=missing.last_seq,
        detail="the producer's progress counts them, and they did not come within a minute",
    )
    identity = BatchIdentity(LOSS.name, LOSS.version, gap.node, boot, seq, 1)
    return Message(
        prefix + loss_subject(STAGE, gap.node), _encode(event) + b"\n", identity.headers()
    )


def dead_lines(
    identity: BatchIdentity,
    node: str,
    refused: Iterable[Refused],
    partition: int,
    offset: int,
    prefix: str,
) -> Iterator[Message]:
    """Dead letters for lines of one message."""
    letters = []
    for each in refused:
        letter = dead_letter_now(STAGE, identity.kind, each.reason, each.detail, each.payload)
        letter.node, letter.boot, letter.seq = node, identity.boot, each.seq
        letter.log_partition, letter.log_offset = partition, offset
        letter.log_line = each.line_number
        letters.append(letter)
    yield from _dead(letters, prefix)


def dead_message(
    key: str,
    headers: Mapping[str, str] | None,
    payload: bytes,
    partition: int,
    offset: int,
    reason: str,
    detail: str,
    prefix: str,
) -> Message:
    """A dead letter for a whole message; ``key`` is the end of its subject."""
    kind = key.partition(".")[0] or "unknown"
    letter = dead_letter_now(STAGE, kind, reason, detail, payload)
    letter.subject = key
    letter.boot = (headers or {}).get(BOOT_HEADER, "")
    count = (headers or {}).get(COUNT_HEADER, "")
    letter.count = int(count) if count.isdecimal() and count.isascii() and len(count) < 9 else 1
    letter.log_partition, letter.log_offset = partition, offset
    (message,) = _dead([letter], prefix)
    return message


def _dead(letters: list[DeadLetter], prefix: str) -> Iterator[Message]:
    parts: list[bytes] = []
    first = 0
    for index, letter in enumerate(letters):
        line = _encode(letter) + b"\n"
        if parts and sum(map(len, parts)) + len(line) > DEAD_BYTES:
            yield _dead_batch(letters[first], parts, prefix)
            parts, first = [], index
        parts.append(line)
    if parts:
        yield _dead_batch(letters[first], parts, prefix)


def _dead_batch(first: DeadLetter, lines: list[bytes], prefix: str) -> Message:
    place = f"{first.log_partition}:{first.log_offset}:{first.log_line}:{first.reason}"
    return Message(
        prefix + dead_subject(STAGE, first.kind),
        b"".join(lines),
        {MESSAGE_ID_HEADER: f"{STAGE}:{place}"},
    )


def refused_lines(batch: Batch, places: Iterable[int], reason: str, detail: str) -> list[Refused]:
    """Lines of a batch that were refused after they had been decoded."""
    first = batch.identity.first_seq
    return [
        Refused(first + place, batch.first_line + place, reason, detail, batch.lines[place] + b"}")
        for place in places
    ]

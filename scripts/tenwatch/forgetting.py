"""Erases a subject from the store, then from the streams of the broker."""

import asyncio
import json
import re
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from msgspec import Struct

from sinks.forget import Erasure, Subject, forget, preview
from sinks.maintenance.streams import StreamCleaner
from sinks.store.settings import StoreSettings
from stream.broker.connection import BrokerConnection
from stream.broker.errors import NotFoundError
from stream.broker.jetstream import JetStream
from stream.broker.reader import StreamReader
from stream.broker.streams import BUCKETS_STREAM, DEAD_STREAM, EVENTS_STREAM, RAW_STREAM
from stream.settings import Configuration
from tenwatch.access import open_admin_broker, open_admin_sql, open_sql
from tenwatch.embedded.instance import find_instance
from tenwatch.store_door import StoreDoor

_LOG_OFFSET = re.compile(rb'"log_offset":(\d+)')


class _Deleted(Struct):
    success: bool = False


@dataclass(slots=True)
class Erased:
    """What was (or would be) erased."""

    request: str
    rows: dict[str, int]
    """By table."""
    raw_messages: int
    """Messages of the log with such events in them."""
    purged: dict[str, int] = field(default_factory=dict)
    """Messages removed at the broker, by stream."""


def count(data: Path | None, subject: Subject) -> Erased:
    """What an erasure would take."""
    return _erased(preview(StoreDoor(open_sql(data)), subject))


async def erase(
    data: Path | None, config: Path | None, subject: Subject, by: str, reason: str
) -> Erased:
    """Erase it from the store, then from the broker, as the administrator."""
    instance = find_instance(data)
    settings = Configuration.load(config).section("store", StoreSettings)
    erasure = await asyncio.to_thread(
        forget,
        StoreDoor(open_admin_sql(instance)),
        subject,
        by=by,
        reason=reason,
        settings=settings,
    )
    erased = _erased(erasure)
    async with open_admin_broker(instance, "tenwatch forget") as connection:
        await connection.wait_connected(10)
        jetstream = JetStream(connection)
        offsets = _offsets(erasure)
        removed = 0
        for sequence in sorted(offsets):
            removed += await _delete(jetstream, RAW_STREAM, sequence)
        erased.purged[RAW_STREAM] = removed
        enriched = await _delete_enriched(connection, jetstream, offsets)
        # Behind every sink: what they have stored goes, what they have not read stays.
        streams = (EVENTS_STREAM, BUCKETS_STREAM, DEAD_STREAM)
        cleaner = StreamCleaner(jetstream, 0.0, 1.0, streams=streams)
        erased.purged |= await cleaner.clean()
        erased.purged[EVENTS_STREAM] = erased.purged.get(EVENTS_STREAM, 0) + enriched
    return erased


async def _delete_enriched(
    connection: BrokerConnection, jetstream: JetStream, offsets: set[int]
) -> int:
    """Delete from EVENTS what was made of these messages of RAW; gives how many.

    A purge alone would leave their bytes in a file that holds younger messages, too.
    """
    last = (await jetstream.stream_info(EVENTS_STREAM)).state.last_seq
    removed = 0
    if not offsets or not last:
        return removed
    async for delivery in StreamReader(connection, EVENTS_STREAM):
        found = _LOG_OFFSET.search(delivery.data)
        if found is not None and int(found[1]) in offsets:
            removed += await _delete(jetstream, EVENTS_STREAM, delivery.stream_seq)
        if delivery.stream_seq >= last:
            break
    return removed


async def _delete(jetstream: JetStream, stream: str, sequence: int) -> int:
    """Delete one message and overwrite it on disk; 0 if it had gone before."""
    try:
        await jetstream.request(f"STREAM.MSG.DELETE.{stream}", {"seq": sequence}, model=_Deleted)
    except NotFoundError:
        return 0
    return 1


def _offsets(erasure: Erasure) -> set[int]:
    """The messages of RAW that hold something of the subject."""
    return {
        sequence
        for _, first, last in erasure.remains.raw_messages
        for sequence in range(first, last + 1)
    }


def _erased(erasure: Erasure) -> Erased:
    return Erased(erasure.request, dict(erasure.rows), len(_offsets(erasure)))


def print_erasure(erased: Erased, *, done: bool, as_json: bool, to_stderr: bool = False) -> None:
    """Rows by table, and what went at the broker."""
    out = sys.stderr if to_stderr else sys.stdout
    if as_json:
        print(json.dumps({"done": done} | asdict(erased)), file=out)
        return
    for table, rows in erased.rows.items():
        print(f"{rows:>12} rows of {table}", file=out)
    print(f"{erased.raw_messages:>12} messages of the log hold something of it", file=out)
    if not done:
        return
    for stream, messages in erased.purged.items():
        print(f"{messages:>12} messages removed from stream {stream}", file=out)
    print(f"recorded as request {erased.request} in tenwatch.erasures", file=out)

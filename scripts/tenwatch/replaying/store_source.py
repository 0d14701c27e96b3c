"""The log as the store has it: rows carry their place in it, so its order can be made again.

What a worker added to a line is left out, and lines that it refused come from the dead letters.
Repeats that a worker dropped are not there, and change nothing. Not there either is what retention
or an erasure has removed: a replay can only count what is kept.
"""

import asyncio
import base64
import re
from collections.abc import AsyncGenerator, Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from sinks.ingest.tables import EVENT_TABLES
from stream.broker.jetstream import JetStream
from stream.broker.streams import PARTITION, RAW_STREAM
from stream.contract.batch import MAXIMUM_RAW_BYTES, BatchIdentity
from stream.contract.kinds import KINDS
from stream.contract.subjects import escape_token
from stream.contract.timestamps import parse_timestamp
from tenwatch.replaying.source import SourceMessage
from tenwatch.sql_client import SqlClient

ROWS_AT_ONCE: Final = 50_000
"""About so many rows are asked for and held at a time."""
_FORMAT: Final = {
    "date_time_output_format": "iso",
    "output_format_json_quote_64bit_integers": 0,
    "output_format_json_escape_forward_slashes": 0,
}
# In a JSON text every quote has a backslash before it, so this never matches inside one.
_NULL: Final = re.compile(rb',"[a-z_]+":null')


class _Place(Struct):
    log_partition: int
    log_offset: int
    log_line: int
    boot: str
    seq: int
    node: str


class _Dead(_Place):
    kind: str
    encoding: str
    payload: str


class Line(NamedTuple):
    """One line of the log; it sorts by its place."""

    offset: int
    number: int
    kind: str
    partition: int
    node: str
    boot: str
    seq: int
    data: bytes


_place = msgspec.json.Decoder(_Place).decode
_dead = msgspec.json.Decoder(_Dead).decode


class StoreSource:
    """Reads the tables of events by ranges of the log's offsets."""

    def __init__(self, store: SqlClient, jetstream: JetStream) -> None:
        self._store = store
        self._jetstream = jetstream
        self._first = 0
        self._last = -1
        self._step = 1
        self._columns: dict[str, str] = {}

    async def open(self) -> int:
        return await asyncio.to_thread(self._open)

    async def transform(self) -> str:
        config = (await self._jetstream.stream_info(RAW_STREAM)).config
        return str(config["subject_transform"]["dest"])

    async def messages(self, start_sequence: int) -> AsyncGenerator[SourceMessage, None]:
        ranges = iter(range(max(self._first, start_sequence), self._last + 1, self._step))
        following = asyncio.create_task(self._read(ranges))
        try:
            while (lines := await following) is not None:
                following = asyncio.create_task(self._read(ranges))
                for message in batches(lines):
                    yield message
        finally:
            await asyncio.gather(following, return_exceptions=True)

    def _open(self) -> int:
        first, last, stored, messages = self._store.rows(
            "SELECT min(first_log_offset), max(last_log_offset), sum(stored), sum(batches) "
            "FROM tenwatch.ledger WHERE last_log_offset > 0"
        ).data[0]
        if not int(stored or 0):
            return 0
        self._first, self._last = int(first), int(last)
        offsets = self._last - self._first + 1
        self._step = max(1, ROWS_AT_ONCE * offsets // max(1, int(stored)))
        for kind, table in EVENT_TABLES.items():
            own = [field.encode_name for field in msgspec.structs.fields(KINDS[kind].event)]
            present = {
                str(row[0])
                for row in self._store.rows(
                    "SELECT name FROM system.columns WHERE database = 'tenwatch' "
                    "AND table = {table:String}",
                    {"table": table},
                ).data
            }
            self._columns[kind] = ", ".join(f"`{name}`" for name in own if name in present)
        return int(messages)

    async def _read(self, ranges: Iterator[int]) -> list[Line] | None:
        start = next(ranges, None)
        if start is None:
            return None
        return await asyncio.to_thread(self._lines, start, min(start + self._step, self._last + 1))

    def _lines(self, start: int, end: int) -> list[Line]:
        """Everything of the offsets from ``start`` to before ``end``, in the log's order."""
        bound = {"start": start, "end": end}
        within = "log_offset >= {start:UInt64} AND log_offset < {end:UInt64}"
        found: list[Line] = []
        for kind, table in EVENT_TABLES.items():
            sql = (
                "SELECT log_partition, log_offset, log_line, "
                f"{self._columns[kind]} FROM tenwatch.{table} WHERE log_offset > 0 AND {within}"
            )
            for row in self._rows(sql, bound):
                place = _place(row)
                # The place comes first; from the time on it is the event.
                event = b"{" + row[row.index(b'"ts":') :]
                found.append(
                    Line(
                        place.log_offset, place.log_line, kind, place.log_partition, place.node,
                        place.boot, place.seq, _NULL.sub(b"", event),
                    )
                )  # fmt: skip
        sql = (
            "SELECT log_partition, log_offset, log_line, boot, seq, node, kind, encoding, payload "
            "FROM tenwatch.dead WHERE stage = 'worker' AND reason = 'bad_line' "
            f"AND seq IS NOT NULL AND {within}"
        )
        for row in self._rows(sql, bound):
            dead = _dead(row)
            data = (
                base64.b64decode(dead.payload)
                if dead.encoding == "base64"
                else dead.payload.encode()
            )
            found.append(
                Line(
                    dead.log_offset, dead.log_line, dead.kind, dead.log_partition, dead.node,
                    dead.boot, dead.seq, data,
                )
            )  # fmt: skip
        found.sort()
        return found

    def _rows(self, sql: str, bound: dict[str, Any]) -> list[bytes]:
        answer = b"".join(self._store.stream(sql, bound, "JSONEachRow", _FORMAT))
        return answer.split(b"\n")[:-1]


def batches(lines: list[Line]) -> Iterator[SourceMessage]:
    """Messages of lines that stood in one message and follow each other."""
    for offset, group in groupby(lines, key=itemgetter(0)):
        run: list[Line] = []
        size = 0
        for line in group:
            if run and (
                line.seq != run[-1].seq + 1
                or (line.kind, line.boot) != (run[-1].kind, run[-1].boot)
                or size + len(line.data) >= MAXIMUM_RAW_BYTES
            ):
                yield _message(offset, run)
                run, size = [], 0
            run.append(line)
            size += len(line.data) + 1
        yield _message(offset, run)


def _message(offset: int, run: list[Line]) -> SourceMessage:
    first = run[0]
    identity = BatchIdentity(
        first.kind, KINDS[first.kind].version, first.node, first.boot, first.seq, len(run)
    )
    return SourceMessage(
        offset,
        _time(run),
        f"{PARTITION}.{first.partition}.{first.kind}.{escape_token(first.node)}",
        identity.headers(),
        b"".join(line.data + b"\n" for line in run),
    )


def _time(run: list[Line]) -> int:
    """When the last line that tells its time happened, nanoseconds: about when it was stored."""
    for line in reversed(run):
        if line.data.startswith(b'{"ts":"') and line.data[33:34] == b"Z":
            return parse_timestamp(line.data[7:34].decode("ascii")) * 1000
    return 0

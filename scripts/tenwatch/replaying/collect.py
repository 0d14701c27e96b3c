"""Takes a run's buckets from its stream into the store, in rows of their own."""

import asyncio
from dataclasses import dataclass

import orjson

from stream.broker.connection import BrokerConnection
from stream.broker.jetstream import JetStream
from stream.broker.reader import StreamReader
from stream.contract.timestamps import parse_timestamp
from tenwatch.replaying.run import Run
from tenwatch.replaying.time_range import TimeRange
from tenwatch.sql_client import SqlClient

INSERT_BYTES = 8 * 1024 * 1024


@dataclass(slots=True)
class Collector:
    """Reads every row of a run and inserts those of its time range."""

    connection: BrokerConnection
    jetstream: JetStream
    run: Run
    range: TimeRange
    store: SqlClient

    async def collect(self) -> int:
        """Gives the number of rows that were inserted (provisional ones included).

        The table keeps the newest version of each, so collecting twice does no harm.
        """
        stream = self.run.buckets_stream
        state = (await self.jetstream.stream_info(stream)).state
        if state.messages == 0:
            return 0
        rows: list[bytes] = []
        held = inserted = 0
        log = StreamReader(self.connection, stream)
        try:
            async for delivery in log:
                wanted = self._rows(delivery.data)
                rows += wanted
                held += sum(map(len, wanted))
                last = delivery.stream_seq >= state.last_seq
                if rows and (last or held > INSERT_BYTES):
                    await asyncio.to_thread(self._insert, b"\n".join(rows))
                    inserted += len(rows)
                    rows, held = [], 0
                if last:
                    break
        finally:
            await log.close()
        return inserted

    def _rows(self, payload: bytes) -> list[bytes]:
        """The lines whose window lies in the range, with the run's name appended."""
        suffix = b',"run":' + orjson.dumps(self.run.name) + b"}"
        found = []
        for line in payload.splitlines():
            start = _moment(orjson.loads(line)["window_start"])
            if self.range.start <= start < self.range.end:
                found.append(line[:-1] + suffix)
        return found

    def _insert(self, lines: bytes) -> None:
        statement = b"INSERT INTO tenwatch.replay_buckets FORMAT JSONEachRow\n" + lines
        self.store.execute(statement)


def _moment(window_start: str) -> int:
    """Microseconds of ``2026-01-02T03:04:10Z``."""
    return parse_timestamp(window_start.removesuffix("Z") + ".000000Z")

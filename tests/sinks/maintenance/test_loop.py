"""A round of upkeep beside a running sink: it rolls up, and what it drops becomes a loss."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sinks.ingest.sink import Sink
from sinks.maintenance.loop import Maintenance
from sinks.store.client import Store
from sinks.store.migrations import apply_schema
from sinks.store.settings import StoreSettings
from stream.broker.connection import BrokerConnection
from stream.broker.jetstream import JetStream
from stream.broker.settings import BrokerSettings, StreamSettings
from stream.broker.streams import ensure_streams
from tests.support.nats_server import NatsServer

Eventually = Callable[..., Awaitable[object]]
MEBIBYTE = 1024 * 1024


def connection(server: NatsServer, user: str) -> BrokerConnection:
    credentials = str(server.write_credentials(user))
    settings = BrokerSettings(servers=(server.url,), credentials_file=credentials)
    return BrokerConnection(settings, f"test-{user}")


@pytest.fixture
async def sink(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[tuple[Sink, Store]]:
    async with connection(nats_server, "admin") as admin:
        await admin.wait_connected(10)
        sizes = {f"{name}_max_bytes": 8 * MEBIBYTE for name in ("raw", "events", "buckets", "dead")}
        await ensure_streams(JetStream(admin), StreamSettings(**sizes))
    settings = StoreSettings(
        path=str(tmp_path / "store"), fsync=False, minimum_free_megabytes=10**9, minimum_kept_days=1
    )
    with Store(settings) as store:
        apply_schema(store)
        async with connection(nats_server, "sink") as broker:
            await broker.wait_connected(10)
            sink = Sink(store, broker)
            await sink.start()
            yield sink, store
            assert await sink.stop()


async def test_a_round_rolls_up_and_reports_what_it_drops(
    sink: tuple[Sink, Store], nats_server: NatsServer, eventually: Eventually
) -> None:
    running, store = sink
    old = (datetime.now(UTC) - timedelta(days=3)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    lines = b"".join(b'{"ts":"%s","seq":%d}\n' % (old.encode(), seq) for seq in range(7))
    await running.in_writer(
        lambda: store.writer.insert_lines("file_events", lines, insert_id=0, token="old")
    )
    client = await nats_server.connect("admin")
    start = datetime.fromtimestamp(int(datetime.now(UTC).timestamp()) // 60 * 60, UTC)
    for window in range(6):
        begin = start - timedelta(seconds=60 - 10 * window)
        row = {
            "kind": "process", "scope": "node", "node": "n", "execs": 4, "version": 2,
            "window_start": begin.strftime("%Y-%m-%dT%H:%M:%SZ"), "final": True, "samples": 4,
            "window_end": (begin + timedelta(seconds=10)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }  # fmt: skip
        await client.jetstream().publish("buckets.process.n", json.dumps(row).encode() + b"\n")
    await eventually(lambda: running.intakes["buckets"].stored_rows == 6, 20, "buckets")

    upkeep = Maintenance(store, running, "n1")
    await upkeep.round()
    assert upkeep.failures == 0
    assert upkeep.windows == 2, "one minute and its hour"
    await eventually(lambda: running.intakes["loss"].stored_rows == 1, 20, "the loss")
    await client.close()
    with store.reading() as reader:
        assert reader.rows(
            "SELECT execs, window_start FROM tenwatch.buckets_minutes WHERE scope = 'cluster'"
        ) == [(24, start - timedelta(seconds=60))]
        assert reader.rows("SELECT stage, kind, reason, count, node FROM tenwatch.loss") == [
            ("sink", "file", "disk_guard", 7, "n1")
        ]
        assert reader.rows("SELECT count() FROM tenwatch.files") == [(0,)]

"""Events of kind ``snapshot``: few rows, large ones."""

from sinks.ingest.tables.definition import SinkTable
from stream.broker.streams import EVENTS_STREAM

TABLE = SinkTable(
    name="snapshot",
    stream=EVENTS_STREAM,
    subject="events.snapshot.*",
    table="snapshot_events",
    maximum_rows=2_000,
    maximum_bytes=16 * 1024 * 1024,
    window_bytes=32 * 1024 * 1024,
)

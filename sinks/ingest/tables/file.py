"""Events of kind ``file``."""

from sinks.ingest.tables.definition import SinkTable
from stream.broker.streams import EVENTS_STREAM

TABLE = SinkTable(
    name="file",
    stream=EVENTS_STREAM,
    subject="events.file.*",
    table="file_events",
)
